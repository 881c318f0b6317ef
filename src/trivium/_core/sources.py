"""What counts as a source of rows, and how a slice of it becomes a tensor."""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from trivium._core.coded import CodedLabels
from trivium._core.errors import DataError, ShapeError

__all__ = [
    "as_weights",
    "beside",
    "dense_rows",
    "is_dask",
    "is_delayed",
    "is_matrix",
    "is_rows",
    "itemsize",
    "matrix",
    "n_rows",
]


def dense_rows(caller: str, x: Any, start: int, stop: int) -> Tensor:
    """Rows `start:stop` as a floating point tensor, a view where that is possible.

    Raises:
        DataError: They are not real numbers.
    """
    if isinstance(x, Tensor):
        rows = x.detach().narrow_copy(0, start, stop - start) if x.is_sparse else x[start:stop]
        rows = rows.detach()
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


def matrix(caller: str, x: Any) -> Any:
    """The source in a form that slices by rows, not yet converted.

    Raises:
        ShapeError: Not two axes.
    """
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


def beside(value: Any) -> Any:
    """Labels or weights in a form that has a length and slices by rows."""
    if value is None or isinstance(value, Tensor | np.ndarray | CodedLabels):
        return value
    if _is_arrow(value):
        return value.to_numpy(zero_copy_only=False) if _is_array(value) else value.to_numpy()
    if is_dask(value):
        return np.asarray(value.compute())
    return np.asarray(value)


def n_rows(x: Any) -> int:
    """Length of the first axis."""
    return int(x.shape[0])


def itemsize(x: Any) -> int:
    """Bytes of one number once it is a tensor."""
    dtype = getattr(x, "dtype", None)
    return 4 if dtype in (torch.float32, torch.float16, torch.bfloat16, np.float32) else 8


def _module(x: Any) -> str:
    return type(x).__module__.partition(".")[0]


def is_dask(x: Any) -> bool:
    """Whether this is a Dask collection or a Dask delayed object."""
    return _module(x) in ("dask", "dask_expr")


def is_delayed(x: Any) -> bool:
    """Whether this is one Dask delayed object (which pretends to have every attribute)."""
    return is_dask(x) and type(x).__name__.startswith("Delayed")


def _is_arrow(x: Any) -> bool:
    return _module(x) == "pyarrow" and hasattr(x, "slice")


def _is_array(column: Any) -> bool:
    return not hasattr(column, "chunks")  # a ChunkedArray has no zero_copy_only


def is_rows(x: Any) -> bool:
    """Whether a list is one matrix written out: its first entry is a row of numbers."""
    first = next(iter(x), None)
    return isinstance(first, list | tuple) and not any(hasattr(entry, "shape") for entry in first)


def is_matrix(x: Any) -> bool:
    """Whether this is one matrix, and not an iterable of row blocks."""
    if is_delayed(x):
        return False
    if isinstance(x, Tensor | np.ndarray) or sparse.issparse(x) or hasattr(x, "__array__"):
        return True
    if _is_arrow(x):
        return hasattr(x, "schema")
    if not isinstance(x, list | tuple):
        return False
    return not any(_is_block(entry) for entry in x)


def _is_block(entry: Any) -> bool:
    if is_delayed(entry) or hasattr(entry, "schema"):
        return True
    if isinstance(entry, tuple | list):
        return any(hasattr(part, "shape") or is_delayed(part) for part in entry)
    return getattr(entry, "ndim", 0) == 2


def as_weights(caller: str, weight: Any) -> Tensor:
    """Return row weights as a flat float64 tensor; their signs are the caller's business.

    Raises:
        DataError: They are not numbers.
        ShapeError: Not one axis.
    """
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
