"""`trivium gradients`: which gradient estimator is the best bargain on an expectation."""

import time
from dataclasses import dataclass

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError
from trivium._core.threads import one_thread
from trivium.audit.gradient_problems import find_problem, import_problem
from trivium.audit.state import Listener, Section
from trivium.expectation import Comparison
from trivium.expectation.compare import compare

__all__ = ["Gradients", "GradientsOptions", "gradients_only"]


@dataclass(frozen=True)
class GradientsOptions:
    """What to compare on.

    Args:
        problem: Name of one of ours; `bernoulli` where nothing is named.
        f: The user's own, as `package.module:function`.
        samples: Draws of each call.
        repeats: Calls of each estimator.
        seed: Seed of the draws.
    """

    problem: str | None = None
    f: str | None = None
    samples: int = 16
    repeats: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Gradients:
    """What `trivium gradients` found.

    Args:
        report: The object that `--json` prints.
        comparison: The same as figures.
    """

    report: Section
    comparison: Comparison


@one_thread()
def gradients_only(options: GradientsOptions, listener: Listener) -> Gradients:
    """Compare estimators on a problem.

    Raises:
        ArgumentError: Two problems are named, or the one named cannot be had.
    """
    if options.problem is not None and options.f is not None:
        raise ArgumentError("gradients: PROBLEM and --f must not both be given")
    if options.f is not None:
        problem = import_problem(options.f)
    else:
        problem = find_problem(options.problem or "bernoulli")
    start = time.perf_counter()
    listener.begin("compare")
    found = compare(
        problem.f,
        problem.distribution,
        problem.estimators,
        options.samples,
        options.repeats,
        random_state=options.seed,
        progress=lambda done, total, _: listener.step(done, total),
    )
    did = (
        f"{counted(len(found.rows), 'gradient estimator')}, "
        f"{counted(found.repeats, 'call')} of each"
    )
    listener.end("compare", did, time.perf_counter() - start)
    return Gradients(_report(problem.name, problem.about, found), found)


def _report(name: str, about: str, found: Comparison) -> Section:
    try:
        best = {cost: found.best(cost).name for cost in ("evaluations", "time")}
    except ArgumentError:  # nothing unbiased among the user's own
        best = None
    return {
        "problem": name,
        "about": about,
        "samples": found.samples,
        "repeats": found.repeats,
        "seed": found.seed,
        "reference": found.reference or None,
        "estimators": found.to_dicts(),
        "skipped": found.skipped,
        "best": best,
    }
