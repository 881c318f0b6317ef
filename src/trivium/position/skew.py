r"""Logits of the offset and one of the tokens: $q_i^\top g_{i-j} + k_j^\top h_{i-j}$.

Between two runs of positions, the products of a few queries with the vectors of all their offsets
are the logits, each row shifted by one: a view through strides. So a block of queries costs its
keys and the length of the block in products, and nothing of the size n·t·d is formed.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium._core.eager import eager
from trivium.position.offsets import offset_matrix

_BLOCK = 64  # tokens at a time
_SKEWED = (torch.float32, torch.float64)


def causal_within(keep: Bool[Tensor, "*b n t"] | None) -> bool:
    """Return whether no query attends to a key behind its own, the last n of the t being its."""
    if keep is None:
        return False
    n, t = keep.shape[-2:]
    return not bool(keep.triu(t - n + 1).any())


def by_row(
    q: Float[Tensor, "b h n d"] | None,
    at_query: Float[Tensor, "g r d"] | None,
    k: Float[Tensor, "b h t d"] | None,
    at_key: Float[Tensor, "g r d"] | None,
    n: int,
    keep: Bool[Tensor, "*b n t"] | None = None,
) -> Float[Tensor, "b h n t"]:
    """Return q_i · g_{i−j} + k_j · h_{i−j} between two runs of positions.

    Args:
        q: Queries; `None` for the second term alone.
        at_query: Their vectors g at the n + t − 1 offsets from the smallest, for each head or
            with one head for all.
        k: Keys; `None` for the first term alone.
        at_key: Their vectors h, likewise.
        n: Queries.
        keep: Pairs that attend: where no query attends to a later key, what is there is 0.

    Cost:
        O(b h n t d) time for each term, half of it where causal; memory O(b h n t).
    """
    some = q if q is not None else k
    table = at_query if at_query is not None else at_key
    if some is None or table is None:
        raise AssertionError("by_row: a term must be given; got none")
    t = table.shape[-2] - n + 1
    alike = {x.dtype for x in (q, at_query, k, at_key) if x is not None} == {some.dtype}
    alike = alike and not torch.is_autocast_enabled("cpu")  # which narrows some of the products
    if not (alike and eager() and some.device.type == "cpu" and some.dtype in _SKEWED):
        return _plain(q, at_query, k, at_key, n)
    causal = causal_within(keep)
    return _Skewed.apply(q, at_query, k, at_key, (n, t, causal))  # type: ignore[no-untyped-call]


def _plain(
    q: Tensor | None, at_query: Tensor | None, k: Tensor | None, at_key: Tensor | None, n: int
) -> Tensor:
    """Return the same by products with all offsets and one lookup."""
    found: list[Tensor] = []
    some: Any = at_query if at_query is not None else at_key
    t = some.shape[-2] - n + 1
    index = offset_matrix(*(torch.arange(size, device=some.device) for size in (n, t))) + (t - 1)
    if q is not None and at_query is not None:
        found.append(looked_up(q @ at_query.mT, index))
    if k is not None and at_key is not None:
        found.append(looked_up(k @ at_key.mT, index.mT).mT)
    return found[0] if len(found) == 1 else found[0] + found[1]


def looked_up(
    products: Float[Tensor, "b h n r"], index: Int[Tensor, "*b n t"]
) -> Float[Tensor, "b h n t"]:
    """Return of each row of products those at the places of an index that all heads share."""
    places = index if index.ndim == 2 else index[:, None]
    return products.gather(-1, places.expand(*products.shape[:-1], -1))


def _blocks(n: int, t: int, causal: bool) -> Iterator[tuple[int, int, int]]:
    """Yield blocks of queries, and how many keys they see."""
    for a in range(0, n, _BLOCK):
        b = min(a + _BLOCK, n)
        yield a, b, (t - n + b if causal else t)


def _key_blocks(n: int, t: int, causal: bool) -> Iterator[tuple[int, int, int]]:
    """Yield blocks of keys, and the first query that sees them."""
    for a in range(0, t, _BLOCK):
        yield a, min(a + _BLOCK, t), (max(0, a - (t - n)) if causal else 0)


def _skew(rows: Tensor, size: int) -> Tensor:
    """Return the view `(b, a, size)` of `(b, a, a + size − 1)`, row i from place a − 1 − i."""
    b, a, wide = rows.shape
    return rows.as_strided((b, a, size), (a * wide, wide - 1, 1), rows.storage_offset() + a - 1)


class _Skewed(torch.autograd.Function):
    """The logits, head by head and block by block."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor | None,
        at_query: Tensor | None,
        k: Tensor | None,
        at_key: Tensor | None,
        sizes: tuple[int, int, bool],
    ) -> Tensor:
        ctx.save_for_backward(q, at_query, k, at_key)
        ctx.sizes = n, t, causal = sizes
        some: Any = q if q is not None else k
        b, h = some.shape[:2]
        out = some.new_zeros(b, h, n, t) if causal or q is None else some.new_empty(b, h, n, t)
        for head in range(h):
            if q is not None and at_query is not None:
                own = at_query[head % len(at_query)].flip(0)
                for lo, hi, keys in _blocks(n, t, causal):
                    rows = q[:, head, lo:hi] @ own[n - hi : n - lo + keys - 1].mT
                    out[:, head, lo:hi, :keys] = _skew(rows, keys)
            if k is not None and at_key is not None:
                own = at_key[head % len(at_key)]
                for lo, hi, first in _key_blocks(n, t, causal):
                    rows = k[:, head, lo:hi] @ own[t - hi + first : t - lo + n - 1].mT
                    out[:, head, first:, lo:hi] += _skew(rows, n - first).mT
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, at_query, k, at_key = ctx.saved_tensors
        n, t, causal = ctx.sizes
        if torch.is_grad_enabled():  # a derivative of this one will be asked for
            again = _plain(q, at_query, k, at_key, n)
            given = (q, at_query, k, at_key)
            asked = [x for x, need in zip(given, ctx.needs_input_grad, strict=False) if need]
            grad = grad.tril(t - n) if causal else grad
            found = iter(torch.autograd.grad(again, asked, grad, create_graph=True))
            return (*(next(found) if need else None for need in ctx.needs_input_grad[:4]), None)
        slopes = [None if x is None else torch.zeros_like(x) for x in (q, at_query, k, at_key)]
        for head in range(grad.shape[1]):
            if q is not None:
                _queries_back(grad, head, (q, at_query), slopes[:2], causal)
            if k is not None:
                _keys_back(grad, head, (k, at_key), slopes[2:], causal)
        return (*slopes, None)


def _queries_back(
    grad: Tensor, head: int, given: tuple[Tensor, Tensor], slopes: list[Any], causal: bool
) -> None:
    q, table = given
    b, _, n, t = grad.shape
    place = head % len(table)
    own, back = table[place].flip(0), torch.zeros_like(table[place])
    for lo, hi, keys in _blocks(n, t, causal):
        at = slice(n - hi, n - lo + keys - 1)
        rows = grad.new_zeros(b, hi - lo, hi - lo + keys - 1)
        _skew(rows, keys).copy_(grad[:, head, lo:hi, :keys])
        slopes[0][:, head, lo:hi] = rows @ own[at]
        back[at].addmm_(rows.flatten(0, 1).mT, q[:, head, lo:hi].flatten(0, 1))
    slopes[1][place] += back.flip(0)


def _keys_back(
    grad: Tensor, head: int, given: tuple[Tensor, Tensor], slopes: list[Any], causal: bool
) -> None:
    k, table = given
    b, _, n, t = grad.shape
    place = head % len(table)
    own, back = table[place], slopes[1][place]
    for lo, hi, first in _key_blocks(n, t, causal):
        at = slice(t - hi + first, t - lo + n - 1)
        rows = grad.new_zeros(b, hi - lo, hi - lo + n - first - 1)
        _skew(rows, n - first).copy_(grad[:, head, first:, lo:hi].mT)
        slopes[0][:, head, lo:hi] = rows @ own[at]
        back[at].addmm_(rows.flatten(0, 1).mT, k[:, head, lo:hi].flatten(0, 1))
