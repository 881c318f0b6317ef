"""Row blocks: any source of rows, read a few megabytes at a time.

A source is a matrix (numpy, torch, scipy sparse, an Arrow batch or table, a Dask array, anything
with `__array__`) or an iterable of blocks. Nothing is copied whole: a block is a view where the
source allows it, else a copy of that block only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trivium._core.counted import counted
from trivium._core.dask_chunks import dask_parts
from trivium._core.errors import ArgumentError, ShapeError
from trivium._core.sources import (
    as_weights,
    beside,
    dense_rows,
    is_dask,
    is_delayed,
    is_matrix,
    is_rows,
    itemsize,
    matrix,
    n_rows,
)

__all__ = ["BLOCK_BYTES", "Block", "iter_blocks", "tile_rows"]

BLOCK_BYTES = 4 * 2**20
"""Default budget of one block: 2,048 rows of 384 float32 numbers."""

_MAX_PARTS = 3  # a block is X, (X, y) or (X, y, weight)


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a source.

    Args:
        x: The rows, `(b, d)`, floating point.
        y: What came beside them, still in the source's own type, first axis b; or `None`.
        weight: Row weights `(b,)`, float64, not yet checked for sign; or `None`.
        start: Number of rows before this block.
    """

    x: Tensor
    y: Any
    weight: Tensor | None
    start: int


def tile_rows(n_columns: int, itemsize: int, budget_bytes: int = BLOCK_BYTES) -> int:
    """Return how many rows of `n_columns` numbers fit the budget: a power of two, at least 1.

    Example:
        >>> tile_rows(384, 4, 4 * 2**20)
        2048
    """
    rows = budget_bytes // max(1, n_columns * itemsize)
    return 1 << max(0, int(rows).bit_length() - 1)


def iter_blocks(
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    block_rows: int | None = None,
    caller: str = "iter_blocks",
) -> Iterator[Block]:
    """Read a source in blocks of rows, in order.

    Args:
        X: A matrix, or an iterable of blocks `X`, `(X, y)` or `(X, y, weight)` (an iterator, a
            data loader, a list of Dask delayed objects).
        y: One entry per row, beside a matrix; an iterable of blocks brings its own.
        sample_weight: One number per row, beside a matrix.
        block_rows: Rows of a block; by default what fits `BLOCK_BYTES`. Blocks of an iterable
            that are longer are cut, shorter ones are kept.
        caller: Public name to put in front of messages.

    Returns:
        An iterator of `Block`. Integers and booleans become float64, half precision float32.

    Raises:
        ArgumentError: `y` or `sample_weight` beside an iterable of blocks; not a source.
        ShapeError: Not a matrix, or lengths that differ.
        DataError: A column that is not numeric.

    Cost:
        One block of memory; no pass over the data.

    Example:
        >>> import numpy as np
        >>> [tuple(block.x.shape) for block in iter_blocks(np.zeros((5, 2)), block_rows=2)]
        [(2, 2), (2, 2), (1, 2)]
    """
    start = 0
    for part_x, part_y, part_weight in _parts(caller, X, y, sample_weight):
        for block in _cut(caller, part_x, part_y, part_weight, block_rows):
            yield Block(block.x, block.y, block.weight, start + block.start)
        start += n_rows(part_x)


def _parts(caller: str, X: Any, y: Any, weight: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield in-memory pieces `(x, y, weight)` of the source."""
    if is_delayed(X):
        X = [X]
    if is_dask(X):
        yield from dask_parts(caller, X, y, weight)
    elif is_matrix(X):
        yield matrix(caller, X), beside(y), beside(weight)
    elif isinstance(X, Iterable) and not isinstance(X, str | bytes | dict):
        if y is not None or weight is not None:
            raise ArgumentError(
                f"{caller}: y and sample_weight must come inside the blocks, as (X, y, weight), "
                "when X is an iterable of blocks; got them beside it"
            )
        for item in X:
            yield _item(caller, item)
    else:
        raise ArgumentError(
            f"{caller}: X must be a matrix or an iterable of row blocks; got {type(X).__name__}"
        )


def _item(caller: str, item: Any) -> tuple[Any, Any, Any]:
    if is_delayed(item):
        item = item.compute()
    parts = tuple(item) if isinstance(item, tuple | list) and not is_rows(item) else (item,)
    if not 1 <= len(parts) <= _MAX_PARTS:
        raise ArgumentError(
            f"{caller}: a block must be X, (X, y) or (X, y, weight); got "
            f"{counted(len(parts), 'part')}"
        )
    x, y, weight = (*parts, None, None)[:_MAX_PARTS]
    if not is_matrix(x):
        raise ArgumentError(f"{caller}: a block must hold a matrix; got {type(x).__name__}")
    return matrix(caller, x), beside(y), beside(weight)


def _cut(caller: str, x: Any, y: Any, weight: Any, block_rows: int | None) -> Iterator[Block]:
    n = n_rows(x)
    for name, value in (("y", y), ("sample_weight", weight)):
        if value is not None and not getattr(value, "shape", (n,)):
            raise ShapeError(f"{caller}: {name} must have the axis (n), n = {n}; got one number")
        if value is not None and len(value) != n:
            raise ShapeError(f"{caller}: axis n is {n} in X but {len(value)} in {name}")
    rows = block_rows or tile_rows(x.shape[1], itemsize(x))
    for start in range(0, n, rows):
        stop = min(n, start + rows)
        yield Block(
            dense_rows(caller, x, start, stop),
            None if y is None else y[start:stop],
            None if weight is None else as_weights(caller, weight[start:stop]),
            start,
        )
