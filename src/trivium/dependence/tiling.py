"""Two Gram matrices cut into tiles, and the sums over one tile of both and over all."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.kernel import Kernel

__all__ = ["Rows", "Tile", "Tiling", "cut", "exact", "tile_sums", "whole_sums"]

Tile = tuple[slice, slice]
# Rows of the tile and of its columns, of x and then of y; columns are None on the diagonal.
Rows = tuple[Tensor, Tensor | None, Tensor, Tensor | None]


@dataclass(frozen=True)
class Tiling:
    """How two Gram matrices are cut.

    Args:
        kernels: Of x and of y, resolved.
        dtype: Of the tiles.
        n: Rows.
        side: Rows and columns of a tile, fewer at the end.
        own: Whether the inner sums of K with K and of L with L are wanted.
    """

    kernels: tuple[Kernel, Kernel]
    dtype: torch.dtype
    n: int
    side: int
    own: bool

    def tiles(self) -> Iterator[Tile]:
        """Give the tiles on and above the diagonal."""
        blocks = [slice(at, min(at + self.side, self.n)) for at in range(0, self.n, self.side)]
        for number, down in enumerate(blocks):
            for across in blocks[number:]:
                yield down, across

    def zeros(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return zeros for the inner sums (3,) and the row sums (2, n)."""
        return (
            torch.zeros(3, dtype=torch.float64, device=like.device),
            torch.zeros(2, self.n, dtype=torch.float64, device=like.device),
        )

    def room(self, like: Tensor) -> Tensor:
        """Return a buffer of one tile."""
        return torch.empty(self.side**2, dtype=self.dtype, device=like.device)


def exact(like: Tensor) -> Any:
    """Keep products in the dtype of the rows where mixed precision is on."""
    return torch.autocast(like.device.type, enabled=False)


def cut(tile: Tile, x: Tensor, y: Tensor) -> Rows:
    """Return the rows and the columns of a tile, for x and then y."""
    down, across = tile
    if down == across:
        return x[down], None, y[down], None
    return x[down], x[across], y[down], y[across]


def tile_sums(
    tiling: Tiling, rows: Rows, room: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Inner sums (3,) and sums by row and by column (2, ...) of one tile of both matrices.

    Without `room`, a buffer for products, they have a graph.
    """
    with exact(rows[0]):
        first = tiling.kernels[0].gram(*rows[:2]).to(tiling.dtype)
        second = tiling.kernels[1].gram(*rows[2:]).to(tiling.dtype)
    pairs = [(first, second)] + ([(first, first), (second, second)] if tiling.own else [])
    out = None if room is None else room[: first.numel()].view_as(first)
    # A tile's row is short enough to be summed in its own dtype; what follows is not.
    sums = [torch.mul(a, b, out=out).sum(1).sum(dtype=torch.float64) for a, b in pairs]
    sums += [torch.zeros_like(sums[0])] * (3 - len(sums))
    by_row = torch.stack([gram.sum(1) for gram in (first, second)]).double()
    by_column = torch.stack([gram.sum(0) for gram in (first, second)]).double()
    return torch.stack(sums), by_row, by_column


def whole_sums(tiling: Tiling, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inner sums (3,) and the row sums (2, n) over all tiles, without a graph."""
    inner, rows = tiling.zeros(x)
    room = tiling.room(x)
    with torch.no_grad():
        for down, across in tiling.tiles():
            found = tile_sums(tiling, cut((down, across), x, y), room)
            inner.add_(found[0], alpha=1 if down == across else 2)
            rows[:, down] += found[1]
            if down != across:
                rows[:, across] += found[2]
    return inner, rows
