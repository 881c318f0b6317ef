"""The sums that HSIC is made of, from Gram matrices that are never whole."""

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trivium.dependence.pair import Pair
from trivium.dependence.sums import GramSums
from trivium.dependence.tiled_gradient import differentiable_sums
from trivium.dependence.tiling import Tiling, cut, tile_sums, whole_sums
from trivium.kernel import Kernel

__all__ = ["BUDGET", "checkpointed_sums", "tiled_sums"]

BUDGET = 64 * 2**20
_BUFFERS = 12
_SIDE = 512  # the buffers of larger tiles leave the processor's cache


def tiled_sums(
    pair: Pair, budget: int = BUDGET, *, own: bool = False
) -> tuple[GramSums, GramSums, GramSums]:
    """Return the sums over K and L, K and K, L and L, a tile at a time.

    Tiles above the diagonal count twice. With a gradient, each tile is computed again on the way
    back instead of being kept; a second derivative does so once more.

    Args:
        pair: The two variables.
        budget: Bytes for the tiles.
        own: Whether the last two are wanted; else their inner sums are 0.
    """
    side = max(1, math.isqrt(budget // (_BUFFERS * pair.dtype.itemsize)))
    side = min(side, _SIDE, pair.n_rows)
    tiling = Tiling((pair.kernel_x, pair.kernel_y), pair.dtype, pair.n_rows, side, own)
    if not torch.is_grad_enabled():
        inner, rows = whole_sums(tiling, pair.x, pair.y)
    elif _learns(pair.kernel_x, pair.x) or _learns(pair.kernel_y, pair.y):
        inner, rows = checkpointed_sums(tiling, pair.x, pair.y)
    else:
        inner, rows = differentiable_sums(tiling, pair.x, pair.y)
    diagonal_x = pair.kernel_x.diagonal(pair.x).double()
    diagonal_y = pair.kernel_y.diagonal(pair.y).double()
    return (
        GramSums(inner[0], rows[0], rows[1], diagonal_x, diagonal_y),
        GramSums(inner[1], rows[0], rows[0], diagonal_x, diagonal_x),
        GramSums(inner[2], rows[1], rows[1], diagonal_y, diagonal_y),
    )


def _learns(kernel: Kernel, rows: Tensor) -> bool:
    """Whether a kernel holds tensors of its own that ask for a gradient."""
    return bool(kernel.gram(rows[:2].detach()).requires_grad)


def checkpointed_sums(tiling: Tiling, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The same sums by automatic differentiation, which alone finds what a kernel learns."""
    inner, rows = tiling.zeros(x)
    for down, across in tiling.tiles():
        rows_of = cut((down, across), x, y)
        found = checkpoint(tile_sums, tiling, rows_of, use_reentrant=False)
        inner = inner + (1 if down == across else 2) * found[0]
        rows[:, down] += found[1]
        if down != across:
            rows[:, across] += found[2]
    return inner, rows
