"""One order of the rows for one data set: whatever order, unit or side the variables come in."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray

from trivium.dependence.pair import Pair

__all__ = ["canonical_order", "canonical_variables"]

_MOST_SIDES = 4  # variables whose every order is tried: 24 sorts


def canonical_order(pair: Pair, groups: NDArray[np.int64] | None = None) -> tuple[Pair, bool]:
    """Put the rows in order, and the side first whose ranks come first.

    Ranks do not change with the unit of a column, and the set of rows has no order, so neither the
    given order of rows, nor a scale, nor a swap of x and y changes what a test draws afterwards.

    Args:
        pair: Two variables.
        groups: Labels of the rows; they are sorted by these first.

    Returns:
        The pair in order, and whether x and y have changed places. Groups in order are
        `np.sort(groups)`.

    Cost: O(n d log n) time.
    """
    first, second = _ranks(pair.x), _ranks(pair.y)
    forward, backward = _order((first, second), groups), _order((second, first), groups)
    swap = _comes_first((second[backward], first[backward]), (first[forward], second[forward]))
    order = torch.from_numpy(backward if swap else forward).to(pair.x.device)
    moved = pair.take(order)
    return (moved.swapped() if swap else moved), swap


def canonical_variables(
    variables: Sequence[torch.Tensor],
) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Return an order of the rows of several variables, and an order of the variables.

    Neither depends on the order in which the rows come or on units; up to four variables, they do
    not depend on the order in which these come either.

    Args:
        variables: Rows `(n, d)` of each.

    Returns:
        Order of the rows, and places of the variables as they come first.

    Cost: O(n d log n) time for each order of the variables that is tried.

    Example:
        >>> x, y = torch.tensor([[2.0], [1.0], [3.0]]), torch.tensor([[5.0], [4.0], [6.0]])
        >>> canonical_variables([x, y])[0].tolist(), canonical_variables([10 * y, x])[0].tolist()
        ([1, 0, 2], [1, 0, 2])
    """
    ranks = [_ranks(rows) for rows in variables]
    places = tuple(range(len(ranks)))
    best, first = _order(ranks, None), places
    if len(places) > _MOST_SIDES:
        return best, first
    for sides in permutations(places):
        order = _order([ranks[side] for side in sides], None)
        rival = tuple(ranks[side][order] for side in sides)
        if _comes_first(rival, tuple(ranks[side][best] for side in first)):
            best, first = order, sides
    return best, first


def _ranks(rows: torch.Tensor) -> NDArray[np.int64]:
    values = rows.detach().cpu().numpy()
    found = [np.unique(column, return_inverse=True)[1] for column in values.T]
    return np.stack(found, 1).astype(np.int64)


def _order(
    sides: Sequence[NDArray[np.int64]], groups: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    keys = [column for ranks in reversed(sides) for column in ranks.T[::-1]]
    return np.lexsort(keys if groups is None else [*keys, groups])


def _comes_first(one: tuple[NDArray[np.int64], ...], other: tuple[NDArray[np.int64], ...]) -> bool:
    """Whether one list of rank matrices precedes the other: fewer columns, then the first ranks."""
    for left, right in zip(one, other, strict=True):
        if left.shape[1] != right.shape[1]:
            return bool(left.shape[1] < right.shape[1])
        apart = np.flatnonzero((left != right).any(1))
        if len(apart):
            row = apart[0]
            return bool(tuple(left[row]) < tuple(right[row]))
    return False
