"""Statistics after every permutation: from complete Gram matrices, or from features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trivium.dependence.permutation import Permutations, Stretch
from trivium.parallel import Executor, SerialExecutor

__all__ = ["factor_null", "gram_null"]

_TILE_BYTES = 16 * 2**20
_SMALL = 256
_LARGE_TILE = 256
_STRETCHES = 32


def gram_null(
    gram_x: Float[Tensor, "... n n"],
    gram_y: Float[Tensor, "... n n"],
    orders: Permutations,
    *,
    executor: Executor | None = None,
) -> Float[Tensor, "... t"]:
    """Biased HSIC of `x` with each permuted `y` from complete Gram matrices.

    `T_t = sum_ij (H K H)_ij (H L H)[p_t(i), p_t(j)] / n^2`; `T_0` is the statistic as observed.
    Above 256 rows the centered matrices are compared in float32.

    Args:
        gram_x: One matrix, or several that are each compared with all of y.
        gram_y: The same.
        orders: The permutations; the first is the identity.
        executor: Where stretches of the permutations are gone through.

    Cost: O(a b t n²) time, O((a + b) n²) memory.
    """
    n = gram_x.shape[-1]
    firsts, seconds = (
        [_centered(each) for each in grams.reshape(-1, n, n)] for grams in (gram_x, gram_y)
    )
    rows = max(1, _TILE_BYTES // (4 * n * n * gram_y.element_size()))
    if n > _SMALL:
        firsts, seconds = [each.float() for each in firsts], [each.float() for each in seconds]
        rows = _LARGE_TILE
    stretches = orders.stretches(rows, 1 if executor is None else _STRETCHES)
    pairs = [(i, j) for i in range(len(firsts)) for j in range(len(seconds))]
    parts = (executor or SerialExecutor()).map(
        _gram_part,
        [(*pair, stretch) for pair in pairs for stretch in stretches],
        shared=_Grams(firsts, seconds, orders, rows),
    )
    each = len(stretches)
    found = torch.stack([torch.cat(parts[i * each : (i + 1) * each]) for i in range(len(pairs))])
    return found.reshape(*gram_x.shape[:-2], *gram_y.shape[:-2], -1) / n**2


@dataclass(frozen=True, eq=False)
class _Grams:
    """Centered matrices of both variables, and the permutations, `rows` of them at a time."""

    firsts: list[Float[Tensor, "n n"]]
    seconds: list[Float[Tensor, "n n"]]
    orders: Permutations
    rows: int


def _gram_part(block: tuple[int, int, Stretch], grams: _Grams) -> Float[Tensor, " t"]:
    i, j, stretch = block
    first, second = grams.firsts[i], grams.seconds[j]
    tiles = grams.orders.tiles(grams.rows, stretch)
    indexes = (torch.from_numpy(tile).to(second.device) for tile in tiles)
    if len(first) > _SMALL:
        return torch.stack([each for tile in indexes for each in _one_by_one(first, second, tile)])
    return torch.cat(
        [(second[at[:, :, None], at[:, None, :]] * first).sum((1, 2)) for at in indexes]
    )


def _one_by_one(first: Tensor, second: Tensor, tile: Int64[Tensor, "b n"]) -> list[Tensor]:
    """One order at a time through two buffers that are used again."""
    rows, both = torch.empty_like(second), torch.empty_like(second)
    found = []
    for order in tile:
        torch.index_select(second, 0, order, out=rows)
        torch.index_select(rows, 1, order, out=both)
        found.append(torch.dot(first.reshape(-1), both.reshape(-1)))
    return found


def _centered(gram: Tensor) -> Tensor:
    mean = gram.mean(0)
    return gram - mean - mean[:, None] + mean.mean()


def factor_null(
    features: Float[Tensor, "r n"],
    target: Float[Tensor, "n s"],
    orders: Permutations,
    *,
    widths: Sequence[int] | None = None,
    executor: Executor | None = None,
) -> Float[Tensor, "k b"]:
    """Biased HSIC of several columns with each permuted target, from features.

    `T_kb = || sum_i (phi_k(x_i) - mean) psi(y_{p_b(i)})' ||_F^2 / n^2`, all columns and a tile
    of permutations in one matrix product. Identity and permutations go through the same product
    in the same precision.

    Args:
        features: The columns' features, one below the other.
        target: The target's features, side by side.
        orders: The permutations; the first is the identity.
        widths: Number of features of each column; one column by default.
        executor: Where stretches of the permutations are gone through.

    Cost: O(n r s b) time, a fixed budget of memory beside the arguments.
    """
    width, n = features.shape
    rank = target.shape[1]
    centered = features - features.mean(1, keepdim=True)
    values = target - target.mean(0)
    widths = (width,) if widths is None else tuple(widths)
    per_order = rank * (n + width) * features.element_size() + 8 * n + 1
    factors = _Factors(centered, values, orders, widths, max(1, _TILE_BYTES // per_order))
    stretches = orders.stretches(factors.rows, 1 if executor is None else _STRETCHES)
    parts = (executor or SerialExecutor()).map(_factor_part, stretches, shared=factors)
    found = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    return found.div_(n**2)


@dataclass(frozen=True, eq=False)
class _Factors:
    """Centered features of both variables, and the permutations, `rows` of them at a time."""

    centered: Float[Tensor, "r n"]
    values: Float[Tensor, "n s"]
    orders: Permutations
    widths: tuple[int, ...]
    rows: int


def _factor_part(stretch: Stretch, factors: _Factors) -> Float[Tensor, "k b"]:
    values, (n, rank) = factors.values, factors.values.shape
    width, widths = len(factors.centered), factors.widths
    owner = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))
    owner = owner.to(values.device)
    # Made at once: small results between large buffers would keep the heap from being used again.
    found = values.new_zeros(len(widths), stretch.last - stretch.first)
    done = 0
    for tile in factors.orders.tiles(factors.rows, stretch):
        index = torch.from_numpy(np.ascontiguousarray(tile.T)).to(values.device)
        moved = values[index.reshape(-1)].reshape(n, len(tile) * rank)
        squares = (factors.centered @ moved).square_().reshape(width, len(tile), rank).sum(-1)
        found[:, done : done + len(tile)].index_add_(0, owner, squares)
        done += len(tile)
    return found
