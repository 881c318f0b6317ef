"""CoPE: positions counted by the content, how many gates are open between key and query."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.eager import eager
from trivium._core.errors import ArgumentError
from trivium.position.base import Position

__all__ = ["Contextual"]

_TILE = 1 << 18  # logits formed at a time


class Contextual(Position):
    r"""$q_i^\top e_{p_{ij}}$, $p_{ij} = \sum_{l=j}^{i} \sigma(q_i^\top k_l / \sqrt d)$.

    A query counts the keys that matter to it: each key's gate is open or shut, and the position
    of a key is the number of open gates from it to the query, interpolated between the vectors e,
    the last of which stands for all beyond. Keys that a query does not attend to have no gate, so
    packed documents and padding count nothing. As in the published code, gates see the scaled
    logits, and what is added is not scaled.

    Args:
        d_head: Dimension d of queries and keys.
        n_positions: Vectors, shared by heads; the last is that of position `n_positions` − 1.

    Raises:
        ArgumentError: A size that is not positive, or fewer than 2 positions.

    Cost:
        O(b h n t d) time; memory O(b h n t) for the logits alone, the rest formed in tiles.

    Example:
        >>> from trivium.attention import Attention
        >>> layer = Attention(8, 2, position=Contextual(d_head=4, n_positions=6))
        >>> layer(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])

    Source:
        Golovneva et al., Contextual Position Encoding: Learning to Count What's Important (2024),
        eqs. 3-6, and the listing in its appendix.
    """

    stationary = True
    by_scale = True
    causal_only = True

    def __init__(self, d_head: int, n_positions: int = 64) -> None:
        super().__init__()
        self.d_head = int(check_number("Contextual", "d_head", d_head, "positive", integer=True))
        n = int(check_number("Contextual", "n_positions", n_positions, "positive", integer=True))
        if n < 2:
            raise ArgumentError(f"Contextual: n_positions must be at least 2; got {n}")
        self.n_positions = n
        self.vectors = nn.Parameter(torch.zeros(n, self.d_head))

    @classmethod
    def examples(cls) -> Sequence["Contextual"]:
        """Return a small instance, with vectors that can be seen."""
        found = (cls(4, 4),)
        nn.init.normal_(found[0].vectors)
        return found

    def score(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h t d"],
        i: Int[Tensor, "*i n"],
        j: Int[Tensor, "*j t"],
        keep: Bool[Tensor, "*k n t"],
    ) -> Tensor | None:
        """Return the logits of the counted positions."""
        scale, wide = self.scale(q.shape[-1]), q.dtype in (torch.float32, torch.float64)
        if eager() and wide and q.device.type == "cpu":
            found: Tensor = _Counted.apply(q, k, self.vectors, keep, scale)  # type: ignore[no-untyped-call]
            return found
        return _counted(q, k, self.vectors, keep[..., None, :, :], scale)

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"d_head={self.d_head}, n_positions={self.n_positions}"


def _counted(
    q: Tensor, k: Tensor, vectors: Tensor, keep: Tensor, scale: float
) -> Float[Tensor, "*b n t"]:
    """Return the logits of the counted positions by plain operations."""
    gates = (scale * (q @ k.mT)).sigmoid().masked_fill(~keep, 0)
    wide = torch.promote_types(q.dtype, torch.float32)  # narrow ones lose count
    count = gates.flip(-1).cumsum(-1, dtype=wide).flip(-1).clamp(max=len(vectors) - 1)
    below = count.detach().long().clamp(max=len(vectors) - 2)
    at = q @ vectors.mT
    step = (at[..., 1:] - at[..., :-1]).gather(-1, below)
    return at.gather(-1, below) + (count - below).to(q.dtype) * step


class _Counted(torch.autograd.Function):
    """The same in tiles that stay in the processor's cache, formed again for the gradient."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, vectors: Tensor, keep: Tensor, scale: float
    ) -> Tensor:
        ctx.save_for_backward(q, k, vectors, keep)
        ctx.scale = scale
        out = q.new_empty(*q.shape[:-1], k.shape[-2])
        flat = out.flatten(0, 1)
        for at, some, keys, pairs in _tiles(q, k, keep):
            flat[at] = _counted(some, keys, vectors, pairs, scale)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, vectors, keep = ctx.saved_tensors
        if torch.is_grad_enabled():  # a derivative of this one will be asked for
            again = _counted(q, k, vectors, keep[..., None, :, :], ctx.scale)
            needs = ctx.needs_input_grad[:3]
            asked = [x for x, need in zip((q, k, vectors), needs, strict=True) if need]
            found = iter(torch.autograd.grad(again, asked, grad, create_graph=True))
            return (*(next(found) if need else None for need in needs), None, None)
        slopes = [torch.empty_like(x) for x in (q, k)]
        flat = [x.flatten(0, 1) for x in (*slopes, grad)]
        table = torch.zeros_like(vectors)
        for at, *own in _tiles(q, k, keep):
            flat[0][at], flat[1][at], more = _slopes(own, vectors, flat[2][at], ctx.scale)
            table += more
        shapes = zip(flat, (q, k), strict=False)
        return (*(found.view(x.shape) for found, x in shapes), table, None, None)


def _tiles(q: Tensor, k: Tensor, keep: Tensor) -> Iterator[tuple[Any, ...]]:
    """Yield some heads of some rows at a time: where, queries, keys, pairs."""
    b, h, n, _ = q.shape
    some = max(1, _TILE // max(1, n * k.shape[-2]))
    flat = [x.flatten(0, 1) for x in (q, k)]
    for first in range(0, b * h, some):
        at = slice(first, min(first + some, b * h))
        rows = torch.arange(at.start, at.stop, device=keep.device) // h
        pairs = keep if keep.ndim == 2 else keep.expand(b, -1, -1)[rows]
        yield at, flat[0][at], flat[1][at], pairs


def _slopes(
    own: Sequence[Tensor], vectors: Tensor, grad: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return one tile's part of the gradients of queries, keys and vectors."""
    q, k, keep = own
    last = len(vectors) - 1
    gates = torch.baddbmm(q.new_zeros(()), q, k.mT, beta=0, alpha=scale).sigmoid_()
    gates = gates.masked_fill_(~keep, 0)
    count = gates.flip(-1).cumsum(-1).flip(-1)
    grad = grad.contiguous()
    below = count.clamp(max=last).long().clamp_(max=last - 1)
    at = q @ vectors.mT
    above = grad * (count.clamp(max=last) - below)
    by_place = torch.zeros_like(at).scatter_add_(-1, below, grad - above)
    by_place[..., 1:].scatter_add_(-1, below, above)
    # A gate counts for its own key and all before it.
    slope = (at[..., 1:] - at[..., :-1]).gather(-1, below).mul_(grad)
    slope = slope.masked_fill_(count > last, 0).cumsum(-1)
    slope = slope.mul_(gates).mul_(1 - gates).mul_(scale)
    table = by_place.flatten(0, -2).mT @ q.flatten(0, -2)
    return slope @ k + by_place @ vectors, slope.mT @ q, table
