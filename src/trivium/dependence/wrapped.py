"""Gram matrices read along their wrapped diagonals, a few diagonals at a time.

Wrapped diagonal d of an m × m matrix holds `K[i, (i + d) mod m]`. A cyclic shift of the rows moves
along it, so a correlation of two diagonals gives the inner product for every shift.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium.kernel import Kernel
from trivium.kernel.stationary import Stationary

__all__ = ["WrappedGrams"]

_BAND = 128


@dataclass(frozen=True, eq=False)
class WrappedGrams:
    """Several kernels on one variable, their first `moved` rows read along wrapped diagonals.

    A constant is taken off each kernel: no statistic of two variables feels it, and it keeps sums
    of single precision small.

    Args:
        rows: Rows.
        kernels: Kernels, resolved.
        moved: Rows that take part in the shifts.
        dtype: Of the values.
        offset: Whether the constant is taken off; products of three kernels and more feel it.
    """

    rows: Shaped[Tensor, "n d"]
    kernels: Sequence[Kernel]
    moved: int
    dtype: torch.dtype
    offset: bool = True
    offsets: tuple[float, ...] = field(init=False)
    _twice: Tensor = field(init=False)

    def __post_init__(self) -> None:
        moving = self.rows[: self.moved]
        object.__setattr__(self, "_twice", torch.cat([moving, moving]))
        object.__setattr__(self, "offsets", (0.0,) * len(self.kernels))
        if not self.offset:
            return
        means = self.diagonals(1, 2).double().mean((1, 2))
        object.__setattr__(self, "offsets", tuple(means.tolist()))

    @property
    def n_kernels(self) -> int:
        """Number of kernels."""
        return len(self.kernels)

    def main(self) -> Float[Tensor, "k n"]:
        """Return the diagonal of each kernel, all rows."""
        found = [kernel.diagonal(self.rows).to(self.dtype) for kernel in self.kernels]
        return torch.stack(found) - torch.tensor(self.offsets, dtype=self.dtype)[:, None]

    def diagonals(self, low: int, high: int) -> Float[Tensor, "k b m"]:
        """Return the wrapped diagonals low to high − 1."""
        found = self.rows.new_empty((len(self.kernels), high - low, self.moved), dtype=self.dtype)
        for place, (kernel, offset) in enumerate(zip(self.kernels, self.offsets, strict=True)):
            if self.rows.shape[1] == 1 and isinstance(kernel, Stationary):
                self._by_differences(kernel, low, found[place])
            else:
                self._by_bands(kernel, low, found[place])
            if offset:
                found[place] -= offset
        return found

    def _by_differences(self, kernel: Stationary, low: int, out: Tensor) -> None:
        count, m = out.shape
        moving = self._twice[:, 0].to(self.dtype)
        later = moving.as_strided((count, m), (1, 1), low)
        torch.sub(later, moving[:m], out=out)
        values = kernel.of_differences(out)
        if values.data_ptr() != out.data_ptr():
            out.copy_(values)

    def _by_bands(self, kernel: Kernel, low: int, out: Tensor) -> None:
        """Any kernel: products of blocks of rows, of which the diagonals are strided views."""
        count, m = out.shape
        for top in range(0, m, _BAND):
            size = min(_BAND, m - top)
            left = self._twice[top : top + size]
            right = self._twice[top + low : top + low + size + count - 1]
            band = kernel.gram(left, right).contiguous()
            width = band.shape[1]
            out[:, top : top + size] = band.as_strided((count, size), (1, width + 1)).to(out.dtype)

    def fixed(self, size: int) -> Iterator[tuple[slice, Float[Tensor, "k b n"]]]:
        """Yield the rows that stay, a block at a time, against all rows."""
        for low in range(self.moved, len(self.rows), size):
            part = slice(low, min(low + size, len(self.rows)))
            blocks = [
                kernel.gram(self.rows[part], self.rows).to(self.dtype) - offset
                for kernel, offset in zip(self.kernels, self.offsets, strict=True)
            ]
            yield part, torch.stack(blocks)
