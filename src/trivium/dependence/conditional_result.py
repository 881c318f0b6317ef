"""What a test of conditional independence says."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["ConditionalResult"]


@dataclass(frozen=True)
class ConditionalResult:
    """One test of conditional independence. Its level is approximate, whatever the number of rows.

    Args:
        statistic: Squared norm of the mean product of residuals. Its size is not a strength.
        p_value: In (0, 1].
        method: Regressions, null, and that the level is approximate.
        n_rows: Rows compared.
        n_draws: Draws of signs; 0 for the tail.
        kernels: The kernels of x, y and z in words.
        regressions: The kernel of z that predicted the features of x, and of y, best.
        left: Share of the variance of the features of x, and of y, that z leaves.
        null: The statistic of each draw of signs; empty for the tail.
        residual: Largest share of a factor's sum of squares that was left out; 0 is exact.
        seconds: CPU time.
    """

    statistic: float
    p_value: float
    method: str
    n_rows: int
    n_draws: int
    kernels: tuple[str, str, str]
    regressions: tuple[str, str]
    left: tuple[float, float]
    null: NDArray[np.float64] = field(repr=False)
    residual: float = 0.0
    seconds: float = 0.0
