"""A number as a small smooth basis: its own scale, and cosines of its rank.

The first feature is the standardized value: robust to scale (values are divided by the largest
before anything is squared) and, where the tails are heavy (kurtosis above 30), taken to normal
scores of its rank instead. The curves `cos(pi h u)`, h = 2, 3, 4, of the rank u in [0, 1] let a
linear model see what is not monotone; curve h has 1/h of the weight, so that smooth effects are
cheaper than rough ones.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

__all__ = ["Curve"]

KNOTS = 129
HEAVY = 30.0
N_CURVES = 3


@dataclass(frozen=True)
class Curve:
    """What one number column needs to become features.

    Attributes:
        facts: `unit, center, scale, low, high, heavy, edge` (see `fit`), as one array.
        knots: Values (in units) at which the rank is known.
        levels: The rank at each knot, in [0, 1], ties at their middle.
        means: Mean of each curve over the fitted rows.
    """

    facts: Float[np.ndarray, " 7"]
    knots: Float[np.ndarray, " m"]
    levels: Float[np.ndarray, " m"]
    means: Float[np.ndarray, " k"]

    @classmethod
    def fit(cls, values: Float[np.ndarray, " n"], n_curves: int = N_CURVES) -> "Curve":
        """Learn scale and ranks from the finite values.

        Args:
            values: Numbers; NaN is missing, infinities count as beyond the ends.
            n_curves: How many cosines; fewer where there are fewer distinct values.

        Cost:
            Time O(n log n), memory O(n).
        """
        finite = values[np.isfinite(values)]
        unit = float(np.abs(finite).max(initial=0.0)) or 1.0
        with np.errstate(over="ignore"):  # numpy 1.26 also divides past the end of the array
            found = np.sort(finite / unit)
        center, scale, heavy = _moments(found)
        # Without curves and heavy tails nobody asks for ranks.
        knots, levels = _ranks(found) if n_curves or heavy else (found[:0], found[:0])
        edge = 0.5 / max(len(found), 1)
        if heavy:
            scores = ndtri(np.clip(_interpolate(found, knots, levels), edge, 1 - edge))
            center, scale, _ = _moments(scores)
        facts = np.array([unit, center, scale, 0, 0, heavy, edge])
        curve = cls(facts, knots, levels, np.zeros(0))
        if len(found) and found[0] < found[-1]:
            facts[3:5] = curve._position(found[[0, -1]]) + np.array([-1.0, 1.0])
        orders = min(n_curves, len(knots) - 2)
        return (
            replace(curve, means=curve._curves(found, orders).mean(axis=0)) if orders > 0 else curve
        )

    @property
    def heavy(self) -> bool:
        """Whether the value is shown by normal scores of its rank."""
        return bool(self.facts[5])

    @property
    def names(self) -> tuple[str, ...]:
        """What each feature is, in words."""
        return ("value", *(f"curve {h + 2}" for h in range(len(self.means))))

    def features(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
        """Return the value and its curves; zeros where missing.

        A value beyond the fitted ones is held one standard deviation outside of them.
        """
        missing = np.isnan(values)
        with np.errstate(over="ignore"):
            units = np.where(missing, 0.0, values) / self.facts[0]
        position = np.clip(self._position(units), self.facts[3], self.facts[4])
        block = np.column_stack([position, self._curves(units, len(self.means)) - self.means])
        block[missing] = 0.0
        return block

    def _rank(self, units: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        if len(self.knots) == 0:
            return np.full(len(units), 0.5)
        return _interpolate(units, self.knots, self.levels)

    def _position(self, units: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        _, center, scale, _, _, heavy, edge = self.facts
        if heavy:
            units = ndtri(np.clip(self._rank(units), edge, 1 - edge))
        return (units - center) / scale

    def _curves(self, units: Float[np.ndarray, " n"], n_curves: int) -> Float[np.ndarray, "n k"]:
        if n_curves == 0:
            return np.zeros((len(units), 0))
        orders = np.arange(2, 2 + n_curves)
        angles = np.pi * np.outer(self._rank(units), orders)
        return np.cos(angles) * (np.sqrt(2) / orders)


def _ranks(found: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """Knots and their mid-ranks: the distinct values where few, else 129 quantiles."""
    if len(found) == 0:
        return np.zeros(0), np.zeros(0)
    distinct, counts = np.unique(found, return_counts=True)
    if len(distinct) <= KNOTS:
        return distinct, (np.cumsum(counts) - counts / 2) / len(found)
    grid = np.linspace(0, 1, KNOTS)
    knots, place = np.unique(np.quantile(found, grid), return_inverse=True)
    return knots, np.bincount(place, grid) / np.bincount(place)


def _interpolate(
    at: Float[np.ndarray, " n"], knots: Float[np.ndarray, " m"], levels: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """Interpolate without slopes, which overflow where two knots are 1e-310 apart."""
    if len(knots) == 1:
        return np.full(len(at), levels[0])
    held = np.clip(at, knots[0], knots[-1])
    left = np.minimum(np.searchsorted(knots, held, side="right") - 1, len(knots) - 2)
    share = (held - knots[left]) / (knots[left + 1] - knots[left])
    return levels[left] + share * (levels[left + 1] - levels[left])


def _moments(found: Float[np.ndarray, " n"]) -> tuple[float, float, bool]:
    """Mean, standard deviation (1 where it is 0) and whether the tails are heavy."""
    if len(found) == 0:
        return 0.0, 1.0, False
    center = float(found.mean())
    away = found - center
    largest = float(np.abs(away).max())
    if largest == 0.0:
        return center, 1.0, False
    square = (away / largest) ** 2
    variance = float(square.mean())
    return center, largest * variance**0.5, float((square**2).mean()) > HEAVY * variance**2
