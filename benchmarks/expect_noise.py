"""What an equal precision costs: variance of the gradient, times evaluations, times CPU seconds.

Every estimator that serves Bernoulli and one-hot draws, on 100 rows: 8 Bernoulli draws that f
couples, 4 draws of 6 classes that f couples, and one draw of 10 classes. The exact gradient is
listed. Contestants take turns call by call, forward and backward, each with 8 samples; beside
them the score function and DisARM written by hand, and storchastic.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import harness

harness.one_thread()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.distributions import Bernoulli, Distribution, OneHotCategorical  # noqa: E402

from trivium.expectation import (  # noqa: E402
    Exact,
    GradientEstimator,
    MeasureValued,
    Relaxed,
    Score,
    StraightThrough,
    expect,
)

NAME, ROWS, SAMPLES, REPEATS = "expect_noise", 100, 8, 200
UNIT = "by hand: leave-one-out"


@dataclass(frozen=True)
class Case:
    """One expectation: logits of all rows, and f."""

    shape: tuple[int, ...]
    kind: type[Distribution]

    def logits(self) -> Tensor:
        """Normal ones, the same for all contestants."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(ROWS, *self.shape, generator=generator).requires_grad_()

    def law(self, logits: Tensor) -> Distribution:
        """Of the draws."""
        return self.kind(logits=logits, validate_args=False)

    def f(self, z: Tensor) -> Tensor:
        """Smooth, of all entries of a row together."""
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(self.shape, generator=generator)
        inner = (z * weights).flatten(-len(self.shape)).sum(-1)
        return (torch.sigmoid(inner) - 0.45).square()


CASES = {
    "8 Bernoulli draws": Case((8,), Bernoulli),
    "4 draws of 6 classes": Case((4, 6), OneHotCategorical),
    "1 draw of 10 classes": Case((10,), OneHotCategorical),
}

Counted = Callable[[Tensor], Tensor]
Loss = Callable[[Case, Counted, Tensor], Tensor | None]


def ours(estimator: GradientEstimator) -> Loss:
    def loss(case: Case, f: Counted, logits: Tensor) -> Tensor:
        return expect(f, case.law(logits), estimator, SAMPLES).mean()

    return loss


def hand_score(case: Case, f: Counted, logits: Tensor) -> Tensor:
    """The mean of the others of the row as baseline."""
    law = case.law(logits)
    z = law.sample((SAMPLES,))
    values = f(z)
    base = (values.sum(0) - values) / (SAMPLES - 1)
    logs = law.log_prob(z)
    logs = logs.flatten(2).sum(-1) if logs.ndim > 2 else logs
    return ((values - base) * logs).mean()


def hand_disarm(case: Case, f: Counted, logits: Tensor) -> Tensor:
    """The estimator of the paper in the logits, as a gradient that is put in place."""
    p = logits.detach().sigmoid()
    u = torch.rand(SAMPLES // 2, *p.shape)
    first, second = (u < p).to(p), (1 - u < p).to(p)
    half = (f(first) - f(second))[..., None] / 2
    slope = half * (first - second) * torch.maximum(p, 1 - p)
    return (slope.mean(0) * logits).sum(-1).mean()


def storchastic(method: str, **options) -> Loss:
    """It averages over rows and keeps its own backward."""

    def loss(case: Case, f: Counted, logits: Tensor) -> None:
        import storch

        storch.reset()
        rows = storch.denote_independent(logits, 0, "rows")
        z = getattr(storch.method, method)("z", **options)(case.law(rows))
        storch.add_cost(storch.deterministic(f)(z), "cost")
        storch.backward()

    return loss


def contestants(case: Case) -> dict[str, Loss]:
    """Those that serve the case."""
    bernoulli, alone = case.kind is Bernoulli, case.shape == (10,)
    found: dict[str, Loss] = {
        UNIT: hand_score,
        "storchastic ScoreFunction": storchastic(
            "ScoreFunction", n_samples=SAMPLES, baseline_factory="batch_average"
        ),
    }
    estimators: dict[str, GradientEstimator] = {
        f"Score({name!r})": Score(name)
        for name in ("none", "optimal", "mean", "leave-one-out", "mode")
    }
    if bernoulli:
        found["by hand: DisARM"] = hand_disarm
        for name in ("ARM", "DisARM"):
            found[f"storchastic {name}"] = storchastic(name, n_samples=SAMPLES // 2)
        estimators["Score(coupling='antithetic')"] = Score(coupling="antithetic")
        estimators["Score('none', coupling='antithetic')"] = Score("none", coupling="antithetic")
    if alone:
        found["storchastic UnorderedSet"] = storchastic("UnorderedSetEstimator", k=SAMPLES)
        estimators["Score(coupling='distinct')"] = Score(coupling="distinct")
    found["storchastic REBAR"] = storchastic("REBAR", n_samples=SAMPLES)
    estimators |= {
        "Score('none', control=Relaxed(0.5))": Score("none", control=Relaxed(0.5)),
        "Score('leave-one-out', control=Relaxed(0.5))": Score(
            "leave-one-out", control=Relaxed(0.5)
        ),
        "Score(local=True)": Score(local=True),
        "MeasureValued()": MeasureValued(),
        "Exact()": Exact(),
        "Relaxed(1)": Relaxed(1.0),
        "Relaxed(0.5)": Relaxed(0.5),
        "Relaxed(0.5, hard=True)": Relaxed(0.5, hard=True),
        "Relaxed(0.5, rao=4)": Relaxed(0.5, rao=4),
        "StraightThrough(1)": StraightThrough(1),
        "StraightThrough(2)": StraightThrough(2),
        "StraightThrough(2, rao=4)": StraightThrough(2, rao=4),
    }
    return found | {name: ours(estimator) for name, estimator in estimators.items()}


class Trial:
    """Gradients of one contestant, with what they cost."""

    def __init__(self, case: Case, loss: Loss) -> None:
        self.case, self.loss, self.logits = case, loss, case.logits()
        self.slopes: list[Tensor] = []
        self.seconds: list[float] = []
        self.rows, self.failed = 0, ""

    def f(self, z: Tensor) -> Tensor:
        """The case's, counted."""
        values = self.case.f(z)
        self.rows += values.numel()
        return values

    def call(self) -> None:
        """Forward and backward, once."""
        if self.failed:
            return
        self.logits.grad = None
        begun = time.process_time()
        try:
            value = self.loss(self.case, self.f, self.logits)
            if value is not None:
                value.backward()
            self.seconds.append(time.process_time() - begun)
            self.slopes.append(self.logits.grad.detach().double().flatten())
        except Exception as error:  # a peer's failure is a result
            self.failed = f"{type(error).__name__}: {str(error)[:200]}"

    def figures(self, exact: Tensor) -> dict:
        """Return variance and bias, in units of the gradient's length, and what a call costs."""
        if self.failed:
            return {"failed": self.failed}
        slopes = torch.stack(self.slopes[1:])  # the first call warms up
        variance = float(slopes.var(0).sum())
        away = float((slopes.mean(0) - exact).square().sum()) - variance / len(slopes)
        noise = variance / len(slopes) * (2 / len(exact)) ** 0.5
        return {
            "variance": variance / float(exact.square().sum()),
            "evaluations": self.rows / len(self.slopes) / ROWS,
            "cpu": median(self.seconds[1:]),
            "bias": max(0.0, away) ** 0.5 / float(exact.norm()),
            "bias seen": away > 5 * noise + 1e-9 * float(exact.square().sum()),
        }


def measured(case: Case, repeats: int) -> dict:
    """All contestants in turn, call by call."""
    torch.manual_seed(0)
    trials = {name: Trial(case, loss) for name, loss in contestants(case).items()}
    for _ in range(repeats + 1):
        for trial in trials.values():
            trial.call()
    exact = trials["Exact()"].slopes[0]
    return {"contestants": {name: trial.figures(exact) for name, trial in trials.items()}}


def table(board: harness.Board) -> str:
    text = "# Gradient estimators: what an equal precision costs\n\n"
    head = ["evaluations", "variance", "× evaluations", "CPU ms", "× CPU time", "bias"]
    for name in CASES:
        found = board.cells[name]["contestants"]
        unit, rows = found[UNIT], []
        for who, one in found.items():
            if "failed" in one:
                rows.append((who, *["–"] * 5, one["failed"][:60]))
                continue
            ratio = one["variance"] / unit["variance"]
            rows.append(
                (
                    who,
                    f"{one['evaluations']:.0f}",
                    f"{ratio:.3g}",
                    f"{ratio * one['evaluations'] / unit['evaluations']:.3g}",
                    f"{1e3 * one['cpu']:.2f}",
                    f"{ratio * one['cpu'] / unit['cpu']:.3g}",
                    f"{one['bias']:.1%}" if one["bias seen"] else "none seen",
                )
            )
        text += harness.markdown([f"{ROWS} rows, {name}", *head], rows) + "\n"
    return (
        f"{text}Evaluations of f for each row in one call. Variance (trace of the covariance of "
        f"the gradient), and its products with evaluations and with CPU time (forward and "
        f"backward), over those of the score function by hand. Bias over the length of the "
        f"gradient, beyond 5 standard errors.\n\n{harness.provenance(board.path)}"
    )


def run(arguments: argparse.Namespace, board: harness.Board) -> None:
    """Every case."""
    code = harness.fingerprint("expectation")
    for name, case in CASES.items():
        board.cell(name, partial(measured, case, 20 if arguments.quick else REPEATS), code)


def main() -> None:
    """Run what is missing, then print the table."""
    harness.run_benchmark(NAME, __doc__, run, table)


if __name__ == "__main__":
    main()
