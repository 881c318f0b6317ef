"""The ridge path: a grid of ridges, each with its own temperature, loss and weight.

The grid has 13 points, half a decade apart, centered on ten times the mean variance within
classes, where a log-normal prior of 0.75 decades sits; it is extended while its end is best.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from trivium.closedform.pull import Pull

__all__ = ["Path", "Point", "walk"]

_CENTER, _DECADES, _WIDTH = 10.0, 3.0, 0.75
_POINTS = 13
_MOST_EXTRA = 30
_MATTERS = 25.0


@dataclass(frozen=True)
class Point:
    """One ridge: its inverse temperature, its leave-one-out loss and its log weight."""

    ridge: float
    scale: float
    loss: float
    log_weight: float


@dataclass(frozen=True)
class Path:
    """Resolved hyperparameters of a fit; a refit with the same path is the same rule.

    Args:
        ridges: Ridges g in `(W + gI)^-1`, in units of `unit` squared, ascending.
        scales: Inverse temperature of each.
        losses: Mean leave-one-out loss of each (log-loss or error rate, as the criterion says).
        weights: Weight of each in the average; they sum to one.
        sharpness: Inverse temperature of the average itself, on top of `scales`.
        unit: The power of two by which rows were divided.
        pull: How far class means are pulled to the grand mean.
        blend: Weight ω of each class's own scatter; 0 for the shared rule, None while not chosen.
        blend_ridge: Ridge of the blend, in the same units.
        blend_scale: Inverse temperature of the blend.
    """

    ridges: np.ndarray
    scales: np.ndarray
    losses: np.ndarray
    weights: np.ndarray
    sharpness: float
    unit: float
    pull: Pull = field(default_factory=Pull)
    blend: float | None = None
    blend_ridge: float = 0.0
    blend_scale: float = 1.0

    def in_units(self, unit: float) -> "Path":
        """Return the same path for rows divided by another unit."""
        factor = (self.unit / unit) ** 2
        return replace(
            self, ridges=self.ridges * factor, blend_ridge=self.blend_ridge * factor, unit=unit
        )

    @property
    def best(self) -> int:
        """Index of the heaviest ridge."""
        return int(np.argmax(self.weights))


def log_prior(ridge: float, mean_variance: float) -> float:
    """Log-normal prior of the ridge, up to a constant."""
    decades = math.log10(max(ridge / (_CENTER * mean_variance), 1e-300))
    return -0.5 * (decades / _WIDTH) ** 2


def walk(
    evaluate: Callable[[list[float]], list[Point]], mean_variance: float, lowest: float
) -> list[Point]:
    """Evaluate the grid, and beyond an end for as long as that end is the best.

    Whole decades come first, then the half decades beside a decade that matters (one within
    exp(-25) of the best).

    Args:
        evaluate: Points of some ridges, in their order.
        mean_variance: Mean variance of a column within classes.
        lowest: Ridge below which rounding decides; the path stops there.

    Returns:
        Points in ascending order of ridge.
    """
    step = 10.0 ** (2 * _DECADES / (_POINTS - 1))
    middle = _CENTER * mean_variance
    found: dict[int, Point] = {}

    def look(indices: Iterable[int]) -> None:
        ridges = {index: middle * step**index for index in indices if index not in found}
        seen = {index: ridge for index, ridge in ridges.items() if ridge > lowest}
        if seen:
            found.update(zip(seen, evaluate(list(seen.values())), strict=True))

    def best() -> int:
        return max(found, key=lambda index: found[index].log_weight)

    half = _POINTS // 2
    look(range(-half, half + 1, 2))
    if not found:
        return evaluate([max(lowest, middle)])
    least = found[best()].log_weight - _MATTERS
    matter = [index for index, point in found.items() if point.log_weight > least]
    look(near for index in matter for near in (index - 1, index + 1))
    for _ in range(_MOST_EXTRA):
        size, at = len(found), best()
        look((at - 1, at + 1))
        if len(found) == size:
            break
    return [found[index] for index in sorted(found)]
