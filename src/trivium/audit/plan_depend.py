"""What the stage depend computes: rows, roads of kernels, and the work of each question.

The number of features that a smooth kernel takes is known only when they are made; typical ones
stand for it (18 of a number at 10,000 normal rows, 8 of a uniform one).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from trivium.audit.plan_size import ColumnSize, TableSize, TextSize
from trivium.audit.plan_work import (
    Work,
    batch,
    passes,
    product,
    scaled,
    steps,
    total_count,
    transforms,
    walks,
)
from trivium.dependence.quick_look import WAVES
from trivium.dependence.screen import MOST_COLUMNS, MOST_ROWS
from trivium.dependence.sequence import MOST_ROWS as MOST_TEXTS
from trivium.dependence.shift import Shifts
from trivium.dependence.stages import MIDDLE, MOST_MEMBERS, members_of

__all__ = [
    "DependRows",
    "aspect_work",
    "column_work",
    "depend_rows",
    "depend_work",
    "gram_work",
    "look_work",
    "share_tested",
]

_FDR = 0.05
# Typical features of a number: of the statistic, of the common basis, of its five kernels.
_SMOOTH, _BASIS, _GRID, _NODES = 16, 32, 100, 48
_DATE = (90, 50)
_POWERS, _DIRECTIONS = 12, 20
_LEAST_ROWS, _LEAST_TEXTS = 500, 200
_SHARE_AGAIN = 0.1  # of the columns that a second, larger group is asked about


@dataclass(frozen=True)
class DependRows:
    """How many rows are tested, at the most.

    Args:
        columns: In the test of each column.
        texts: In the tests of words, order and distance.
        fits: Whether both are within the budget.
    """

    columns: int = MOST_ROWS
    texts: int = MOST_TEXTS
    fits: bool = True


@dataclass(frozen=True)
class _Group:
    """Members of a group of shifts, and how they lie on the rows."""

    rows: int
    total: int
    length: int
    stride: int
    cosets: int

    def null(self, basis: float, target: float, grid: float = 0.0) -> list[Work]:
        """Cross products of a column's features with the target's after every member."""
        n, series = self.rows, basis * target
        per = self.total / self.cosets
        found = [transforms(basis, n)]
        if self.stride > 1:
            # Complex products: four real ones at half as many frequencies.
            found.append(batch(basis, self.stride, target, 2 * self.length, self.cosets, 4))
        else:
            found.append(passes(series * per / 2, 4 * self.cosets))
        found.append(transforms(series * self.cosets, per))
        if grid:
            found.append(product(grid, basis, target * per, self.cosets, 4))
        found.append(passes(max(grid, basis) * target * self.total, 2, 4))
        return [*found, steps(30 * self.cosets + 30)]


@lru_cache(maxsize=64)
def _group(rows: int, count: int) -> _Group:
    members = members_of(rows, count, 0)
    if isinstance(members, Shifts):
        return _Group(rows, members.total, members.length, members.stride, members.cosets)
    return _Group(rows, len(members), rows, 1, len(members))


def _smooth(n: int, target: float) -> list[Work]:
    """A number: an incomplete Cholesky; sorted, ranked, and put between nodes."""
    rank = min(_SMOOTH, n)
    return [
        product(n, rank, rank / 2),
        passes(n, 20 * rank),
        product(rank, n, 2 * rank),
        product(_NODES, n, _NODES),
        product(min(_BASIS, n), _NODES, n),
        passes(n, 12 * _NODES + 5 * _BASIS),
        walks(n, 700),
        batch(_NODES, _NODES, _NODES, 60, 6),
        product(rank, n, rank + target),
        steps(1500),
    ]


def _plain(n: int, features: float, kept: float, target: float) -> list[Work]:
    """Features that are there: centered, turned to their leading directions."""
    return [
        passes(n, 6 * features),
        product(features, n, features),
        product(features, features, features, 10),
        product(kept, features, n),
        product(features, n, features + target),
        steps(800),
    ]


def _words(texts: TextSize, rows: int, of: int) -> list[Work]:
    """Words of some of the texts found, and hashed."""
    share = min(1.0, rows / max(1, of))
    return [steps(0.5 * share * texts.words * of), walks(share * texts.characters, 5)]


def column_work(column: ColumnSize, size: TableSize, rows: int) -> list[Work]:
    """Return the work of testing one column.

    Args:
        column: The column.
        size: The table.
        rows: Rows tested.
    """
    target = float(min(size.classes, 256) - 1)
    grid = 0.0
    if column.kind == "number":
        basis = float(min(_BASIS, rows - 1))
        grid, found = basis * _GRID / _BASIS, _smooth(rows, target)
    elif column.kind == "date":
        basis = float(min(_DATE[1], rows - 1))
        found = [*_smooth(rows, target)[:2], *_plain(rows, *_DATE, target)]
    elif column.texts is not None:
        width = column.texts.features
        basis = float(min(width, rows - 1))
        found = _words(column.texts, rows, size.rows) + _plain(rows, width, basis, target)
    else:
        basis = float(max(1, column.features - 1))
        found = _plain(rows, column.features, basis, target)
    for share, group in _groups(size, rows):
        found += scaled(group.null(basis, target, grid), share)
    return found


def _groups(size: TableSize, rows: int) -> list[tuple[float, _Group]]:
    """The group of all columns, and a larger one for the share of them near its floor."""
    first, most = _group(rows, size.permutations), math.ceil(len(size.columns) / _FDR)
    if most <= first.total - 1:
        return [(1.0, first)]
    if most > MOST_MEMBERS:  # the strongest of very many: most of them are followed
        return [(1.0, first), (0.5, _group(rows, MIDDLE)), (0.1, _group(rows, MOST_MEMBERS))]
    return [(1.0, first), (_SHARE_AGAIN, _group(rows, most))]


def gram_work(size: TableSize, rows: int) -> int:
    """Return the count of the other road: a column's Gram matrix of all rows for every member."""
    members = sum(share * group.total for share, group in _groups(size, rows))
    return round(float(rows) ** 2 * members)


def aspect_work(texts: TextSize, size: TableSize, rows: int) -> list[Work]:
    """Return the work of the tests of words, order and distance of one column of texts."""
    draws = max(size.permutations, math.ceil(len(size.texts) / _FDR)) + 1
    target = float(min(size.classes, 256))
    entries = rows * texts.known * max(0.0, texts.known - 1) / 2
    width = texts.features
    basis = float(min(width, rows - 1))
    return [
        *_words(texts, 2 * rows, size.rows),
        *_plain(rows, width, basis, target),
        *_group(rows, size.permutations).null(basis, target - 1),
        product(rows, width, rows),
        product(rows, rows, _DIRECTIONS, 2 * _POWERS),
        passes(rows * _DIRECTIONS**2, 2 * _POWERS),
        walks(entries * math.log2(max(2.0, entries)), 3),
        walks(rows**2 * texts.shared, 8),
        passes(rows**2, 30),
        product(draws, rows, rows, 4),
        passes(draws * rows, 12),
        steps(12 * rows + 3000),
    ]


def share_tested(size: TableSize) -> float:
    """Return the share of the columns that are tested: of very many those of a quick look."""
    return min(1.0, MOST_COLUMNS / max(1, len(size.columns)))


def look_work(size: TableSize, rows: int) -> list[Work]:
    """Return the work of a quick look at all columns; none where all are tested."""
    if share_tested(size) == 1.0:
        return []
    count, target = len(size.columns), float(min(size.classes, 256) - 1)
    plain = [(column, times) for column, times in size.alike if column.kind != "number"]
    others = sum(times for _, times in plain)
    found = [
        walks((count - others) * rows, 60),
        passes((count - others) * rows, 8 * WAVES),
        product(count - others, rows, target, WAVES),
    ]
    for column, times in plain:
        width = _DATE[0] if column.kind == "date" else max(1, column.features)
        if column.texts is not None:
            found += scaled(_words(column.texts, rows, size.rows), times)
        each = [product(width, rows, width), product(width, rows, target), steps(60)]
        found += scaled(each, times)
    return found


def _columns_work(size: TableSize, rows: int) -> list[Work]:
    share = share_tested(size)
    found = look_work(size, rows)
    for column, times in size.alike:
        found += scaled(column_work(column, size, rows), share * times)
    return found


def depend_work(size: TableSize, rows: DependRows) -> list[Work]:
    """Return the work of the whole stage."""
    n = min(size.rows, rows.columns)
    found = _columns_work(size, n)
    m = min(size.rows, rows.texts)
    share = share_tested(size)
    for texts in size.texts:
        found += scaled(aspect_work(texts, size, m), share)
    return found


def depend_rows(size: TableSize, budget: int) -> DependRows:
    """Return how many rows are tested: the most that the room of dependence takes, or fewer.

    The rows are halved until the test of all columns is within the budget, at least 500 of them;
    the same for the further tests of texts, at least 200. Fewer rows cost power, not validity.

    Args:
        size: The table.
        budget: Multiply-adds, for each of the two.
    """

    def columns(n: int) -> int:
        return total_count(_columns_work(size, n))

    def texts(n: int) -> int:
        share = share_tested(size)
        return sum(total_count(scaled(aspect_work(t, size, n), share)) for t in size.texts)

    found, fits = [], True
    for most, least, work in ((MOST_ROWS, _LEAST_ROWS, columns), (MOST_TEXTS, _LEAST_TEXTS, texts)):
        rows = most
        while work(min(rows, size.rows)) > budget and rows > least:
            rows = max(least, min(rows, size.rows) // 2)
        fits = fits and work(min(rows, size.rows)) <= budget
        found.append(rows)
    return DependRows(found[0], found[1], fits)
