"""Class means pulled to the grand mean: the mean of a class of few rows is mostly noise.

A class of n_k rows keeps the share `ρ_k = n_k / (n_k + κ)` of its mean, and its correction of the
intercept is multiplied by ρ_k^a: a = 2 is what unbiasedness asks, a larger a leaves rare classes
some of the handicap that the correction takes away (right where class sizes are informative).
Leave-one-out at the middle of the path chooses among four (κ, a) when a class is small.
"""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["PULLS", "SMALL_CLASS", "Pull"]

SMALL_CLASS = 64
"""With more rows than this in every class nothing is pulled: it would hardly matter."""


@dataclass(frozen=True)
class Pull:
    """How far class means are pulled, and how much correction is kept.

    Args:
        rows: κ, in rows; 0 leaves the means alone.
        power: a, the power of the kept share in the correction.
    """

    rows: float = 0.0
    power: float = 2.0

    def keep(self, counts: Tensor) -> Tensor:
        """Share of each class mean that is kept; 0 for an empty class."""
        return counts / (counts + self.rows).clamp_min(1e-300)


PULLS = (Pull(), Pull(1.0, 2.0), Pull(1.0, 3.0), Pull(2.0, 4.0))
