"""Two variables with a kernel each, checked at the door of the statistic and of the tests."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium._core.checks import check_finite
from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumWarning
from trivium.kernel import Delta, Gaussian, Kernel

__all__ = [
    "LEAST_ROWS",
    "Pair",
    "as_pair",
    "automatic_kernel",
    "checked_rows",
    "common_dtype",
    "prepared",
]

LEAST_ROWS = 4
_FEW_LEVELS = 64


@dataclass(frozen=True)
class Pair:
    """Rows of two variables, with kernels that are ready to use.

    Args:
        x: Rows `(n, d)`.
        y: Rows `(n, e)`.
        kernel_x: Kernel of x, resolved.
        kernel_y: Kernel of y, resolved.
        dtype: Of the result.
        constant: Names of the variables whose rows are all equal.
    """

    x: Tensor
    y: Tensor
    kernel_x: Kernel
    kernel_y: Kernel
    dtype: torch.dtype
    constant: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.x)

    @property
    def lengthscales(self) -> tuple[float | None, float | None]:
        """Lengthscales of the two kernels, `None` where there is none."""
        first, second = (
            getattr(kernel, "lengthscale", None) for kernel in (self.kernel_x, self.kernel_y)
        )
        return (
            first if isinstance(first, float) else None,
            second if isinstance(second, float) else None,
        )

    def swapped(self) -> "Pair":
        """Return the pair with x and y in each other's place."""
        return replace(self, x=self.y, y=self.x, kernel_x=self.kernel_y, kernel_y=self.kernel_x)

    def take(self, rows: Tensor) -> "Pair":
        """Return the pair with these rows."""
        return replace(self, x=self.x[rows], y=self.y[rows])


def as_pair(caller: str, x: Any, y: Any, kernel_x: Kernel | str, kernel_y: Kernel | str) -> Pair:
    """Check two variables and make their kernels ready.

    Args:
        caller: The public name that was called.
        x: Tensor or array, `(n,)` or `(n, d)`.
        y: The same, with as many rows.
        kernel_x: A kernel, or `"auto"`: `Gaussian("median")` for floats and for whole numbers
            with many levels, `Delta()` for booleans and for whole numbers with at most 64 levels
            that repeat (twice on average).
        kernel_y: The same for y.

    Raises:
        ArgumentError: Not numbers, or a kernel that is none or cannot serve the rows.
        ShapeError: Rows that do not match, or wrong axes.
        DataError: Fewer than 4 rows, or a value that is not finite.
    """
    left, right = checked_rows(caller, "x", x), checked_rows(caller, "y", y)
    if len(left) != len(right):
        raise ShapeError(
            f"{caller}: axis n is {len(left)} in x but {len(right)} in y "
            f"(shapes {tuple(left.shape)}, {tuple(right.shape)})"
        )
    if len(left) < LEAST_ROWS:
        raise DataError(f"{caller}: x and y must have at least 4 rows; got {len(left)}")
    dtype = common_dtype(left, right)
    left, first, still_x = prepared(caller, "x", left, kernel_x, dtype)
    right, second, still_y = prepared(caller, "y", right, kernel_y, dtype)
    constant = tuple(name for name, still in (("x", still_x), ("y", still_y)) if still)
    return Pair(left, right, first, second, dtype, constant)


def common_dtype(*rows: Tensor) -> torch.dtype:
    """Return the widest floating dtype among the variables; torch's default where there is none."""
    floats = [each.dtype for each in rows if each.is_floating_point()]
    return max(floats, key=lambda each: each.itemsize, default=torch.get_default_dtype())


def checked_rows(caller: str, name: str, value: Any) -> Tensor:
    """Return a variable as a finite tensor `(n, d)` of a dtype that kernels serve."""
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ArgumentError(
                f"{caller}: {name} must be numbers; got {array.dtype}",
                remedy="Code categories as integers; use screen for text.",
            )
        value = torch.from_numpy(np.ascontiguousarray(array))
    if value.is_complex() or value.dtype in (torch.float16, torch.bfloat16):
        raise ArgumentError(
            f"{caller}: {name} must be float32, float64, whole numbers or booleans; "
            f"got {value.dtype}"
        )
    if value.ndim not in (1, 2):
        raise ShapeError(
            f"{caller}: {name} must have the axes (n, d) or (n); got shape {tuple(value.shape)}"
        )
    rows = value[:, None] if value.ndim == 1 else value
    if rows.shape[1] == 0:
        raise ShapeError(f"{caller}: {name} must have a column; got shape {tuple(rows.shape)}")
    check_finite(caller, name, rows)
    return rows


def prepared(
    caller: str, name: str, rows: Tensor, kernel: Kernel | str, dtype: torch.dtype
) -> tuple[Tensor, Kernel, bool]:
    """Return the rows as the kernel wants them, the kernel resolved, and whether no row differs."""
    if kernel == "auto":
        kernel = automatic_kernel(rows)
    if not isinstance(kernel, Kernel):
        raise ArgumentError(
            f"{caller}: kernel_{name} must be 'auto' or a kernel of trivium.kernel; got {kernel!r}"
        )
    if rows.dtype == torch.bool:
        rows = rows.to(torch.int64)
    if kernel.inputs == "vectors":
        rows = rows.to(dtype)
    if bool((rows == rows[:1]).all()):
        return rows, kernel, True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ready = kernel.resolve(rows)
        _serve(caller, name, rows, ready)
    for warning in caught:
        warnings.warn(f"{caller}: {name}: {warning.message}", TriviumWarning, stacklevel=4)
    return rows, ready, False


def _serve(caller: str, name: str, rows: Tensor, kernel: Kernel) -> None:
    """Try the kernel on two rows, so that one that cannot serve is named with its variable."""
    try:
        kernel.gram(rows[:2])
    except (ArgumentError, DataError) as error:
        raise type(error)(f"{caller}: kernel_{name} cannot serve {name}: {error}") from error


def automatic_kernel(rows: Tensor) -> Kernel:
    """Return what `"auto"` stands for: see `as_pair`."""
    if rows.dtype == torch.bool:
        return Delta()
    if rows.is_floating_point():
        return Gaussian()
    levels = len(torch.unique(rows, dim=0))
    return Delta() if levels <= min(_FEW_LEVELS, max(2, len(rows) // 2)) else Gaussian()
