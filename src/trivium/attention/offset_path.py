r"""Attention whose bias is a function of the offset, without a matrix of biases.

With the keys in reverse, $b_{ij} = T_{i + j'}$: a table of n + t − 1 numbers a head, read as a
matrix through its strides. Forward is torch's fused kernel on blocks of queries with only the
keys that they see; backward the kernel's own, on blocks of keys with only the queries that see
them. Where the bias learns, backward forms the weights again in tiles that stay in the
processor's cache, and sums the gradient of the bias along the diagonals of each tile.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from trivium._core.eager import eager
from trivium.position.offsets import toeplitz

_BLOCK = 256  # queries, or keys, that the kernel takes at a time in a causal layer
_ROWS, _KEYS = 128, 512  # queries and keys of a tile
_TILE = 1 << 17  # weights formed at a time there
_NOTHING = -50.0  # logarithm of a weight that changes no sum in float64
_FLASH: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
_BACK: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)


def fits_offset_path(q: Tensor, k: Tensor, v: Tensor, drop: float) -> bool:
    """Return whether `offset_attention` takes these heads: on a CPU, eager, nothing dropped."""
    return (
        _FLASH is not None
        and _BACK is not None
        and drop == 0
        and eager()
        and q.device.type == "cpu"
        and q.dtype in (torch.float32, torch.float64)
        and q.dtype == k.dtype == v.dtype
        and q.shape[-1] == k.shape[-1] == v.shape[-1]
        and q.stride(-1) == k.stride(-1) == v.stride(-1) == 1  # the kernel does not look
    )


def offset_attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h t d"],
    v: Float[Tensor, "b h t d"],
    table: Float[Tensor, "#h r"],
    *,
    causal: bool,
    scale: float,
) -> Float[Tensor, "b h n d"]:
    """Return softmax(scale · q kᵀ + bias) v with a bias for each offset.

    Args:
        q: Queries, the last n of the t tokens.
        k: Keys.
        v: Values.
        table: Bias of each head at the n + t − 1 offsets, from the smallest.
        causal: Whether a query sees the keys up to its own only.
        scale: Factor of queries times keys.

    Cost:
        O(b h n t d) time, half of it where causal; memory O(b h (n + t) d), no n·t.
    """
    h, n = q.shape[1], q.shape[2]
    table = table.to(q.dtype).expand(h, -1)
    hidden = _faint(q, k, table, scale)
    if causal:
        hidden = hidden | (torch.arange(table.shape[-1], device=table.device) < n - 1)
    table = table.masked_fill(hidden, -torch.inf)
    heads = (q, k.flip(2), v.flip(2), table.contiguous())
    with _flushed():
        return _OffsetAttention.apply(*heads, causal, scale)  # type: ignore[no-untyped-call]


@contextmanager
def _flushed() -> Iterator[None]:
    """Let this thread take numbers too small to be normal for 0: the faint ones that are left.

    Where queries and keys are long the bound of `_faint` is far off.
    """
    before = sys.float_info.min * 0.5 == 0  # torch says not what is set, the processor does
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _faint(q: Tensor, k: Tensor, table: Tensor, scale: float) -> Tensor:
    """Return the biases so low that no weight there can change a sum.

    A query's own key has offset 0 and is always seen. Without this, weights too small to be
    normal numbers cost twice the time of the whole.
    """
    far = scale * q.norm(dim=-1).amax((0, 2)) * k.norm(dim=-1).amax((0, 2))
    own = table[:, q.shape[2] - 1, None]
    return (table - own + 2 * far[:, None]).detach() < _NOTHING


def dense_attention(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, scale: float
) -> Float[Tensor, "b h n d"]:
    """Return the same by plain operations, for keys in reverse: what higher derivatives take."""
    bias = toeplitz(table, q.shape[2]).flip(-1)
    return (scale * (q @ k.mT) + bias).softmax(-1) @ v


def _blocks(n: int, t: int, causal: bool, step: int) -> list[tuple[slice, slice]]:
    """Return blocks of queries, and of the reversed keys that they see."""
    stops = [min(a + step, n) for a in range(0, n, step)]
    return [
        (slice(a, stop), slice(n - stop if causal else 0, t))
        for a, stop in zip(range(0, n, step), stops, strict=True)
    ]


def _key_blocks(n: int, t: int, step: int) -> list[tuple[slice, slice]]:
    """Return the queries that see them, and blocks of reversed keys; the last is seen by all."""
    stops = [a + step if a + step < n else t for a in range(0, n, step)]
    return [
        (slice(max(0, n - stop), n), slice(a, stop))
        for a, stop in zip(range(0, n, step), stops, strict=True)
    ]


def _bias(table: Tensor, rows: slice, keys: slice) -> Tensor:
    """Return the biases of a block as an overlapping view `(h, queries, keys)`."""
    size = (table.shape[0], rows.stop - rows.start, keys.stop - keys.start)
    start = table.storage_offset() + rows.start + keys.start
    return table.as_strided(size, (table.stride(0), 1, 1), start)


class _OffsetAttention(torch.autograd.Function):
    """The fused path, for keys and values in reverse."""

    @staticmethod
    def forward(  # a Function's arguments are positional
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, table: Tensor, causal: bool, scale: float
    ) -> Tensor:
        n = q.shape[2]
        found = [
            _FLASH(
                q[:, :, rows],
                k[:, :, keys],
                v[:, :, keys],
                attn_mask=_bias(table, rows, keys)[None],
                scale=scale,
            )
            for rows, keys in _blocks(n, k.shape[2], causal, _BLOCK if causal else n)
        ]
        out, logs = (_joined(parts) for parts in zip(*found, strict=True))
        ctx.save_for_backward(q, k, v, table, out, logs)
        ctx.causal, ctx.scale = causal, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, table, out, logs = ctx.saved_tensors
        needs, causal, scale = ctx.needs_input_grad[:4], ctx.causal, ctx.scale
        if torch.is_grad_enabled():  # a derivative of this one will be asked for
            again = dense_attention(q, k, v, table, scale)
            asked = [x for x, need in zip((q, k, v, table), needs, strict=True) if need]
            found = iter(torch.autograd.grad(again, asked, grad, create_graph=True))
            return (*(next(found) if need else None for need in needs), None, None)
        with _flushed():
            if not needs[3]:
                return (*_kernel_slopes(ctx.saved_tensors, grad, causal, scale), None, None, None)
            inner = (grad * out).sum(-1, keepdim=True)
            tiles = _Tiles(q, k, v, table, logs, grad, inner, scale)
            return (*tiles.slopes(causal), None, None)


def _kernel_slopes(
    saved: tuple[Tensor, ...], grad: Tensor, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v by the backward pass of torch's kernel."""
    q, k, v, table, out, logs = saved
    n, t = q.shape[2], k.shape[2]
    found = [
        _BACK(
            grad[:, :, rows],
            q[:, :, rows],
            k[:, :, keys],
            v[:, :, keys],
            out[:, :, rows],
            logs[:, :, rows],
            0.0,
            False,
            attn_mask=_bias(table, rows, keys)[None],
            scale=scale,
        )
        for rows, keys in _key_blocks(n, t, _BLOCK if causal else n)
    ]
    slopes, *others = zip(*found, strict=True)
    for part in slopes[:-1]:
        slopes[-1][:, :, -part.shape[2] :] += part
    return slopes[-1], *(_joined(parts) for parts in others)


def _joined(parts: tuple[Tensor, ...]) -> Tensor:
    return torch.cat(parts, 2) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class _Tiles:
    """The backward pass of a bias that learns, tile by tile.

    Args:
        q: Queries.
        k: Keys, in reverse.
        v: Values, in reverse.
        table: Biases.
        logs: Logarithm of the sum of each row of weights.
        grad: Gradient of the output.
        inner: Its inner product with the output.
        scale: Factor of queries times keys.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    table: Tensor
    logs: Tensor
    grad: Tensor
    inner: Tensor
    scale: float

    def slopes(self, causal: bool) -> tuple[Tensor, ...]:
        """Return the gradients of q, k, v and the table."""
        slopes = [torch.zeros_like(x) for x in (self.q, self.k, self.v)]
        table = torch.zeros_like(self.table)
        b, h, n, _ = self.q.shape
        spans = _spans(self.table)
        for rows, keys in _blocks(n, self.k.shape[2], causal, _ROWS):
            for head in range(h):
                for part in _parts(rows, keys, spans[head]):
                    own = _bias(self.table, rows, part)[head].contiguous()
                    some = max(1, _TILE // own.numel())
                    total = torch.zeros_like(own)
                    for first in range(0, b, some):
                        at = (slice(first, first + some), head)
                        total += self._tile(slopes, at, rows, part, own)
                    begin, found = rows.start + part.start, _diagonals(total)
                    table[head, begin : begin + len(found)] += found
        return (slopes[0].mul_(self.scale), *slopes[1:], table)

    def _tile(
        self, slopes: list[Tensor], at: tuple[slice, int], rows: slice, keys: slice, bias: Tensor
    ) -> Tensor:
        """Add one tile's part to the gradients; return that of its biases."""
        q, grad = self.q[at][:, rows], self.grad[at][:, rows]
        k, v = self.k[at][:, keys], self.v[at][:, keys]
        weights = torch.baddbmm(bias, q, k.mT, alpha=self.scale)
        weights = weights.sub_(self.logs[at][:, rows, None]).exp_()
        slopes[2][at][:, keys].baddbmm_(weights.mT, grad)
        back = torch.baddbmm(self.inner[at][:, rows], grad, v.mT, beta=-1).mul_(weights)
        slopes[0][at][:, rows].baddbmm_(back, k)
        slopes[1][at][:, keys].baddbmm_(back.mT, q, alpha=self.scale)
        return back.sum(0) if len(back) > 1 else back[0]


def _spans(table: Tensor) -> list[tuple[int, int]]:
    """Return the first and last place of each head where its bias is finite."""
    seen = table.isfinite().int()
    first, last = seen.argmax(-1), table.shape[-1] - 1 - seen.flip(-1).argmax(-1)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _parts(rows: slice, keys: slice, span: tuple[int, int]) -> list[slice]:
    """Return the keys that a block of queries sees under a head's biases, in parts."""
    start = max(keys.start, span[0] - rows.stop + 1)
    stop = min(keys.stop, span[1] - rows.start + 1)
    return [slice(at, min(at + _KEYS, stop)) for at in range(start, stop, _KEYS)]


def _diagonals(tile: Float[Tensor, "a c"]) -> Float[Tensor, " r"]:
    """Return the sums over i + j′ of a tile."""
    a, c = tile.shape
    return pad(tile, (0, a)).flatten()[: a * (a + c - 1)].view(a, a + c - 1).sum(0)
