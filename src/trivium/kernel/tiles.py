"""Cutting a Gram matrix into tiles that fit a memory budget."""

import math
from collections.abc import Iterator

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ResourceError

__all__ = ["DEFAULT_BUDGET", "tile_slices"]

DEFAULT_BUDGET = 64 * 2**20
_ROW_COPIES = 4


def _blocks(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def tile_slices(
    n: int,
    m: int | None,
    *,
    n_columns: int,
    itemsize: int,
    budget: int = DEFAULT_BUDGET,
    buffers: int = 3,
) -> Iterator[tuple[slice, slice]]:
    """Cut an n × m matrix into row and column slices, row block by row block.

    Args:
        n: Rows.
        m: Columns; `None` for a matrix of the rows against themselves, whose tiles are then cut
            alike both ways, so that the diagonal lies in square tiles.
        n_columns: Features per row, of which each tile holds a few centered copies.
        itemsize: Bytes per number.
        budget: Bytes that all buffers together may take.
        buffers: Buffers of a tile's size that are alive at once.

    Returns:
        Pairs of slices that cover the matrix once.

    Raises:
        ArgumentError: `budget` is not a positive whole number.
        ResourceError: Not even one number fits; the message has the least budget.

    Example:
        >>> list(tile_slices(5, 2, n_columns=1, itemsize=8, budget=320))
        [(slice(0, 3, None), slice(0, 2, None)), (slice(3, 5, None), slice(0, 2, None))]
    """
    check_number("tiles", "budget", budget, "positive", integer=True)
    room = budget // itemsize
    copies = _ROW_COPIES * n_columns
    # Largest side s with buffers s² + 2 copies s <= room.
    side = int((math.sqrt(copies * copies + buffers * room) - copies) / buffers)
    if side < 1:
        raise ResourceError(
            f"tiles: budget must hold one number of {counted(n_columns, 'column')}, "
            f"{counted((buffers + 2 * copies) * itemsize, 'byte')}; got {budget}",
            remedy="Raise budget.",
        )
    if m is None:
        blocks = _blocks(n, side)
        return ((rows, columns) for rows in blocks for columns in blocks)
    height, width = side, min(side, m)
    if width == m:
        height = max(side, (room - copies * m) // (buffers * m + copies))
    elif n < side:
        height, width = n, max(side, (room - copies * n) // (buffers * n + copies))
    across = _blocks(m, width)
    return ((rows, columns) for rows in _blocks(n, height) for columns in across)
