"""Every two columns of a mixed table against each other, with false-discovery control."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_choice, check_number, require
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium._core.random import RandomState, check_seed, numpy_generator
from trivium.dependence.column_grid import ColumnGrid
from trivium.dependence.columns import DependenceColumn, feature_blocks
from trivium.dependence.compression import compress
from trivium.dependence.false_discovery import CORRECTIONS
from trivium.dependence.grid_null import GridTarget, Members
from trivium.dependence.pair import LEAST_ROWS
from trivium.dependence.stages import Rank, Stages, members_words
from trivium.dependence.sums import factor_sums

__all__ = ["PairRow", "PairTable", "screen_pairs"]


@dataclass(frozen=True)
class PairRow:
    """Two columns and what the test said of them.

    Args:
        first: Name of one column.
        second: Name of the other.
        cka: Debiased centred kernel alignment.
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


def screen_pairs(
    columns: Sequence[DependenceColumn],
    *,
    fdr: float = 0.05,
    n_permutations: int = 1000,
    correction: str = "bh",
    max_rows: int = 20_000,
    random_state: RandomState = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PairTable:
    """Test every two columns for dependence of any shape, and control false discoveries.

    The null of a pair is that of all cyclic shifts of one against the other, after one shuffle of
    the rows (`Shifts`): exact, and all columns against one are a few transforms. Pairs that fewer
    than 10 members reach get a second group with `pairs / fdr` members (`Stages`), since a lone
    pair must be able to pass the false-discovery rule. Numbers are compared at their median
    distance only: `screen` looks at finer waves too.

    Args:
        columns: At least two, of one length, with distinct names. Missing values are a level or
            an indicator of their own.
        fdr: Expected share of false discoveries among the pairs with `q_value <= fdr`.
        n_permutations: Members of the first group, at least 1.
        correction: `"bh"` or `"by"`; the tests of pairs depend on each other, so `"by"` is the
            cautious choice.
        max_rows: Above this many rows a random sample of that size is tested.
        random_state: Seed.
        progress: Called with the number of columns done and in all.

    Returns:
        Alignment, p-value and q-value of every pair. A constant column has p = 1 with all others.

    Raises:
        ArgumentError: Fewer than two columns, equal names, or an argument that breaks its rule.
        ShapeError: Columns of different lengths.
        DataError: Fewer than 4 rows.

    Cost: O(k² r² (n + t log t)) time for k columns with r features and t members; the features of
    all columns in memory.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x, z = rng.normal(size=(2, 200))
        >>> named = {"x": x, "square": x**2, "z": z}
        >>> table = screen_pairs([DependenceColumn(n, "number", v) for n, v in named.items()])
        >>> table.selected
        (('x', 'square'),)

    Source: as `screen`.
    """
    seed = check_seed(random_state)
    fdr = check_number("screen_pairs", "fdr", fdr, "in (0, 1)")
    first = int(
        check_number("screen_pairs", "n_permutations", n_permutations, "positive", integer=True)
    )
    check_choice("screen_pairs", "correction", correction, CORRECTIONS)
    kept = _sampled(columns, max_rows, seed)
    n, k = len(kept[0]), len(kept)
    small, cka = _compressed(kept)
    stages = Stages.plan(n, first, k * (k - 1) // 2, fdr=fdr, seed=seed)
    p_value, counts = np.ones((k, k)), np.zeros((k, k), dtype=np.int64)
    for place in range(1, k):
        for other, rank in _against(small, place, stages):
            p_value[place, other] = p_value[other, place] = rank.p_value
            counts[place, other] = counts[other, place] = rank.members
        if progress is not None:
            progress(place + 1, k)
    upper = np.triu_indices(k, 1)
    q_value = np.ones((k, k))
    q_value[upper] = CORRECTIONS[correction](p_value[upper])
    q_value.T[upper] = q_value[upper]
    names = tuple(column.name for column in columns)
    rows = [
        PairRow(
            names[i],
            names[j],
            float(cka[i, j]),
            float(p_value[i, j]),
            float(q_value[i, j]),
            int(counts[i, j]),
        )
        for i, j in zip(*upper, strict=True)
    ]
    rows.sort(key=lambda row: (row.p_value, -row.cka))
    more = " or more" if stages.second is not None else ""
    method = f"HSIC on features, {members_words(stages.first, stages.least)}{more}"
    kinds = tuple(column.kind for column in columns)
    return PairTable(names, kinds, cka, p_value, q_value, tuple(rows), fdr, method)


def _sampled(
    columns: Sequence[DependenceColumn], max_rows: int, seed: int
) -> list[DependenceColumn]:
    if len(columns) < 2:
        raise ArgumentError(f"screen_pairs: there must be at least two columns; got {len(columns)}")
    name, times = Counter(column.name for column in columns).most_common(1)[0]
    if times > 1:
        raise ArgumentError(f"screen_pairs: columns must have distinct names; got {name!r} twice")
    n = len(columns[0])
    for column in columns:
        if len(column) != n:
            raise ShapeError(
                f"screen_pairs: axis n is {n} in {columns[0].name!r} but {len(column)} in "
                f"{column.name!r}"
            )
    if max_rows < LEAST_ROWS:
        raise ArgumentError(f"screen_pairs: max_rows must be at least {LEAST_ROWS}; got {max_rows}")
    if n < LEAST_ROWS:
        raise DataError(f"screen_pairs: a test needs at least {LEAST_ROWS} rows; got {n}")
    if n <= max_rows:
        return list(columns)
    draw = numpy_generator(seed, "dependence", "rows")
    rows = np.sort(draw.choice(n, max_rows, replace=False))
    return [column.take(rows) for column in columns]


def _compressed(
    columns: list[DependenceColumn],
) -> tuple[list[Float[Tensor, "r n"]], NDArray[np.float64]]:
    """Leading features of each column in single precision, and the alignments of all pairs."""
    n, k = len(columns[0]), len(columns)
    small: list[Tensor] = [torch.empty(0, n)] * k
    for places, block in feature_blocks(columns):
        for place, features in zip(
            places, compress(block.values, 1e-2 / n, torch.float32), strict=True
        ):
            small[place] = features
    own = [_unbiased(each, each) if len(each) else 0.0 for each in small]
    cka = np.eye(k)
    for i, j in zip(*np.triu_indices(k, 1), strict=True):
        size = math.sqrt(max(own[i], 0.0) * max(own[j], 0.0))
        cka[i, j] = cka[j, i] = _unbiased(small[i], small[j]) / size if size > 0 else 0.0
    return small, cka


def _unbiased(first: Tensor, second: Tensor) -> float:
    return float(factor_sums(first.double(), second.double()).estimate("unbiased"))


def _against(features: list[Tensor], place: int, stages: Stages) -> list[tuple[int, Rank]]:
    """Test the columns before one against it: the number of each, and where the pair stands."""
    target = ColumnGrid(features[place])
    others = [i for i in range(place) if len(features[i])] if len(target.basis) else []

    def ranks(members: Members, wanted: Sequence[int]) -> list[Rank]:
        moved = GridTarget(target, members)
        return [Rank.of(moved.null(ColumnGrid(features[i]))[0]) for i in wanted]

    if not others:
        return []
    found = stages.follow(
        ranks(stages.first, others), lambda members, few: ranks(members, [others[i] for i in few])
    )
    return list(zip(others, found, strict=True))
