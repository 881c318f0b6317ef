"""Rows at a kernel's door: two axes, a dtype that it serves, finite."""

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from trivium._core.checks import check_finite
from trivium._core.errors import ArgumentError, DataError, ShapeError

__all__ = ["as_rows", "dtype_of_whole"]

_FLOATS = (torch.float32, torch.float64)
_SHORT = (torch.bool, torch.uint8, torch.int8, torch.int16)


def dtype_of_whole(rows: Tensor) -> torch.dtype:
    """Return the dtype in which whole numbers become floats: torch's default if it holds them all.

    A time in seconds since 1970 does not fit float32, whose numbers are 128 apart there.
    """
    usual = torch.get_default_dtype()
    if rows.dtype in _SHORT or usual == torch.float64 or rows.numel() == 0:
        return usual
    if torch.compiler.is_compiling():
        return usual
    most = 2 / torch.finfo(usual).eps
    try:
        fits = int(rows.amin()) >= -most and int(rows.amax()) <= most
    except RuntimeError:  # inside torch.func.vmap values cannot be read
        return usual
    return usual if fits else torch.float64


def as_rows(caller: str, name: str, value: Any, inputs: str) -> Shaped[Tensor, "n d"]:
    """Return `value` as rows `(n, d)`, refusing what no kernel of these `inputs` can serve.

    Raises:
        ArgumentError: Not a tensor, or of a dtype that the kernel cannot serve.
        ShapeError: Wrong number of axes.
        DataError: No rows, or a value that is not finite.
    """
    if not isinstance(value, Tensor):
        raise ArgumentError(
            f"{caller}: {name} must be a torch tensor; got {type(value).__name__}",
            remedy="Wrap arrays in torch.as_tensor.",
        )
    if value.ndim not in (1, 2) or (value.ndim == 2 and value.shape[1] == 0):
        raise ShapeError(
            f"{caller}: {name} must have the axes (n, d) or (n); got shape {tuple(value.shape)}"
        )
    if len(value) == 0:
        raise DataError(f"{caller}: {name} must have at least one row; got none")
    rows = value[:, None] if value.ndim == 1 else value
    whole = not rows.is_floating_point() and not rows.is_complex()
    if whole and inputs == "vectors":
        rows = rows.to(dtype_of_whole(rows))
    elif not whole and inputs == "texts":
        raise ArgumentError(
            f"{caller}: {name} must be whole numbers, one for each character; got {rows.dtype}",
            remedy="Turn texts into rows with String.encode(texts).",
        )
    elif not whole and rows.dtype not in _FLOATS:
        raise ArgumentError(
            f"{caller}: {name} must be float32 or float64; got {rows.dtype}",
            remedy="Kernels cancel too much in half precision: convert with .float().",
        )
    check_finite(caller, name, rows)
    return rows
