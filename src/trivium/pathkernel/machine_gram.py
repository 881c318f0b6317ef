"""Products with a Gram matrix that is held where it fits a budget, and made again where not."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import NumericalError, ResourceError
from trivium.pathkernel.row_sets import count_rows, take_rows

__all__ = ["GramProducts", "RowKernel", "gram_values", "times"]

_BUFFERS = 3  # a block, its copy in float64, and what a kernel needs to make it


@runtime_checkable
class RowKernel(Protocol):
    """What a kernel machine needs of a kernel."""

    def gram(self, x: Any, y: Any = None) -> Tensor:
        """Return the matrix of k(x_i, y_j)."""

    def diagonal(self, x: Any) -> Tensor:
        """Return k(x_i, x_i)."""


def gram_values(kernel: RowKernel, x: Any, y: Any = None) -> Tensor:
    """Return the matrix of k(x_i, y_j) in float64, without a graph.

    A base network's scores have none either, and half of a gradient is a wrong one.
    """
    return kernel.gram(x, y).detach().double().cpu()


class GramProducts:
    """The Gram matrix of some rows as a linear map, in float64, divided by its mean diagonal.

    Args:
        caller: The public name that was called.
        kernel: The kernel.
        x: The rows.
        budget: Bytes for the matrix, or for a block of it.

    Raises:
        ResourceError: Not even one row fits.
        NumericalError: The kernel is not finite on these rows.
    """

    def __init__(self, caller: str, kernel: RowKernel, x: Any, budget: int) -> None:
        self.kernel, self.x = kernel, x
        self.n_rows = count_rows(caller, x)
        row = 8 * self.n_rows * _BUFFERS
        if row > budget:
            raise ResourceError(
                f"{caller}: budget must hold a row of the Gram matrix, {counted(row, 'byte')}; "
                f"got {budget}",
                remedy="Raise budget.",
            )
        self.height = max(1, budget // row)
        self.scale = float(kernel.diagonal(x).detach().double().mean()) or 1.0
        if not 0 < self.scale < float("inf"):
            raise NumericalError(
                f"{caller}: k(x, x) must be finite and not negative; its mean is {self.scale}",
                remedy="Look for weights or rows that are not finite.",
            )
        self.held: Tensor | None = None
        if self.n_rows <= self.height:
            self.held = gram_values(kernel, x) / self.scale

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Give blocks of rows of the matrix."""
        if self.held is not None:
            yield slice(0, self.n_rows), self.held
            return
        for a in range(0, self.n_rows, self.height):
            rows = slice(a, min(a + self.height, self.n_rows))
            yield rows, gram_values(self.kernel, take_rows(self.x, rows), self.x) / self.scale

    def times(self, a: Tensor) -> Tensor:
        """Return K a."""
        found = torch.empty((self.n_rows, a.shape[1]), dtype=torch.float64)
        for rows, block in self.blocks():
            found[rows] = block @ a
        return found


def times(kernel: RowKernel, x: Any, y: Any, a: Tensor, budget: int) -> Tensor:
    """Return K(x, y) a, block of rows by block of rows.

    Args:
        kernel: The kernel.
        x: Rows.
        y: Other rows, m of them.
        a: `(m, c)` in float64.
        budget: Bytes for a block.
    """
    n = count_rows("KernelMachine", x)
    height = max(1, budget // (8 * max(1, len(a)) * _BUFFERS))
    found = torch.empty((n, a.shape[1]), dtype=torch.float64)
    for start in range(0, n, height):
        rows = slice(start, min(start + height, n))
        found[rows] = gram_values(kernel, take_rows(x, rows), y) @ a
    return found
