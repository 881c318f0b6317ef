"""Which columns of a mixed table does the target depend on, with false-discovery control."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumWarning
from trivium._core.random import RandomState, check_seed, numpy_generator
from trivium.dependence.columns import DependenceColumn, feature_blocks
from trivium.dependence.compression import compress
from trivium.dependence.false_discovery import CORRECTIONS
from trivium.dependence.pair import LEAST_ROWS
from trivium.dependence.permutation import Permutations, exceedances, permutation_p_value
from trivium.dependence.screen_block import (
    block_nulls,
    block_rows,
    leading_of,
    target_features,
    tolerance,
)
from trivium.dependence.table_result import DependenceRow, DependenceTable

__all__ = ["screen"]

_MOST = 100_000
_MOST_FUNCTIONS = 20


def screen(
    columns: Sequence[DependenceColumn],
    target: DependenceColumn,
    *,
    fdr: float = 0.05,
    n_permutations: int = 1000,
    correction: str = "bh",
    max_rows: int = 20_000,
    random_state: RandomState = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DependenceTable:
    """Test each column for dependence on the target, of any shape, and control false discoveries.

    The statistic of a column is the biased HSIC of its features with those of the target,
    `||cov(phi(x), psi(y))||_F^2`; one set of permutations of the target serves all columns, in
    one matrix product. Columns whose statistic is reached by fewer than 10 of the permutations
    get more, up to `n_columns / fdr` in all, a number fixed beforehand, since a p-value
    cannot be below `1 / (1 + n_permutations)` and one lone column must be able to pass the
    false-discovery rule. Both stages give valid p-values, and so does the choice between them: a
    p-value of the first stage is kept only where it is larger than any that would go on.

    The size of the statistic is not a strength: it depends on the kernel. Compare `cka`.

    Args:
        columns: The columns, of one length.
        target: The column that the others are tested against. Rows where it is missing are left
            out.
        fdr: Expected share of false discoveries among the columns with `q_value <= fdr`.
        n_permutations: Permutations of the first stage, at least 1.
        correction: `"bh"` (Benjamini-Hochberg) or `"by"` (Benjamini-Yekutieli).
        max_rows: Above this many rows a random sample of that size is tested.
        random_state: Seed. Same seed, same bits, whatever the order of the columns.
        progress: Called with the number of columns done and in all.

    Returns:
        One row for each column, in their order.

    Raises:
        ArgumentError: An argument breaks its rule, or two columns have one name.
        ShapeError: Columns of different lengths.
        DataError: Fewer than 4 rows, or a target with one value only.

    Warns:
        TriviumWarning: Constant columns; they get p = 1 and statistic 0.

    Cost: O(n r s b) time for r features of all columns, s of the target, b permutations; the
    memory of one block of columns.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x, noise = rng.normal(size=(2, 200))
        >>> table = screen(
        ...     [DependenceColumn("x", "number", x), DependenceColumn("noise", "number", noise)],
        ...     DependenceColumn("y", "category", (abs(x) > 1).astype(int)),
        ... )
        >>> table.selected
        ('x',)

    Source: Gretton et al., A kernel statistical test of independence (2007); Westfall and
    Young, Resampling-based multiple testing (1993), for `p_adjusted`.
    """
    seed = check_seed(random_state)
    fdr = check_number("screen", "fdr", fdr, "in (0, 1)")
    first = int(check_number("screen", "n_permutations", n_permutations, "positive", integer=True))
    check_choice("screen", "correction", correction, CORRECTIONS)
    if not columns:
        return DependenceTable(target.name, (), fdr, correction, seed)
    rows = _rows(columns, target, max_rows, seed)
    psi = target_features(target.take(rows))
    orders = Permutations(len(rows), first, seed=seed)
    last = min(math.ceil(len(columns) / fdr), _MOST)
    more = orders
    if last > first and not orders.enumerated:
        more = Permutations(len(rows), last, seed=seed)
    found: dict[int, DependenceRow] = {}
    scores = torch.full((len(columns),), -math.inf)
    largest = torch.full((orders.count + 1,), -math.inf)
    for places, block in feature_blocks([column.take(rows) for column in columns]):
        features = compress(block.values, tolerance(len(rows)), torch.float32)
        nulls, peak = block_nulls(features, psi, orders, more)
        largest = torch.maximum(largest, peak)
        scores[places] = torch.tensor([null.score for null in nulls])
        drawn = [
            leading_of(column, each, psi, null, fdr)
            for column, each, null in zip(block.columns, features, nulls, strict=True)
        ]
        found.update(zip(places, block_rows(block, features, psi, nulls, drawn), strict=True))
        if progress is not None:
            progress(len(found), len(columns))
    ordered = [found[place] for place in range(len(columns))]
    usable = int((~target.missing).sum())
    sample = f", a sample of {len(rows)} of {usable} rows" if usable > len(rows) else ""
    finished = _finish(ordered, scores, largest, orders, correction, sample)
    return DependenceTable(target.name, finished, fdr, correction, seed)


def _rows(
    columns: Sequence[DependenceColumn], target: DependenceColumn, max_rows: int, seed: int
) -> NDArray[np.int64]:
    """Rows with a target, a sample of them when there are too many."""
    name, times = Counter(column.name for column in columns).most_common(1)[0]
    if times > 1:
        raise ArgumentError(f"screen: columns must have distinct names; got {name!r} twice")
    for column in columns:
        if len(column) != len(target):
            raise ShapeError(
                f"screen: axis n is {len(target)} in the target {target.name!r} but "
                f"{len(column)} in {column.name!r}"
            )
    rows = np.flatnonzero(~target.missing)
    limit = int(check_number("screen", "max_rows", max_rows, integer=True))
    if limit < LEAST_ROWS:
        raise ArgumentError(f"screen: max_rows must be at least {LEAST_ROWS}; got {limit}")
    if len(rows) < LEAST_ROWS:
        raise DataError(
            f"screen: a test needs at least {LEAST_ROWS} rows with a target; got {len(rows)}",
            where=f"target {target.name!r}",
        )
    if len(rows) > limit:
        draw = numpy_generator(seed, "dependence", "rows")
        rows = np.sort(draw.choice(rows, limit, replace=False))
    return rows


def _finish(
    rows: list[DependenceRow],
    scores: Tensor,
    largest: Float[Tensor, " b"],
    orders: Permutations,
    correction: str,
    sample: str,
) -> tuple[DependenceRow, ...]:
    """Add what needs all columns: q-values and Westfall-Young p-values."""
    q_values = CORRECTIONS[correction]([row.p_value for row in rows])
    adjusted = exceedances(largest[1:].expand(len(rows), -1), scores)
    constant = [row.name for row in rows if row.method == "constant"]
    if constant:
        warnings.warn(
            f"screen: {len(constant)} of {len(rows)} columns are constant or empty and get p = 1: "
            + ", ".join(repr(name) for name in constant[:5])
            + (", ..." if len(constant) > 5 else ""),
            TriviumWarning,
            stacklevel=3,
        )
    strongest = sorted(range(len(rows)), key=lambda i: (rows[i].p_value, -rows[i].cka))
    shown = {rows[i].name for i in strongest[:_MOST_FUNCTIONS]}
    finished = []
    for row, q_value, count in zip(rows, q_values, adjusted.tolist(), strict=True):
        words = "all " if row.n_permutations == orders.possible - 1 else ""
        method = f"HSIC on features, {words}{row.n_permutations} permutations{sample}"
        finished.append(
            replace(
                row,
                q_value=float(q_value),
                p_adjusted=1.0 if row.method else permutation_p_value(count, orders.count),
                method=row.method or method,
                functions=row.functions if row.name in shown else None,
            )
        )
    return tuple(finished)
