"""Gram matrices read along their wrapped diagonals, a few diagonals at a time.

Wrapped diagonal d of an m × m matrix holds `K[i, (i + d) mod m]`. A cyclic shift of the rows moves
along it, so a correlation of two diagonals gives the inner product for every shift.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from trivium.kernel import Block, Distance, Kernel
from trivium.kernel.stationary import Stationary

__all__ = ["WrappedGrams"]

_BAND = 128
_WHOLE_ROWS = 512


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
        whole: The complete matrices, kept up to 512 rows: there calls cost more than memory.
        offset: Whether the constant is taken off; products of three kernels and more feel it.
    """

    rows: Shaped[Tensor, "n d"]
    kernels: Sequence[Kernel]
    moved: int
    dtype: torch.dtype
    whole: Float[Tensor, "k n n"] | None = None
    offset: bool = True
    offsets: tuple[float, ...] = field(init=False)
    _twice: Tensor = field(init=False)
    _blocks: tuple[Block, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.whole is None and len(self.rows) <= _WHOLE_ROWS:
            grams = [kernel.gram(self.rows).to(self.dtype) for kernel in self.kernels]
            object.__setattr__(self, "whole", torch.stack(grams))
        if self.whole is None:
            moving = self.rows[: self.moved]
            object.__setattr__(self, "_twice", torch.cat([moving, moving]))
            blocks = tuple(kernel.blocks(self._twice) for kernel in self.kernels)
            object.__setattr__(self, "_blocks", blocks)
        else:
            moving = self.whole[:, : self.moved, : self.moved]
            object.__setattr__(self, "_twice", torch.cat([moving, moving], 2))
        object.__setattr__(self, "offsets", (0.0,) * len(self.kernels))
        if not self.offset:
            return
        means = self.diagonals(1, 2).double().mean((1, 2))
        object.__setattr__(self, "offsets", tuple(means.tolist()))

    def permuted(self, order: Int64[Tensor, " n"]) -> "WrappedGrams":
        """Return the same with the rows in another order; matrices at hand are not made again."""
        whole = None if self.whole is None else self.whole[:, order][..., order]
        return replace(self, rows=self.rows[order], whole=whole)

    @property
    def n_kernels(self) -> int:
        """Number of kernels."""
        return len(self.kernels)

    @property
    def _offsets(self) -> Float[Tensor, "k 1"]:
        return torch.tensor(self.offsets, dtype=self.dtype, device=self.rows.device)[:, None]

    def main(self) -> Float[Tensor, "k n"]:
        """Return the diagonal of each kernel, all rows."""
        if self.whole is not None:
            found = self.whole.diagonal(dim1=1, dim2=2)
        else:
            found = torch.stack([k.diagonal(self.rows).to(self.dtype) for k in self.kernels])
        return found - self._offsets

    def diagonals(self, low: int, high: int) -> Float[Tensor, "k b m"]:
        """Return the wrapped diagonals low to high − 1."""
        found = self.rows.new_empty((len(self.kernels), high - low, self.moved), dtype=self.dtype)
        for place, (kernel, offset) in enumerate(zip(self.kernels, self.offsets, strict=True)):
            if self.whole is not None:
                found[place] = self._of_whole(place, low, high)
            elif self.rows.shape[1] == 1 and isinstance(kernel, Stationary | Distance):
                self._by_differences(kernel, low, found[place])
            else:
                self._by_bands(self._blocks[place], low, found[place])
            if offset:
                found[place] -= offset
        return found

    def _of_whole(self, place: int, low: int, high: int) -> Float[Tensor, "b m"]:
        m = self.moved
        return self._twice[place].as_strided(
            (high - low, m), (1, 2 * m + 1), self._twice[place].storage_offset() + low
        )

    def _by_differences(self, kernel: Stationary | Distance, low: int, out: Tensor) -> None:
        count, m = out.shape
        moving = self._twice[:, 0].to(self.dtype)
        later = moving.as_strided((count, m), (1, 1), low)
        torch.sub(later, moving[:m], out=out)
        values = kernel.of_differences(out)
        if values.data_ptr() != out.data_ptr():
            out.copy_(values)
        if isinstance(kernel, Distance):
            own = kernel.diagonal(self._twice[:, :1]).to(self.dtype).div_(2)
            out.add_(own[:m]).add_(own.as_strided((count, m), (1, 1), low))

    def _by_bands(self, block: Block, low: int, out: Tensor) -> None:
        """Any kernel: products of blocks of rows, of which the diagonals are strided views."""
        count, m = out.shape
        for top in range(0, m, _BAND):
            size = min(_BAND, m - top)
            across = slice(top + low, top + low + size + count - 1)
            band = block(slice(top, top + size), across).contiguous()
            width = band.shape[1]
            out[:, top : top + size] = band.as_strided((count, size), (1, width + 1)).to(out.dtype)

    def fixed(self, size: int) -> Iterator[tuple[slice, Float[Tensor, "k b n"]]]:
        """Yield the rows that stay, a block at a time, against all rows."""
        for low in range(self.moved, len(self.rows), size):
            part = slice(low, min(low + size, len(self.rows)))
            if self.whole is not None:
                block = self.whole[:, part]
            else:
                block = torch.stack(
                    [k.gram(self.rows[part], self.rows).to(self.dtype) for k in self.kernels]
                )
            yield part, block - self._offsets[:, None]
