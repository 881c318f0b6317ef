"""What the screen returns: frozen rows, as objects and as plain data."""

from dataclasses import asdict, dataclass, field
from typing import Any

from trivium.dependence.table_plot import draw_bars, draw_table

__all__ = ["DependenceRow", "DependenceTable"]


@dataclass(frozen=True)
class DependenceRow:
    """One column's dependence on the target.

    Args:
        name: The column.
        kind: `number`, `category`, `date` or `text`.
        kernel: What its values were compared with, in words.
        n_rows: Rows compared.
        missing: Missing values among them (a level or indicator of their own).
        statistic: Biased HSIC.
        cka: Debiased centered kernel alignment with the target.
        p_value: Exact p-value: the rank among the members of the group, numbers at five
            lengthscales.
        q_value: After false-discovery control over the columns.
        p_adjusted: Westfall-Young: probability that the largest of all columns' studentized
            statistics reaches this one under independence.
        method: The null, the number of its members and what was special.
        n_permutations: Members behind `p_value`, beside the rows as given.
        null_band: 95 % point of the null of the median kernels, on the scale of `cka`.
        residual: Share of the kernel's trace that its features leave out.
        p_tail: p-value by the saddlepoint, for the kernel as it is: how far in the tail the column
            lies where `p_value` is at its floor. No q-value uses it.
        shape: How it looks: `"rising"`, `"falling"`, `"U"`, `"peak"`, `"wave"`, `"spread"` (of the
            target), `"levels"`, or `""`.
        functions: The leading pair, `x, f, y, g` and their `correlation`, at the median distance
            or, where that hardly sees the dependence, at the best lengthscale; `None` beyond the
            20 strongest columns and where p is above the level asked for.
    """

    name: str
    kind: str
    kernel: str
    n_rows: int
    missing: int
    statistic: float
    cka: float
    p_value: float
    q_value: float
    p_adjusted: float
    method: str
    n_permutations: int
    null_band: float
    residual: float
    p_tail: float = 1.0
    shape: str = ""
    functions: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DependenceTable:
    """The dependence of every column on one target, in the order of the columns.

    Args:
        target: Name of the target.
        rows: One for each column tested.
        fdr: The level asked for.
        correction: `"bh"` or `"by"`.
        seed: The seed.
        target_kind: Kind of the target.
        untested: Names of the columns that were not tested, as they were too many: they count as
            p = 1 in the q-values of the others.
    """

    target: str
    rows: tuple[DependenceRow, ...]
    fdr: float
    correction: str
    seed: int
    target_kind: str = ""
    untested: tuple[str, ...] = ()

    @property
    def selected(self) -> tuple[str, ...]:
        """Names of the columns with a q-value of at most `fdr`, strongest evidence first."""
        return tuple(row.name for row in self.ranked() if row.q_value <= self.fdr)

    def ranked(self) -> tuple[DependenceRow, ...]:
        """Return the rows by p-value, then by falling alignment."""
        return tuple(sorted(self.rows, key=lambda row: (row.p_value, -row.cka)))

    def row(self, name: str) -> DependenceRow:
        """Return the row of one column.

        Raises:
            KeyError: There is no such column.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the ranked rows as JSON objects, the keys of `report.json`."""
        return [
            {"column": row.name, "rows": row.n_rows}
            | {key: value for key, value in asdict(row).items() if key not in {"name", "n_rows"}}
            for row in self.ranked()
        ]

    def plot(self, ax: Any = None) -> Any:
        """Draw the alignments as bars over the 95 % band of chance, and the leading functions.

        Args:
            ax: Draw the bars alone, there; by default a new figure with up to six small multiples
                of the leading functions below the bars.

        Returns:
            The axes of the bars; the figure is its `get_figure(root=True)`.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        if ax is None:
            return draw_table(self)
        draw_bars(self, ax)
        return ax
