"""The dependence of every two columns as a table of pairs and as matrices."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium._core.checks import require

__all__ = ["PairRow", "PairTable"]


@dataclass(frozen=True)
class PairRow:
    """Two columns and what the test said of them.

    Args:
        first: Name of one column.
        second: Name of the other.
        cka: Debiased centered kernel alignment.
        p_value: Exact p-value.
        q_value: After false-discovery control over all pairs.
        n_permutations: Shifts behind `p_value`.
    """

    first: str
    second: str
    cka: float
    p_value: float
    q_value: float
    n_permutations: int


@dataclass(frozen=True)
class PairTable:
    """The dependence of every two columns, each matrix symmetric with the columns on both sides.

    Args:
        names: The columns.
        kinds: Their kinds.
        cka: Alignments; 1 on the diagonal.
        p_value: p-values; 1 on the diagonal.
        q_value: q-values; 1 on the diagonal.
        rows: The pairs, by p-value and then by falling alignment.
        fdr: The level asked for.
        method: The test in words.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    cka: NDArray[np.float64]
    p_value: NDArray[np.float64]
    q_value: NDArray[np.float64]
    rows: tuple[PairRow, ...]
    fdr: float
    method: str

    @property
    def selected(self) -> tuple[tuple[str, str], ...]:
        """Pairs with a q-value of at most `fdr`, strongest evidence first."""
        return tuple((row.first, row.second) for row in self.rows if row.q_value <= self.fdr)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the pairs as JSON objects, strongest evidence first."""
        return [asdict(row) for row in self.rows]

    def plot(self, ax: Any = None) -> Any:
        """Draw the alignments as a map, similar columns side by side; return the axes.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        if ax is None:
            pyplot = require("matplotlib.pyplot", "plot", "PairTable.plot")
            size = max(4.0, 0.32 * len(self.names) + 2)
            ax = pyplot.subplots(figsize=(size, size))[1]
        order = _clustered(self.cka)
        names = [self.names[i] for i in order]
        shown = ax.imshow(self.cka[np.ix_(order, order)].clip(0, 1), cmap="Blues", vmin=0, vmax=1)
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.set_yticks(range(len(names)), names)
        ax.get_figure().colorbar(
            shown, ax=ax, shrink=0.7, label=f"debiased CKA (dot: q ≤ {self.fdr:g})"
        )
        for i, first in enumerate(order):
            for j, second in enumerate(order):
                if i != j and self.q_value[first, second] <= self.fdr:
                    ax.plot(j, i, ".", color="0.2", markersize=2.5)
        return ax


def _clustered(cka: NDArray[np.float64]) -> list[int]:
    """Order of the columns by average linkage on 1 - CKA."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(cka) < 3:
        return list(range(len(cka)))
    apart = 1 - cka.clip(0, 1)
    np.fill_diagonal(apart, 0)
    found: list[int] = leaves_list(linkage(squareform(apart, checks=False), "average")).tolist()
    return found
