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
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumWarning
from trivium._core.random import RandomState, check_seed, numpy_generator
from trivium.dependence.columns import DependenceColumn, check_columns, column_batches
from trivium.dependence.false_discovery import CORRECTIONS
from trivium.dependence.pair import LEAST_ROWS
from trivium.dependence.permutation import exceedances, permutation_p_value
from trivium.dependence.quick_look import quick_look, strongest
from trivium.dependence.screen_block import ScreenTarget, screen_block
from trivium.dependence.stages import SLACK, Stages, members_words
from trivium.dependence.table_result import DependenceRow, DependenceTable
from trivium.parallel import Executor, given_executor

__all__ = ["screen"]

MOST_ROWS, MOST_COLUMNS = 20_000, 2_000
_MOST_FAR = 50  # columns that may be followed into the last group of very many
_MOST_FUNCTIONS = 20
_METHOD = "HSIC on features, numbers at 5 lengthscales"


def screen(  # noqa: PLR0913 - the contract's signature
    columns: Sequence[DependenceColumn],
    target: DependenceColumn,
    *,
    fdr: float = 0.05,
    n_permutations: int = 1000,
    correction: str = "bh",
    max_rows: int = MOST_ROWS,
    max_columns: int = MOST_COLUMNS,
    random_state: RandomState = 0,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> DependenceTable:
    r"""Test each column for dependence on the target, of any shape, and control false discoveries.

    The statistic of a column is the biased HSIC of its features with those of the target,
    $\lVert \mathrm{cov}(\varphi(x), \psi(y)) \rVert_F^2$; its p-value is the rank of the rows as
    given among all cyclic shifts of the target after one shuffle, with random cosets where
    there are too few (`Shifts`; every order of the rows where no more than `n_permutations` + 1
    exist). That is a group, so $P(p \le \alpha) \le \alpha$ under independence whatever the
    kernels, the features and the number of rows.

    Numbers, a number target too, are compared at five lengthscales, an eighth to twice the median
    distance: each pair's statistic is studentized over the group, and the largest, wide
    ones a little favored, is ranked over the same group, which is exact again
    (`aggregate_null`). `statistic`, `cka`, `null_band` and `p_tail` are those of the medians.

    One group moves the target against all columns together, so the largest score of any column,
    ranked over it, costs nothing more: `p_adjusted`. Columns that fewer than 10 members reach get a
    second group with `n_columns / fdr` members, since a lone column must be able to pass the
    false-discovery rule; `Stages` says why the rule keeps every level.

    Of more than `max_columns` columns those are tested that vary with the target most at a quick
    look (`quick_look`). The others count as p = 1, so the rule still holds its level over all of
    them; there `p_adjusted` is Bonferroni's, and with more than 5,000 columns the few that nothing
    reaches get a last group of up to 2,000,000 members.

    The size of the statistic is not a strength: it depends on the kernel. Compare `cka`.

    Args:
        columns: The columns, of one length.
        target: The column that the others are tested against. Rows where it is missing are left
            out.
        fdr: Expected share of false discoveries among the columns with `q_value <= fdr`.
        n_permutations: Members of the first group at the least, beside the rows as given.
        correction: `"bh"` (Benjamini-Hochberg) or `"by"` (Benjamini-Yekutieli).
        max_rows: Above this many rows a random sample of that size is tested.
        max_columns: Above this many columns only the strongest at a quick look are tested.
        random_state: Seed. Same seed, same bits, whatever the order of the columns.
        progress: Called with the number of columns done and in all, first those looked at, then
            those tested.
        executor: Where the batches of columns are worked on, each with one thread: in this
            process by default. The same bits on all.

    Returns:
        One row for each column tested, in their order, and the names of the others.

    Raises:
        ArgumentError: An argument breaks its rule, or two columns have one name.
        ShapeError: Columns of different lengths.
        DataError: Fewer than 4 rows, or a target with one value only.
        ResourceError: The executor lost its workers again and again.

    Warns:
        TriviumWarning: Constant columns; they get p = 1 and statistic 0.

    Cost: O(n r s + r s t log t) time for r features of all columns, s of the target, t members;
    five times more for a number against a number. The memory of one block of columns.

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

    Source: Gretton et al., A kernel statistical test of independence (2007); Koning and Hemerik,
    Biometrika 111 (2024), for the group; Westfall and Young, Resampling-based multiple testing
    (1993), for `p_adjusted`.
    """
    seed, runner = check_seed(random_state), given_executor("screen", executor)
    fdr = check_number("screen", "fdr", fdr, "in (0, 1)")
    first = int(check_number("screen", "n_permutations", n_permutations, "positive", integer=True))
    check_choice("screen", "correction", correction, CORRECTIONS)
    check_columns("screen", "columns", columns)
    check_columns("screen", "target", [target])
    if not columns:
        return DependenceTable(target.name, (), fdr, correction, seed, target.kind)
    rows = _rows(columns, target, max_rows, seed)
    psi = ScreenTarget.of(target.take(rows))
    columns, untested, far = _chosen(columns, psi, rows, max_columns, progress)
    total = len(columns) + len(untested)
    stages = Stages.ladder(len(rows), first, total, fdr, seed, far)
    found: dict[int, DependenceRow] = {}
    scores = torch.full((len(columns),), -math.inf, dtype=torch.float64)
    largest: Tensor = torch.tensor(-math.inf)
    batches = column_batches(columns)
    blocks = [tuple(columns[place].take(rows) for place in batch) for batch in batches]
    for number, done in runner.each(screen_block, blocks, shared=(psi, stages, fdr)):
        largest = torch.maximum(largest, done.largest)
        scores[batches[number]] = torch.tensor(done.scores, dtype=torch.float64)
        found.update(zip(batches[number], done.rows, strict=True))
        if progress is not None:
            progress(len(found), len(columns))
    ordered = [found[place] for place in range(len(columns))]
    usable = int((~target.missing).sum())
    sample = f", a sample of {len(rows)} of {usable} rows" if usable > len(rows) else ""
    if untested:
        sample += f", {len(columns)} of {total} columns by a quick look"
    finished = _finish(ordered, scores, largest, stages, correction, sample, len(untested))
    return DependenceTable(target.name, finished, fdr, correction, seed, target.kind, untested)


def _chosen(
    columns: Sequence[DependenceColumn],
    target: ScreenTarget,
    rows: NDArray[np.int64],
    max_columns: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[Sequence[DependenceColumn], tuple[str, ...], frozenset[str]]:
    """Columns that are tested, names of the others, and of those that may be followed to the end.

    All of them, where they are not too many.
    """
    limit = int(check_number("screen", "max_columns", max_columns, "positive", integer=True))
    if len(columns) <= limit:
        return columns, (), frozenset(column.name for column in columns)
    scores = quick_look(columns, rows, target.small, progress)
    best = strongest(columns, scores, limit)
    tested = frozenset(best)
    untested = tuple(each.name for place, each in enumerate(columns) if place not in tested)
    far = frozenset(columns[place].name for place in best[:_MOST_FAR])
    return [columns[place] for place in sorted(best)], untested, far


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
    return sampled_rows(rows, limit, seed)


def sampled_rows(rows: NDArray[np.int64], limit: int, seed: int) -> NDArray[np.int64]:
    """Return the rows, or a random sample of them in their order where there are too many."""
    if len(rows) <= limit:
        return rows
    draw = numpy_generator(seed, "dependence", "rows")
    return np.sort(draw.choice(rows, limit, replace=False))


def _finish(
    rows: list[DependenceRow],
    scores: Float[Tensor, " k"],
    largest: Float[Tensor, " t"],
    stages: Stages,
    correction: str,
    sample: str,
    n_untested: int,
) -> tuple[DependenceRow, ...]:
    """Add what needs all columns: q-values and Westfall-Young p-values."""
    p_values = [row.p_value for row in rows]
    total = len(rows) + n_untested
    q_values = CORRECTIONS[correction](p_values + [1.0] * n_untested)[: len(rows)]
    adjusted = exceedances(largest[1:].expand(len(rows), -1), scores, SLACK)
    constant = [row.name for row in rows if row.method == "constant"]
    if constant:
        warnings.warn(
            f"screen: {len(constant)} of {counted(len(rows), 'column')} are constant or empty and "
            "get p = 1: "
            + ", ".join(repr(name) for name in constant[:5])
            + (", ..." if len(constant) > 5 else ""),
            TriviumWarning,
            stacklevel=3,
        )
    strongest = sorted(range(len(rows)), key=lambda i: (rows[i].p_value, -rows[i].cka))
    shown = {rows[i].name for i in strongest[:_MOST_FUNCTIONS]}
    finished = []
    for row, q_value, count in zip(rows, q_values, adjusted.tolist(), strict=True):
        # The largest of all columns is not known where not all were tested.
        largest_of_all = (
            min(1.0, total * row.p_value)
            if n_untested
            else permutation_p_value(count, len(largest) - 1)
        )
        method = f"{_METHOD}, {members_words(stages.first, row.n_permutations)}{sample}"
        finished.append(
            replace(
                row,
                q_value=float(q_value),
                p_adjusted=1.0 if row.method else largest_of_all,
                method=row.method or method,
                functions=row.functions if row.name in shown else None,
            )
        )
    return tuple(finished)
