"""Dask arrays and frames, one row chunk at a time; Dask itself is never imported here."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from trivium._core.errors import ShapeError
from trivium._core.sources import beside, is_dask, matrix, n_rows

__all__ = ["dask_parts"]


def dask_parts(caller: str, X: Any, y: Any, weight: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield `(x, y, weight)` for each row chunk of a Dask array or frame, computed when asked for.

    Raises:
        ShapeError: Lengths that differ.
    """
    if hasattr(X, "to_dask_array"):
        X = X.to_dask_array()
    if X.ndim != 2:
        raise ShapeError(f"{caller}: X must have the axes (n, d); got shape {X.shape}")
    X = X.rechunk({1: -1})
    cuts = [_slicer(caller, name, v, X) for name, v in (("y", y), ("sample_weight", weight))]
    start = 0
    for i in range(X.numblocks[0]):
        x = matrix(caller, X.blocks[i].compute())
        stop = start + n_rows(x)
        yield x, *(cut(i, start, stop) for cut in cuts)
        start = stop
    for name, value in (("y", y), ("sample_weight", weight)):
        if value is not None and not is_dask(value) and len(value) != start:
            raise ShapeError(f"{caller}: axis n is {start} in X but {len(value)} in {name}")


def _slicer(caller: str, name: str, value: Any, X: Any) -> Callable[[int, int, int], Any]:
    """How to cut what stands beside a Dask array into the array's row chunks."""
    if value is None:
        return lambda i, start, stop: None
    if not is_dask(value):
        held = beside(value)
        if not math.isnan(X.shape[0]) and len(held) != X.shape[0]:
            raise ShapeError(f"{caller}: axis n is {X.shape[0]} in X but {len(held)} in {name}")
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
