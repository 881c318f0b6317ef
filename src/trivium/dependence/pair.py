"""Two variables with a kernel each, checked at the door of the statistic and of the tests."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_finite
from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumWarning
from trivium.kernel import Delta, Gaussian, Kernel, String
from trivium.kernel.rows import dtype_of_whole

__all__ = [
    "LEAST_ROWS",
    "Pair",
    "as_pair",
    "common_dtype",
    "opened",
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
        x: Tensor or array, `(n,)` or `(n, d)`; or n texts, a list or an array of strings.
        y: The same, with as many rows.
        kernel_x: A kernel, or `"auto"`: `Delta()` for booleans, and for whole numbers and texts of
            at most 64 levels that repeat (twice on average); else `String()` for texts and
            `Gaussian("median")` for numbers.
        kernel_y: The same for y.

    Raises:
        ArgumentError: Neither numbers nor texts, or a kernel that is none or cannot serve the rows.
        ShapeError: Rows that do not match, or wrong axes.
        DataError: Fewer than 4 rows, a value that is not finite, or a text that is missing.
    """
    left, kernel_x = opened(caller, "x", x, kernel_x)
    right, kernel_y = opened(caller, "y", y, kernel_y)
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
    """Return the widest floating dtype among the variables; torch's default where there is none.

    Whole numbers that float32 does not hold ask for float64.
    """
    floats = [each.dtype for each in rows if each.is_floating_point()]
    wholes = [dtype_of_whole(each) for each in rows if not each.is_floating_point()]
    if torch.float64 in wholes:
        return torch.float64
    return max(floats, key=lambda each: each.itemsize, default=torch.get_default_dtype())


def opened(caller: str, name: str, value: Any, kernel: Kernel | str) -> tuple[Tensor, Kernel | str]:
    """Return rows, encoded if they are texts, with the kernel that `"auto"` stands for."""
    array = None if isinstance(value, Tensor) else np.asarray(value)
    if array is None or not _is_text(array):
        rows = _rows(caller, name, value if array is None else array)
        return rows, _automatic(rows) if kernel == "auto" else kernel
    if array.ndim != 1:
        raise ShapeError(f"{caller}: {name} must have the axis (n) for texts; got {array.shape}")
    try:  # the value itself: in an array of texts a number would be a text too
        texts = [*value]
        rows = String.encode(texts)
    except DataError as error:
        raise DataError(f"{caller}: {name} must be texts throughout: {error}") from error
    if isinstance(kernel, Kernel) and kernel.inputs not in {"texts", "codes"}:
        raise ArgumentError(
            f"{caller}: kernel_{name} must serve texts; got {kernel!r}",
            remedy="Use String() for texts, Delta() for labels.",
        )
    if kernel == "auto":
        return rows, Delta() if _are_labels(len(set(texts)), len(texts)) else String()
    return rows, kernel


def _is_text(array: NDArray[Any]) -> bool:
    if array.dtype.kind == "O":
        return any(isinstance(each, str) for each in array.flat)
    return array.dtype.kind in "UT"


def _rows(caller: str, name: str, value: Any) -> Tensor:
    """Return a variable as a finite tensor `(n, d)` of a dtype that kernels serve."""
    if not isinstance(value, Tensor):
        value = np.asarray(value)
        if value.dtype.kind not in "biuf":
            raise ArgumentError(
                f"{caller}: {name} must be numbers or texts; got {value.dtype}",
                remedy="Code categories as integers or texts; use screen for dates.",
            )
        value = torch.from_numpy(np.ascontiguousarray(value))
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


def _automatic(rows: Tensor) -> Kernel:
    """Return what `"auto"` stands for: see `as_pair`."""
    if rows.dtype == torch.bool:
        return Delta()
    if rows.is_floating_point():
        return Gaussian()
    return Delta() if _are_labels(len(torch.unique(rows, dim=0)), len(rows)) else Gaussian()


def _are_labels(levels: int, n: int) -> bool:
    return levels <= min(_FEW_LEVELS, max(2, n // 2))
