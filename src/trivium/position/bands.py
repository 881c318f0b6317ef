"""Between values of clipped offsets, 2K + 1 for each query, and logits or weights of every key.

Only a band of 2K + 1 keys around a query has an offset of its own; all keys before it share the
last value, all keys behind it the first.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 64  # queries at a time


def spread(values: Float[Tensor, "b h n r"], t: int, start: int) -> Float[Tensor, "b h n t"]:
    """Return for each pair the value of its offset, clipped to K.

    Args:
        values: Of each query, at the offsets −K … K.
        t: Keys, one run.
        start: Offset of the first query to the first key.

    Cost:
        O(b h n (t + K)).
    """
    return _Spread.apply(values, t, start)  # type: ignore[no-untyped-call]


def collect(weights: Float[Tensor, "b h n t"], k: int, start: int) -> Float[Tensor, "b h n r"]:
    """Return for each query the sum of the weights at each offset clipped to k: `spread` turned.

    Args:
        weights: Of each pair.
        k: Where offsets are clipped.
        start: Offset of the first query to the first key.
    """
    return _Collect.apply(weights, k, start)  # type: ignore[no-untyped-call]


def _blocks(n: int, k: int, start: int) -> Iterator[tuple[slice, int, int]]:
    """Yield blocks of queries, and the keys around: from, to; beyond, all is clipped."""
    for a in range(0, n, _BLOCK):
        b = min(a + _BLOCK, n)
        yield slice(a, b), a + start - k, b + start + k


def _band(block: Tensor, k: int) -> Tensor:
    """Return the view `(..., a, 2k + 1)` of the pairs whose offset is not clipped, k first."""
    wide = block.shape[-1]
    strides = (*block.stride()[:-2], wide + 1, 1)
    return block.as_strided((*block.shape[:-1], 2 * k + 1), strides)


class _Spread(torch.autograd.Function):
    """`spread`, whose gradient is `collect`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, t: int, start: int) -> Tensor:
        ctx.k, ctx.start = k, _ = values.shape[-1] // 2, start
        out = values.new_empty(*values.shape[:-1], t)
        for rows, lo, hi in _blocks(values.shape[-2], k, start):
            own = values[..., rows, :]
            left, right = max(0, min(lo, t)), max(0, min(hi, t))
            out[..., rows, :left], out[..., rows, right:] = own[..., -1:], own[..., :1]
            around = own[..., :1].repeat(1, 1, 1, hi - lo)
            before = around.new_ones(around.shape[-2:], dtype=torch.bool).tril(-1)
            around = torch.where(before, own[..., -1:], around)
            _band(around, k).copy_(own.flip(-1))
            out[..., rows, left:right] = around[..., left - lo : right - lo]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return collect(grad, ctx.k, ctx.start), None, None


class _Collect(torch.autograd.Function):
    """`collect`, whose gradient is `spread`."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, k: int, start: int) -> Tensor:
        n, t = weights.shape[-2:]
        ctx.t, ctx.start = t, start
        out = weights.new_empty(*weights.shape[:-1], 2 * k + 1)
        for rows, lo, hi in _blocks(n, k, start):
            own = weights[..., rows, :]
            left, right = max(0, min(lo, t)), max(0, min(hi, t))
            around = own.new_zeros(*own.shape[:-1], hi - lo)
            around[..., left - lo : right - lo] = own[..., left:right]
            out[..., rows, :] = _band(around, k).flip(-1)
            out[..., rows, -1] += own[..., :left].sum(-1) + around.tril(-1).sum(-1)
            out[..., rows, 0] += own[..., right:].sum(-1) + around.triu(2 * k + 1).sum(-1)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return spread(grad, ctx.t, ctx.start), None, None
