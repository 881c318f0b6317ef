"""Every two columns of a mixed table against each other, with false-discovery control."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium._core.random import RandomState, check_seed, numpy_generator
from trivium.dependence.column_grid import ColumnGrid
from trivium.dependence.columns import (
    DependenceColumn,
    check_columns,
    column_batches,
    feature_blocks,
)
from trivium.dependence.compression import compress
from trivium.dependence.false_discovery import CORRECTIONS
from trivium.dependence.grid_null import GridTarget, Members
from trivium.dependence.pair import LEAST_ROWS
from trivium.dependence.pair_table import PairRow, PairTable
from trivium.dependence.stages import Rank, Stages, members_words
from trivium.dependence.sums import factor_sums
from trivium.parallel import Executor, given_executor

__all__ = ["screen_pairs"]


def screen_pairs(
    columns: Sequence[DependenceColumn],
    *,
    fdr: float = 0.05,
    n_permutations: int = 1000,
    correction: str = "bh",
    max_rows: int = 20_000,
    random_state: RandomState = 0,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
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
        executor: Where each column is tested against those before it, with one thread: in this
            process by default. The same bits on all.

    Returns:
        Alignment, p-value and q-value of every pair. A constant column has p = 1 with all others.

    Raises:
        ArgumentError: Fewer than two columns, equal names, or an argument that breaks its rule.
        ShapeError: Columns of different lengths.
        DataError: Fewer than 4 rows.
        ResourceError: The executor lost its workers again and again.

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
    seed, runner = check_seed(random_state), given_executor("screen_pairs", executor)
    fdr = check_number("screen_pairs", "fdr", fdr, "in (0, 1)")
    first = int(
        check_number("screen_pairs", "n_permutations", n_permutations, "positive", integer=True)
    )
    check_choice("screen_pairs", "correction", correction, CORRECTIONS)
    kept = _sampled(columns, max_rows, seed)
    n, k = len(kept[0]), len(kept)
    leading = _leading_features(kept, runner)
    stages = Stages.plan(n, first, k * (k - 1) // 2, fdr=fdr, seed=seed)
    cka, p_value, counts = np.eye(k), np.ones((k, k)), np.zeros((k, k), dtype=np.int64)
    done = 1
    for number, pairs in runner.each(_against, range(1, k), shared=(leading, stages)):
        place = number + 1
        for other, pair in enumerate(pairs):
            cka[place, other] = cka[other, place] = pair.cka
            if pair.rank is not None:
                p_value[place, other] = p_value[other, place] = pair.rank.p_value
                counts[place, other] = counts[other, place] = pair.rank.members
        done += 1
        if progress is not None:
            progress(done, k)
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
    more = " or more" if stages.further else ""
    method = f"HSIC on features, {members_words(stages.first, stages.least)}{more}"
    kinds = tuple(column.kind for column in columns)
    return PairTable(names, kinds, cka, p_value, q_value, tuple(rows), fdr, method)


def _sampled(
    columns: Sequence[DependenceColumn], max_rows: int, seed: int
) -> list[DependenceColumn]:
    check_columns("screen_pairs", "columns", columns)
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


@dataclass(frozen=True)
class _Leading:
    """Leading features of one column in single precision, and its HSIC with itself."""

    features: Float[Tensor, "r n"]
    own: float


@dataclass(frozen=True)
class _Pair:
    """The alignment of two columns, and where they stand, unless one is constant."""

    cka: float
    rank: Rank | None = None


def _leading_features(columns: list[DependenceColumn], runner: Executor) -> list[_Leading]:
    batches = column_batches(columns)
    found: dict[int, _Leading] = {}
    blocks = [tuple(columns[place] for place in batch) for batch in batches]
    for number, batch in runner.each(_leading, blocks):
        found.update(zip(batches[number], batch, strict=True))
    return [found[place] for place in range(len(columns))]


def _leading(columns: Sequence[DependenceColumn]) -> list[_Leading]:
    block = next(feature_blocks(columns))[1]
    small = compress(block.values, 1e-2 / len(columns[0]), torch.float32)
    return [_Leading(each, _unbiased(each, each) if len(each) else 0.0) for each in small]


def _unbiased(first: Tensor, second: Tensor) -> float:
    return float(factor_sums(first.double(), second.double()).estimate("unbiased"))


def _against(place: int, shared: tuple[list[_Leading], Stages]) -> list[_Pair]:
    """Test the columns before one against it, in their order."""
    columns, stages = shared
    last = columns[place]
    target = ColumnGrid(last.features)
    others = [i for i in range(place) if len(columns[i].features)] if len(target.basis) else []

    def ranks(members: Members, wanted: Sequence[int]) -> list[Rank]:
        moved = GridTarget(target, members)
        return [Rank.of(moved.null(ColumnGrid(columns[i].features))[0]) for i in wanted]

    found: dict[int, Rank] = {}
    if others:
        first = ranks(stages.first, others)
        followed = stages.follow(
            first, lambda members, few: ranks(members, [others[i] for i in few])
        )
        found = dict(zip(others, followed, strict=True))
    return [_Pair(_alignment(columns[i], last), found.get(i)) for i in range(place)]


def _alignment(first: _Leading, second: _Leading) -> float:
    size = math.sqrt(max(first.own, 0.0) * max(second.own, 0.0))
    return _unbiased(first.features, second.features) / size if size > 0 else 0.0
