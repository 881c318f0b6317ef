"""Two variables from any source of rows, block by block, checked as they come."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from trivium._core.blocks import iter_blocks
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium._core.sources import beside, dense_rows, is_dask, is_delayed, is_matrix, matrix

__all__ = ["pair_blocks"]


def pair_blocks(
    caller: str, x: Any, y: Any, columns: tuple[int, int], block_rows: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows of both variables, at most `block_rows` at a time, as float tensors.

    Args:
        caller: The public name that was called.
        x: A matrix or one column, or an iterable of blocks `(x, y)`; see `Moments.update`.
        y: Rows beside a matrix.
        columns: Columns wanted of x and of y.
        block_rows: Most rows of a block.

    Raises:
        ArgumentError: No y, weights, a sparse y, or not a source.
        ShapeError: Lengths or numbers of columns that differ.
        DataError: Not numbers, or a value that is not finite; the row is named.
    """
    source = x if is_dask(x) else _column(caller, x) if is_matrix(x) else _items(caller, x)
    other = None if y is None else _column(caller, y, second=True)
    for block in iter_blocks(source, other, block_rows=block_rows, caller=caller):
        if block.y is None:
            raise ArgumentError(f"{caller}: y must be given, one row for each row of x")
        if block.weight is not None:
            raise ArgumentError(
                f"{caller}: rows must have no weights; got a block (x, y, weight)",
                remedy="The null distribution holds for rows that may change places, which "
                "rows of different weights may not.",
            )
        right = dense_rows(caller, matrix(caller, _column(caller, block.y)), 0, len(block.x))
        found = (block.x.shape[1], right.shape[1])
        if found != columns:
            raise ShapeError(
                f"{caller}: x and y must have the {columns[0]} and {columns[1]} columns of their "
                f"feature maps; got {found[0]} and {found[1]}"
            )
        _check_rows(caller, "x", block.x, block.start)
        _check_rows(caller, "y", right, block.start)
        yield block.x, right.to(block.x.device)


def _items(caller: str, blocks: Any) -> Any:
    """Let one-dimensional parts of blocks be columns."""
    if is_delayed(blocks) or not isinstance(blocks, Iterable) or isinstance(blocks, str | bytes):
        return blocks
    return (_item(caller, item) for item in blocks)


def _item(caller: str, item: Any) -> Any:
    if isinstance(item, tuple | list) and 0 < len(item) <= 3:
        places = enumerate(item[:2])
        return (*(_column(caller, part, second=place == 1) for place, part in places), *item[2:])
    return item


def _column(caller: str, value: Any, *, second: bool = False) -> Any:
    """Return numbers along one axis as one column, and a second Arrow table as an array."""
    if sparse.issparse(value):
        if second:
            raise ArgumentError(
                f"{caller}: y must be dense; got a sparse matrix", remedy="Make it the x."
            )
        return value
    if hasattr(value, "schema"):
        return dense_rows(caller, matrix(caller, value), 0, value.num_rows) if second else value
    if is_dask(value):
        return value
    rows = value if isinstance(value, Tensor) else np.asarray(beside(value))
    return rows[:, None] if rows.ndim == 1 else rows


def _check_rows(caller: str, name: str, rows: Tensor, start: int) -> None:
    if bool(torch.isfinite(rows.sum())):
        return
    bad = (~torch.isfinite(rows)).nonzero()
    if not len(bad):
        return
    row, column = (int(i) for i in bad[0])
    raise DataError(
        f"{caller}: {name} must be finite; got {float(rows[row, column])} and {len(bad) - 1} more "
        "in this block",
        where=f"row {start + row}, column {column}",
        remedy="Impute or drop these values first.",
        code="E-NOT-FINITE",
    )
