"""Row blocks: any source of rows, read a few megabytes at a time.

A source is a matrix (numpy, torch, scipy sparse, an Arrow batch or table, a Dask array, anything
with `__array__`) or an iterable of blocks. Nothing is copied whole: a block is a view where the
source allows it, else a copy of that block only.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from trivium._core.errors import ArgumentError, DataError, ShapeError

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
        >>> [tuple(block.x.shape) for block in iter_blocks(np.zeros((5, 2)), block_rows=2)]
        [(2, 2), (2, 2), (1, 2)]
    """
    start = 0
    for part_x, part_y, part_weight in _parts(caller, X, y, sample_weight):
        for block in _cut(caller, part_x, part_y, part_weight, block_rows):
            yield Block(block.x, block.y, block.weight, start + block.start)
        start += _length(part_x)


def _parts(caller: str, X: Any, y: Any, weight: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield in-memory pieces `(x, y, weight)` of the source."""
    if _is_dask(X) and not _is_delayed(X):
        yield from _dask_parts(caller, X, y, weight)
    elif _is_matrix(X):
        yield _matrix(caller, X), _beside(y), _beside(weight)
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
    if _is_delayed(item):
        item = item.compute()
    parts = tuple(item) if isinstance(item, tuple | list) and not _is_rows(item) else (item,)
    if not 1 <= len(parts) <= _MAX_PARTS:
        raise ArgumentError(
            f"{caller}: a block must be X, (X, y) or (X, y, weight); got {len(parts)} parts"
        )
    x, y, weight = (*parts, None, None)[:_MAX_PARTS]
    if not _is_matrix(x):
        raise ArgumentError(f"{caller}: a block must hold a matrix; got {type(x).__name__}")
    return _matrix(caller, x), _beside(y), _beside(weight)


def _dask_parts(caller: str, X: Any, y: Any, weight: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Compute one row chunk of a Dask array (or frame) at a time."""
    if hasattr(X, "to_dask_array"):
        X = X.to_dask_array()
    if X.ndim != 2:
        raise ShapeError(f"{caller}: X must have the axes (n, d); got shape {X.shape}")
    X = X.rechunk({1: -1})
    beside = [_slicer(caller, name, v, X) for name, v in (("y", y), ("sample_weight", weight))]
    start = 0
    for i in range(X.numblocks[0]):
        x = _matrix(caller, X.blocks[i].compute())
        stop = start + _length(x)
        yield x, *(cut(i, start, stop) for cut in beside)
        start = stop
    for name, value in (("y", y), ("sample_weight", weight)):
        if value is not None and not _is_dask(value) and len(value) != start:
            raise ShapeError(f"{caller}: axis n is {start} in X but {len(value)} in {name}")


def _slicer(caller: str, name: str, value: Any, X: Any) -> Callable[[int, int, int], Any]:
    """How to cut what stands beside a Dask array into the array's row chunks."""
    if value is None:
        return lambda i, start, stop: None
    if not _is_dask(value):
        held = _beside(value)
        return lambda i, start, stop: held[start:stop]
    if hasattr(value, "to_dask_array"):
        value = value.to_dask_array()
    if value.numblocks[0] != X.numblocks[0] or value.chunks[0] != X.chunks[0]:
        if value.shape[0] == X.shape[0]:
            value = value.rechunk({0: X.chunks[0]})
        elif value.numblocks[0] != X.numblocks[0]:
            raise ShapeError(
                f"{caller}: axis n is {X.shape[0]} in X but {value.shape[0]} in {name}"
            )
    return lambda i, start, stop: value.blocks[i].compute()


def _cut(caller: str, x: Any, y: Any, weight: Any, block_rows: int | None) -> Iterator[Block]:
    n = _length(x)
    for name, value in (("y", y), ("sample_weight", weight)):
        if value is not None and len(value) != n:
            raise ShapeError(f"{caller}: axis n is {n} in X but {len(value)} in {name}")
    rows = block_rows or tile_rows(x.shape[1], _itemsize(x))
    for start in range(0, n, rows):
        stop = min(n, start + rows)
        yield Block(
            _tensor(caller, x, start, stop),
            None if y is None else y[start:stop],
            None if weight is None else _weights(caller, weight[start:stop]),
            start,
        )


def _weights(caller: str, weight: Any) -> Tensor:
    try:
        values = weight if isinstance(weight, Tensor) else torch.from_numpy(_owned(weight))
        values = values.detach().to(torch.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{caller}: sample_weight must be numbers; got {weight!r}") from error
    if values.ndim != 1:
        raise ShapeError(
            f"{caller}: sample_weight must have the axes (n); got shape {tuple(values.shape)}"
        )
    return values


def _tensor(caller: str, x: Any, start: int, stop: int) -> Tensor:
    """Rows `start:stop` as a floating point tensor, a view where that is possible."""
    if isinstance(x, Tensor):
        rows = x[start:stop].detach()
    elif sparse.issparse(x):
        rows = torch.from_numpy(_floats(caller, x[start:stop].toarray()))
    elif _is_arrow(x):
        rows = torch.from_numpy(_arrow_rows(caller, x.slice(start, stop - start)))
    else:
        rows = torch.from_numpy(_floats(caller, x[start:stop]))
    if rows.is_sparse or rows.layout != torch.strided:
        rows = rows.to_dense()
    if rows.is_complex():
        raise DataError(f"{caller}: X must be real; got {rows.dtype}")
    if not rows.is_floating_point():
        return rows.to(torch.float64)
    return rows if rows.dtype in (torch.float32, torch.float64) else rows.to(torch.float32)


def _floats(caller: str, rows: Any) -> np.ndarray:
    """A numpy block as float32 or float64 that torch can look at without a copy."""
    if rows.dtype.kind == "c":
        raise DataError(f"{caller}: X must be real; got {rows.dtype}")
    try:
        if rows.dtype == np.float16:
            rows = rows.astype(np.float32)
        elif rows.dtype not in (np.float32, np.float64) or not rows.dtype.isnative:
            rows = rows.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{caller}: X must be numeric; got {rows.dtype}", where=str(error)
        ) from error
    return _owned(rows)


def _owned(rows: Any) -> np.ndarray:
    """Copy only what torch cannot look at: read-only memory and negative strides."""
    rows = np.asarray(rows)
    viewable = rows.flags.writeable and all(stride >= 0 for stride in rows.strides)
    return rows if viewable else rows.copy()


def _arrow_rows(caller: str, batch: Any) -> np.ndarray:
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = column.to_numpy(zero_copy_only=False) if _is_array(column) else column.to_numpy()
        try:
            columns.append(values.astype(np.result_type(values.dtype, np.float32), copy=False))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{caller}: X must be numeric; got {column.type}", where=f"column {name}"
            ) from error
    if not columns:
        return np.empty((batch.num_rows, 0))
    return _floats(caller, np.stack(columns, axis=1))


def _matrix(caller: str, x: Any) -> Any:
    """The source in a form that slices by rows, not yet converted."""
    if sparse.issparse(x):
        x = x if x.format == "csr" else x.tocsr()
    elif not (isinstance(x, Tensor) or _is_arrow(x)):
        try:
            x = np.asarray(x)
        except ValueError as error:
            raise ShapeError(f"{caller}: X must have the axes (n, d); got ragged rows") from error
    if len(x.shape) != 2:
        remedy = "Write X.reshape(-1, 1) for one column, X.reshape(1, -1) for one row."
        raise ShapeError(
            f"{caller}: X must have the axes (n, d); got shape {tuple(x.shape)}", remedy=remedy
        )
    return x


def _beside(value: Any) -> Any:
    """Labels or weights in a form that has a length and slices by rows."""
    if value is None or isinstance(value, Tensor | np.ndarray):
        return value
    if _is_arrow(value):
        return value.to_numpy(zero_copy_only=False) if _is_array(value) else value.to_numpy()
    if _is_dask(value):
        return np.asarray(value.compute())
    return np.asarray(value)


def _length(x: Any) -> int:
    return int(x.shape[0])


def _itemsize(x: Any) -> int:
    dtype = getattr(x, "dtype", None)
    return 4 if dtype in (torch.float32, torch.float16, torch.bfloat16, np.float32) else 8


def _module(x: Any) -> str:
    return type(x).__module__.partition(".")[0]


def _is_dask(x: Any) -> bool:
    return _module(x) in ("dask", "dask_expr")


def _is_delayed(x: Any) -> bool:
    return _is_dask(x) and not hasattr(x, "ndim")


def _is_arrow(x: Any) -> bool:
    return _module(x) == "pyarrow" and hasattr(x, "slice")


def _is_array(column: Any) -> bool:
    return not hasattr(column, "chunks")  # a ChunkedArray has no zero_copy_only


def _is_rows(x: Any) -> bool:
    """Whether a list is one matrix written out: its first entry is a row of numbers."""
    first = next(iter(x), None)
    return isinstance(first, list | tuple) and not any(
        hasattr(entry, "shape") for entry in chain(first)
    )


def _is_matrix(x: Any) -> bool:
    if isinstance(x, Tensor | np.ndarray) or sparse.issparse(x) or hasattr(x, "__array__"):
        return True
    if _is_arrow(x):
        return hasattr(x, "schema") or not hasattr(x, "read_next_batch")
    if not isinstance(x, list | tuple):
        return False
    return not any(
        getattr(entry, "ndim", 0) == 2
        or hasattr(entry, "schema")
        or _is_delayed(entry)
        or (isinstance(entry, tuple | list) and any(hasattr(part, "shape") for part in entry))
        for entry in x
    )
