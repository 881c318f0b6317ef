"""Estimators side by side on one expectation: bias, deviation, evaluations, time."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, NumericalError, TriviumError
from trivium._core.families import members
from trivium._core.random import RandomState, check_seed, derive
from trivium.expectation.automatic import Automatic
from trivium.expectation.comparison import Comparison
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.exact import Exact
from trivium.expectation.expect import expect
from trivium.expectation.parameters import releafed, slopes_of
from trivium.expectation.reference import Trial, figures_of

__all__ = ["compare"]

Estimators = Sequence[GradientEstimator | str] | Mapping[str, GradientEstimator | str] | str
Progress = Callable[[int, int, str], None]
_LONG = 24


def compare(
    f: Callable[[Any], Any],
    distribution: Distribution,
    estimators: Estimators = "all",
    samples: int = 16,
    repeats: int = 200,
    *,
    random_state: RandomState = 0,
    progress: Progress | None = None,
) -> Comparison:
    r"""Measure gradient estimators on one expectation, and say which is the best bargain.

    Each is run `repeats` times, forward and backward. The gradient is that of the mean of
    $E[f(z)]$ over lead, with respect to `parameters_of(distribution)`, all in one vector g; its
    deviation is $\sqrt{\operatorname{tr} \operatorname{cov} g}$. It is compared with the exact
    gradient where the support can be listed (4,096 combinations), else with the mean of the
    unbiased estimator of least variance.

    *Bias* is found in a direction, and measured in it on other draws: $u$ is that of
    $\bar g - g^*$ in the first half of the repeats, the bias the mean of $\langle g - g^*, u
    \rangle$ in the second half, with its standard error. So an unbiased estimator of any number of
    parameters has bias 0 on average, and is accused (`seen_biased`) with a probability of 1e-4.

    Args:
        f: As in `expect`.
        distribution: As in `expect`; it is not changed, nor is the gradient of anything.
        estimators: Gradient estimators or `"auto"`, in a list, or in a mapping from the names to
            show; or `"all"`: the examples of every member of the family that can serve.
        samples: Draws of each call; more where an estimator needs them.
        repeats: Calls of each, at least 8.
        random_state: Seed of the draws. The state of torch's own generators is left as it was.
        progress: Called as `progress(done, total, name)` after each estimator.

    Returns:
        The comparison.

    Raises:
        ArgumentError: An argument breaks its rule, or a named estimator cannot serve.
        ShapeError: f returned another shape.
        DataError: f returned NaN or infinity to a named estimator.
        NumericalError: A named estimator gave a gradient that is not finite.

    Cost: `repeats` calls of each estimator.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli
        >>> from trivium.expectation import Score
        >>> toy = Bernoulli(logits=torch.zeros(3))
        >>> names = {"none": Score("none"), "optimal": Score()}
        >>> found = compare(lambda z: (z - 0.45) ** 2, toy, names, samples=4)
        >>> found.best(cost="evaluations").name
        'optimal'
    """
    draws = int(check_number("compare", "samples", samples, "positive", integer=True))
    count = int(check_number("compare", "repeats", repeats, "positive", integer=True))
    if count < 8:
        raise ArgumentError(f"compare: repeats must be at least 8; got {repeats}")
    seed = check_seed(random_state)
    named, all_that_can = _named(estimators)
    here, leaves = releafed(distribution)
    trials, skipped = [], {}
    with torch.random.fork_rng(devices=_devices()):
        exact = _exact(f, here, leaves)
        for done, (name, estimator) in enumerate(named.items(), 1):
            run = _Run(f, here, leaves, estimator, max(draws, estimator.least_samples))
            try:
                trials.append(run.trial(name, count, seed))
            except Exception as error:  # f may not take what an estimator gives: anything follows
                if not all_that_can:
                    raise
                skipped[name] = _reason(error)
            if progress is not None:
                progress(done, len(named), name)
    if not trials:
        # What f did wrong is said once, and before what the distribution excludes.
        reasons = dict.fromkeys(skipped.values())
        faults = [reason for reason in reasons if " cannot serve " not in reason]
        raise ArgumentError(
            f"compare: an estimator must serve {type(distribution).__name__} and f; none does: "
            + "; ".join(faults or reasons)
        )
    rows, against = figures_of(trials, exact)
    return Comparison(rows, draws, count, seed, against, skipped)


@dataclass(frozen=True)
class _Run:
    """One estimator at work."""

    f: Callable[[Any], Any]
    distribution: Distribution
    leaves: dict[str, Tensor]
    estimator: GradientEstimator
    samples: int

    def trial(self, name: str, repeats: int, seed: int) -> Trial:
        """Call it `repeats` times, each with its own seed, after one call that is not counted."""
        rows = [0]

        def counted(z: Any) -> Any:
            rows[0] += len(z) * self.distribution.batch_shape.numel()
            return self.f(z)

        slopes, seconds = [], []
        for repeat in range(-1, repeats):
            torch.manual_seed(derive(seed, "compare", name, repeat + 1))
            start = time.process_time()
            value = expect(counted, self.distribution, self.estimator, self.samples)
            slope = _slope(value, self.leaves)
            if repeat >= 0:
                seconds.append(time.process_time() - start)
                slopes.append(slope)
            if not bool(slope.isfinite().all()):
                raise NumericalError(
                    f"compare: {name} must give finite gradients; got {slope.tolist()[:5]}"
                )
        per_call = rows[0] / (repeats + 1)
        middle = sorted(seconds)[repeats // 2]
        return Trial(name, self.estimator, torch.stack(slopes), per_call, middle)


def _reason(error: Exception) -> str:
    """The rule that was broken, in one line; of a foreign error its class too."""
    if isinstance(error, TriviumError):
        return error.what
    return f"{type(error).__name__}: {error}".split("\n")[0]


def _exact(
    f: Callable[[Any], Any], distribution: Distribution, leaves: dict[str, Tensor]
) -> Tensor | None:
    try:
        return _slope(expect(f, distribution, Exact()), leaves)
    except Exception:  # not listed, over the budget, or nothing f takes; f's own faults show below
        return None


def _slope(value: Tensor, leaves: dict[str, Tensor]) -> Tensor:
    """The gradient of the mean of a value, in one vector of double precision."""
    parts = slopes_of(value.mean(), leaves)
    return torch.cat([part.detach().reshape(-1).double().cpu() for part in parts])


def _named(estimators: Any) -> tuple[dict[str, GradientEstimator], bool]:
    """Estimators by the names to show, and whether those that cannot serve are passed over."""
    if isinstance(estimators, str) and estimators == "all":
        family = members("trivium.expectation", GradientEstimator)  # type: ignore[type-abstract]
        kinds = [kind for kind in family if kind is not Automatic]
        return {_label(one): one for kind in kinds for one in kind.examples()}, True
    if isinstance(estimators, Mapping):
        pairs = [(str(name), one) for name, one in estimators.items()]
    elif isinstance(estimators, Sequence) and not isinstance(estimators, str):
        pairs = [(_label(one), one) for one in estimators]
    else:
        raise ArgumentError(
            f"compare: estimators must be a list, a mapping from names, or 'all'; "
            f"got {estimators!r}"
        )
    found: dict[str, GradientEstimator] = {}
    for name, one in pairs:
        chosen = Automatic() if isinstance(one, str) and one == "auto" else one
        if not isinstance(chosen, GradientEstimator) or name in found:
            raise ArgumentError(
                f"compare: estimators must be 'auto' or gradient estimators, each once; got {one!r}"
            )
        found[name] = chosen
    if not found:
        raise ArgumentError("compare: estimators must be at least one; got none")
    return found, False


def _label(estimator: Any) -> str:
    """The class with the fields that are not as by default."""
    if not isinstance(estimator, GradientEstimator):
        return str(estimator)
    changed = [
        ("" if place == 0 else f"{field.name}=") + _brief(getattr(estimator, field.name))
        for place, field in enumerate(fields(estimator))
        if getattr(estimator, field.name) != field.default
    ]
    return f"{type(estimator).__name__}({', '.join(changed)})"


def _brief(value: Any) -> str:
    """One short line, also of a module."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _devices() -> list[int]:
    """Every accelerator in use: a seed is set on all of them."""
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
