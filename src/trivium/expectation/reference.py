"""What the gradients of a comparison are measured against, and the figures that come of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.stats import t as student
from torch import Tensor

from trivium.expectation.comparison import EstimatorFigures
from trivium.expectation.estimator import GradientEstimator

__all__ = ["Trial", "figures_of"]

_ALARM = 1e-4  # probability that an unbiased estimator is called biased
_ROUNDING = 1e-5  # of the length of the gradient: single precision, or an exact sum


@dataclass(frozen=True)
class Trial:
    """Gradients of one estimator.

    Args:
        name: How it is shown.
        estimator: The estimator.
        slopes: A gradient in each row, `(r, p)`.
        evaluations: Rows that f was given, in one call.
        seconds: CPU time of one call, the median.
    """

    name: str
    estimator: GradientEstimator
    slopes: Float[Tensor, "r p"]
    evaluations: float
    seconds: float


@dataclass(frozen=True)
class _Target:
    """A gradient with the error that it has itself.

    Args:
        value: The gradient.
        draws: Gradients whose mean it is; none where it is exact.
    """

    value: Float[Tensor, " p"]
    draws: Float[Tensor, "r p"] | None = None


def figures_of(
    trials: Sequence[Trial], exact: Float[Tensor, " p"] | None
) -> tuple[tuple[EstimatorFigures, ...], str]:
    """Return the figures of each trial, and what they were measured against.

    Args:
        trials: Of `compare`.
        exact: The exact gradient, where it could be had.

    Returns:
        Figures, and `"exact"`, the name of an estimator, or `""` where there is nothing.
    """
    if exact is not None:
        return tuple(_figures(trial, _Target(exact)) for trial in trials), "exact"
    best = _trusted(trials)
    if best is None:
        return tuple(_figures(trial, None) for trial in trials), ""
    target = _Target(best.slopes.mean(0), best.slopes)
    rows = tuple(
        _figures(trial, None if trial is best else target, target.value) for trial in trials
    )
    return rows, best.name


def _trusted(trials: Sequence[Trial]) -> Trial | None:
    """The unbiased trial of least variance that the score function does not contradict.

    What differentiates f is unbiased only where f has no jumps, and may have no variance at all
    where it sees nothing; what does not differentiate f is right for any f.
    """
    unbiased = sorted((t for t in trials if t.estimator.unbiased), key=_variance)
    sure = next((t for t in unbiased if not t.estimator.differentiates), None)
    for trial in unbiased:
        if trial is sure or sure is None:
            return trial
        if not _bias(trial.slopes, _Target(sure.slopes.mean(0), sure.slopes))[2]:
            return trial
    return None


def _variance(trial: Trial) -> float:
    return float(trial.slopes.var(0).sum())


def _figures(
    trial: Trial, target: _Target | None, direction: Tensor | None = None
) -> EstimatorFigures:
    bias, error, seen = math.nan, math.nan, False
    if target is not None:
        bias, error, seen = _bias(trial.slopes, target)
        direction = target.value
    of_mean, of_draw = math.nan, math.nan
    if direction is not None:
        of_mean = float(_cosine(trial.slopes.mean(0), direction))
        of_draw = float(_cosine(trial.slopes, direction).mean())
    variance = _variance(trial)
    return EstimatorFigures(
        name=trial.name,
        estimator=trial.estimator,
        unbiased=trial.estimator.unbiased,
        seen_biased=seen,
        bias=bias,
        bias_error=error,
        deviation=math.sqrt(variance),
        cosine_of_mean=of_mean,
        cosine_of_draw=of_draw,
        evaluations=trial.evaluations,
        seconds=trial.seconds,
    )


def _bias(slopes: Tensor, target: _Target) -> tuple[float, float, bool]:
    """Length of the bias, its standard error, and whether it is there beyond chance.

    The direction is taken from one half of the draws and the length from the other, so that the
    length is 0 on average where there is no bias.
    """
    half = len(slopes) // 2
    found, judged = slopes[:half], slopes[half:]
    goal = target.value[None] if target.draws is None else target.draws
    middle = 0 if target.draws is None else len(goal) // 2
    # Halves of the goal too: its own error would be in the direction and in the length.
    away = found.mean(0) - (goal[:middle] if middle else goal).mean(0)
    size = float(away.norm())
    if size == 0:
        return 0.0, 0.0, False
    ours, theirs = judged @ (away / size), goal[middle:] @ (away / size)
    bias = float(ours.mean() - theirs.mean())
    parts = [(float(x.var()) / len(x), len(x) - 1) for x in (ours, theirs) if len(x) > 1]
    error = math.sqrt(sum(part for part, _ in parts))
    if bias <= _ROUNDING * float(target.value.norm()):
        return bias, error, False
    if error == 0:
        return bias, error, True
    # Welch and Satterthwaite
    degrees = error**4 / sum(part**2 / count for part, count in parts)
    return bias, error, float(student.sf(bias / error, degrees)) < _ALARM


def _cosine(slopes: Tensor, direction: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(slopes, direction, dim=-1)
