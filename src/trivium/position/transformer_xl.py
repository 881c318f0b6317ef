"""Transformer-XL and XLNet: a projected sinusoid of the offset, and two learned queries."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.position.base import Position
from trivium.position.offsets import is_run, run_of_offsets
from trivium.position.skew import by_row

__all__ = ["TransformerXL"]

_BASE = 10_000.0


class TransformerXL(Position):
    r"""$[(q_i + u)^\top k_j + (q_i + v)^\top W_R R_{i-j}] / \sqrt d$.

    $R_r = [\sin r\theta, \cos r\theta]$ of dimension `d_model`; u, v and $W_R$ are learned, for
    each head. The published shift of a matrix is right in causal layers only; here the offsets
    are explicit, so `bidirectional=True`, which is XLNet, is as right.

    Args:
        d_model: Dimension of R, even.
        n_heads: Heads h.
        d_head: Dimension d of queries and keys; d_model / h by default.
        bidirectional: Whether the encoding may stand in a layer that is not causal.

    Raises:
        ArgumentError: A size that is not positive, heads that do not divide, an odd `d_model`.

    Cost:
        O((n + t) d_model h d + b h n t d) for consecutive positions, half of the second where
        causal; O(b h n t d_model) for others.

    Example:
        >>> from trivium.attention import Attention
        >>> layer = Attention(8, 2, position=TransformerXL(8, 2))
        >>> layer(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])

    Source:
        Dai et al., Transformer-XL, ACL (2019), section 3.3; Yang et al., XLNet, NeurIPS (2019).
    """

    stationary = True
    by_scale = True

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_head: int | None = None,
        *,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"d_model": d_model, "n_heads": n_heads}
        m, h = (
            int(check_number("TransformerXL", name, value, "positive", integer=True))
            for name, value in sizes.items()
        )
        if m % 2:
            raise ArgumentError(f"TransformerXL: d_model must be even, sines and cosines; got {m}")
        if d_head is None and m % h:
            raise ArgumentError(
                f"TransformerXL: n_heads must divide d_model, {m}; got {h}",
                remedy="Or give d_head.",
            )
        given = m // h if d_head is None else d_head
        d = int(check_number("TransformerXL", "d_head", given, "positive", integer=True))
        self.d_model, self.n_heads, self.d_head = m, h, d
        self.bidirectional = bool(bidirectional)
        self.causal_only = not self.bidirectional
        self.content = nn.Parameter(torch.randn(h, d) * 0.02)
        self.offset = nn.Parameter(torch.randn(h, d) * 0.02)
        self.weight = nn.Parameter(torch.randn(h, d, m) * 0.02)

    @classmethod
    def examples(cls) -> Sequence["TransformerXL"]:
        """Return small instances, causal and not, with weights that can be seen."""
        found = (cls(8, 2), cls(6, 2, 4, bidirectional=True))
        for one in found:
            one.weight.data.mul_(20)
            one.offset.data.mul_(20)
        return found

    def query(
        self, q: Float[Tensor, "b h n d"], i: Int[Tensor, "*b n"]
    ) -> Float[Tensor, "b h n d"]:
        """Return q + u."""
        return q + self.content[:, None]

    def score(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h t d"],
        i: Int[Tensor, "*i n"],
        j: Int[Tensor, "*j t"],
        keep: Bool[Tensor, "*k n t"],
    ) -> Tensor | None:
        """Return (q + v) · W_R R_r, scaled; q comes with u added."""
        own = (q + (self.offset - self.content)[:, None]) * self.scale(q.shape[-1])
        if is_run(i, j):
            sines, cosines = self._codes(run_of_offsets(i, j), q)
            run = torch.cat((sines, cosines), -1) @ self.weight.mT
            return by_row(own, run, None, None, i.shape[-1], keep)
        # sin and cos of a difference are products: no row of R for each pair.
        by_sine, by_cosine = (own @ self.weight).chunk(2, -1)
        (sin_i, cos_i), (sin_j, cos_j) = self._codes(i, q), self._codes(j, q)
        if i.ndim == 2:
            sin_i, cos_i = sin_i[:, None], cos_i[:, None]
        if j.ndim == 2:
            sin_j, cos_j = sin_j[:, None], cos_j[:, None]
        turned = (by_sine * sin_i + by_cosine * cos_i, by_cosine * sin_i - by_sine * cos_i)
        return torch.cat(turned, -1) @ torch.cat((cos_j, sin_j), -1).mT

    def _codes(self, at: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return sin and cos of places times frequencies, exact before they are narrowed."""
        half = torch.arange(0, self.d_model, 2, dtype=torch.float64, device=at.device)
        angles = at[..., None] * _BASE ** (-half / self.d_model)
        return angles.sin().to(like.dtype), angles.cos().to(like.dtype)

    def extra_repr(self) -> str:
        """Say the sizes."""
        sizes = f"d_model={self.d_model}, n_heads={self.n_heads}, d_head={self.d_head}"
        return f"{sizes}, bidirectional={self.bidirectional}"
