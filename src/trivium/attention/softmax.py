"""Softmax attention of projected heads: fused where it can be, a bias or weights elsewhere."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import dropout, pad, scaled_dot_product_attention

from trivium._core.eager import transformed
from trivium.attention.offset_path import fits_offset_path, offset_attention
from trivium.position.base import Offset, Position
from trivium.position.offsets import curve_at, is_run, run_of_offsets


@dataclass(frozen=True)
class Pairs:
    """Which query attends to which key, and where they stand.

    Args:
        i: Positions of the queries, `(n)` for one run that all rows share, else `(b, n)`.
        j: Positions of the keys, `(t)` or `(b, t)`.
        causal: Whether a query sees only the keys up to its own, the last n of the t.
        mask: What else keeps a pair apart, `(b, 1 | n, t)`; `None` for nothing.
        first: Whether the queries are all of the row, so that n is t.
    """

    i: Int[Tensor, "*i n"]
    j: Int[Tensor, "*j t"]
    causal: bool
    mask: Bool[Tensor, "#b #n t"] | None
    first: bool

    def keep(self) -> Bool[Tensor, "*b n t"]:
        """Return the pairs that attend: `(n, t)`, or `(b, n, t)` under a mask."""
        n, t = self.i.shape[-1], self.j.shape[-1]
        keep = torch.ones(n, t, dtype=torch.bool, device=self.i.device)
        if self.causal:
            keep = keep.tril(t - n)
        return keep if self.mask is None else keep & self.mask


def attend(
    position: Position,
    heads: tuple[Float[Tensor, "b h n d"], Float[Tensor, "b g t d"], Float[Tensor, "b g t v"]],
    pairs: Pairs,
    drop: float = 0.0,
) -> Float[Tensor, "b h n v"]:
    """Return softmax(scale · q kᵀ + bias) v over the pairs that attend; 0 where a query has none.

    Args:
        position: Whose `score`, `value` and `scale` are asked; queries and keys have been through
            `query` and `key`.
        heads: Queries, keys, values; keys and values with h heads or fewer.
        pairs: Positions and masks.
        drop: Probability that a weight is dropped.
    """
    q, k, v = heads
    h, scale = q.shape[1], position.scale(q.shape[-1])
    k, v = _shared(k, h), _shared(v, h)
    if not (position.scored or position.weighted):
        if pairs.mask is None and (pairs.first or not pairs.causal):
            causal = pairs.causal and pairs.first
            return _fused(q, k, v, None, drop=drop, causal=causal, scale=scale)
        keep, empty = _seen(pairs)
        out = _fused(q, k, v, keep[..., None, :, :], drop=drop, scale=scale)
        return _emptied(out, empty)
    by_table = pairs.mask is None and not position.weighted and is_run(pairs.i, pairs.j)
    by_table = by_table and fits_offset_path(q, k, v, drop)
    if by_table and isinstance(position, Offset) and type(position).score is Offset.score:
        table = curve_at(position.curve, run_of_offsets(pairs.i, pairs.j), h).mT
        return offset_attention(q, k, v, table, causal=pairs.causal, scale=scale)
    keep, empty = _seen(pairs)
    bias = position.score(q, k, pairs.i, pairs.j, keep)
    hidden = ~keep[..., None, :, :]
    # A mapped bias hides from torch that it wants a gradient, which the fused kernel does not have.
    if not (position.weighted or (bias is not None and transformed())):
        zero = q.new_zeros(()) if bias is None else bias
        bias = zero.masked_fill(hidden, -torch.inf)
        out = _fused(q, k, v, bias, drop=drop, scale=scale)
        return _emptied(out, empty)
    logits = scale * (q @ k.mT) if bias is None else scale * (q @ k.mT) + bias
    weights = dropout(logits.masked_fill(hidden, -torch.inf).softmax(-1), drop)
    out, more = weights @ v, position.value(weights, pairs.i, pairs.j)
    return _emptied(out if more is None else out + more, empty)


def _fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    *,
    drop: float,
    causal: bool = False,
    scale: float,
) -> Tensor:
    """Return attention by torch's fused kernel, also where queries are wider than values."""
    short = q.shape[-1] - v.shape[-1]
    if short <= 0 or q.device.type != "cpu":
        return scaled_dot_product_attention(q, k, v, mask, drop, causal, scale=scale)
    # On a CPU the kernel takes one width only; without it the weights are formed: 1.4 to 2 times
    # the time of values padded with zeros.
    wide = scaled_dot_product_attention(q, k, pad(v, (0, short)), mask, drop, causal, scale=scale)
    return wide[..., : v.shape[-1]]


def _shared(x: Tensor, h: int) -> Tensor:
    """Return keys or values of g heads for h heads of queries."""
    g = x.shape[1]
    return x if g == h else x[:, :, None].expand(-1, -1, h // g, -1, -1).flatten(1, 2)


def _seen(pairs: Pairs) -> tuple[Tensor, Tensor | None]:
    """Return the pairs that attend, and which queries have none and were given all of them."""
    keep = pairs.keep()
    if pairs.mask is None:
        return keep, None
    empty = ~keep.any(-1, keepdim=True)
    return keep | empty, empty


def _emptied(out: Tensor, empty: Tensor | None) -> Tensor:
    return out if empty is None else out.masked_fill(empty[..., None, :, :], 0)
