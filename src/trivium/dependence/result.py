"""What a test returns: a frozen value that says how it was made."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium._core.checks import require

__all__ = ["TestResult", "draw_null"]


@dataclass(frozen=True)
class TestResult:
    """One test of independence.

    Args:
        statistic: Biased HSIC of the median kernels. Its size is not a strength: it depends on the
            kernels and falls as 1/n under independence.
        statistic_unbiased: The unbiased estimate of the same quantity; may be negative.
        cka: Debiased centered kernel alignment, the statistic on a scale up to 1.
        p_value: In (0, 1], valid at every level.
        method: The null and the route, in words.
        n_rows: Rows compared.
        n_effective: Rows that may change places under the null.
        n_permutations: Reorderings compared with the rows as given; 0 for a tail.
        lengthscales: Lengthscale of each kernel, `None` for a kernel without one.
        kernels: The two kernels in words.
        null: What was ranked, after each reordering.
        null_band: 95 % point of the null on the scale of `cka`.
        residual: Largest share of a kernel's trace that its features leave out; 0 is exact.
        score: What was ranked, of the rows as given: the statistic, or the largest studentized
            one of several lengthscales.
        seconds: CPU time.
        memory: Growth of the process's peak memory, in bytes; 0 when it fitted into what the
            process had used before.
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
    score: float | None = None
    seconds: float = 0.0
    memory: int = 0

    def swapped(self) -> "TestResult":
        """Return the result with x and y named the other way round."""
        return replace(
            self,
            lengthscales=(self.lengthscales[1], self.lengthscales[0]),
            kernels=(self.kernels[1], self.kernels[0]),
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the null as a histogram with the statistic as a line; return the axes.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        observed = self.statistic if self.score is None else self.score
        label = self.method.split(",")[0] if self.score is None else "statistic ranked"
        return draw_null(ax, self.null, observed, self.p_value, label)


def draw_null(
    ax: Any, null: NDArray[np.float64], observed: float, p_value: float, label: str
) -> Any:
    """Draw a null as a histogram with what was observed as a line; return the axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    axes = _axes(ax)
    axes.hist(null, bins=30, color="0.8", label="permuted")
    axes.axvline(observed, color="C3", label=f"observed, p = {p_value:.3g}")
    axes.set_xlabel(label)
    axes.set_ylabel("reorderings")
    axes.legend()
    return axes


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    pyplot = require("matplotlib.pyplot", "plot", "TestResult.plot")
    return pyplot.subplots()[1]
