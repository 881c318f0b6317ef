"""What a test returns: a frozen value that says how it was made."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium._core.checks import require

__all__ = ["TestResult"]


@dataclass(frozen=True)
class TestResult:
    """One test of independence.

    Args:
        statistic: Biased HSIC, the number that was compared with its permutations. Its size is
            not a strength: it depends on the kernels and falls as 1/n under independence.
        statistic_unbiased: The unbiased estimate of the same quantity; may be negative.
        cka: Debiased centred kernel alignment, the statistic on a scale up to 1.
        p_value: In (0, 1], valid at every level.
        method: The null and the route, in words.
        n_rows: Rows compared.
        n_effective: Rows that may change places under the null.
        n_permutations: Permutations compared with the rows as given.
        lengthscales: Lengthscale of each kernel, `None` for a kernel without one.
        kernels: The two kernels in words.
        null: The permuted statistics.
        null_band: 95 % point of the null on the scale of `cka`.
        residual: Largest share of a kernel's trace that its features leave out; 0 is exact.
    """

    __test__ = False  # a result, not a test case for pytest

    statistic: float
    statistic_unbiased: float
    cka: float
    p_value: float
    method: str
    n_rows: int
    n_effective: int
    n_permutations: int
    lengthscales: tuple[float | None, float | None]
    kernels: tuple[str, str]
    null: NDArray[np.float64] = field(repr=False)
    null_band: float = 0.0
    residual: float = 0.0

    def plot(self, ax: Any = None) -> Any:
        """Draw the null as a histogram with the statistic as a line; return the axes.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        axes = _axes(ax)
        axes.hist(self.null, bins=30, color="0.8", label="permuted")
        axes.axvline(self.statistic, color="C3", label=f"observed, p = {self.p_value:.3g}")
        axes.set_xlabel("HSIC")
        axes.set_ylabel("permutations")
        axes.legend()
        return axes


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    pyplot = require("matplotlib.pyplot", "plot", "TestResult.plot")
    return pyplot.subplots()[1]
