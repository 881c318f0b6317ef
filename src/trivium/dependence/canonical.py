"""One order of the rows for one data set: whatever order, unit or side the variables come in."""

import numpy as np
import torch
from numpy.typing import NDArray

from trivium.dependence.pair import Pair

__all__ = ["canonical_order"]


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
    forward, backward = _order(first, second, groups), _order(second, first, groups)
    swap = _comes_first((second[backward], first[backward]), (first[forward], second[forward]))
    order = torch.from_numpy(backward if swap else forward).to(pair.x.device)
    moved = pair.take(order)
    return (moved.swapped() if swap else moved), swap


def _ranks(rows: torch.Tensor) -> NDArray[np.int64]:
    values = rows.detach().cpu().numpy()
    found = [np.unique(column, return_inverse=True)[1] for column in values.T]
    return np.stack(found, 1).astype(np.int64)


def _order(
    first: NDArray[np.int64], second: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    keys = [column for ranks in (second, first) for column in ranks.T[::-1]]
    return np.lexsort(keys if groups is None else [*keys, groups])


def _comes_first(
    one: tuple[NDArray[np.int64], NDArray[np.int64]],
    other: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> bool:
    """Whether one pair of rank matrices precedes the other: fewer columns, then the first ranks."""
    for left, right in zip(one, other, strict=True):
        if left.shape[1] != right.shape[1]:
            return bool(left.shape[1] < right.shape[1])
        apart = np.flatnonzero((left != right).any(1))
        if len(apart):
            row = apart[0]
            return bool(tuple(left[row]) < tuple(right[row]))
    return False
