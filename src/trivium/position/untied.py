"""TUPE: positions meet positions by projections of their own, apart from the content."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.position.base import Offset, Position
from trivium.position.buckets import Buckets
from trivium.position.offsets import by_offset
from trivium.position.tabulated import check_places

__all__ = ["Untied"]


class Untied(Position):
    r"""$\frac{1}{\sqrt{2d}} q_i^\top k_j + \frac{1}{\sqrt{2d}} (U_Q p_i)^\top (U_K p_j) + b_{i-j}$.

    p are learned vectors of the positions behind a layer norm, b an offset bias (TUPE-R). With
    `cls`, whatever stands at position 0 is the token of the whole: what positions add is one
    learned number in its row, $\theta_1$, and another in its column, $\theta_2$, for each head.

    Args:
        d_model: Dimension of p.
        n_heads: Heads h.
        d_head: Dimension d of queries and keys; d_model / h by default.
        max_length: Positions in the table.
        cls: Whether row and column of position 0 are reset.
        relative: The offset bias b, `Buckets(n_heads)` as published; none by default (TUPE-A).

    Raises:
        ArgumentError: A size that is not positive, heads that do not divide, a `relative` that is
            no `Offset`; a position outside the table, when called.

    Cost:
        O((n + t) d_model h d + h n t d), for all rows at once where they share the positions.

    Example:
        >>> from trivium.attention import Attention
        >>> from trivium.position import Buckets
        >>> tupe = Untied(8, 2, max_length=16, relative=Buckets(2))
        >>> Attention(8, 2, position=tupe, causal=False)(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])

    Source:
        Ke et al., Rethinking Positional Encoding in Language Pre-training, ICLR (2021), eqs.
        7-10.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_head: int | None = None,
        max_length: int = 512,
        *,
        cls: bool = True,
        relative: Offset | None = None,
    ) -> None:
        super().__init__()
        sizes = {"d_model": d_model, "n_heads": n_heads, "max_length": max_length}
        m, h, self.max_length = (
            int(check_number("Untied", name, value, "positive", integer=True))
            for name, value in sizes.items()
        )
        if d_head is None and m % h:
            raise ArgumentError(
                f"Untied: n_heads must divide d_model, {m}; got {h}", remedy="Or give d_head."
            )
        given = m // h if d_head is None else d_head
        d = int(check_number("Untied", "d_head", given, "positive", integer=True))
        if relative is not None and not isinstance(relative, Offset):
            raise ArgumentError(f"Untied: relative must be an Offset; got {relative!r}")
        self.n_heads, self.d_head, self.cls, self.relative = h, d, bool(cls), relative
        self.causal_only = relative is not None and relative.causal_only
        self.table = nn.Parameter(torch.randn(self.max_length, m) * 0.02)
        self.norm = nn.LayerNorm(m)
        self.by_query = nn.Parameter(torch.randn(h, d, m) * 0.02)
        self.by_key = nn.Parameter(torch.randn(h, d, m) * 0.02)
        if self.cls:
            self.from_cls = nn.Parameter(torch.zeros(h))
            self.to_cls = nn.Parameter(torch.zeros(h))

    @classmethod
    def examples(cls) -> Sequence["Untied"]:
        """Return small instances: as published, without reset, with weights that can be seen."""
        found = (
            cls(8, 2, max_length=24, relative=Buckets(2, 8, 10)),
            cls(6, 2, 4, max_length=24, cls=False),
        )
        for one in found:
            for value in one.parameters():
                nn.init.normal_(value, std=0.5)
        return found

    def scale(self, d: int) -> float:
        """Return 1/√(2 d)."""
        return float((2 * d) ** -0.5)

    def _vectors(self, at: Tensor, weight: Tensor) -> Float[Tensor, "*b h n d"]:
        """Return the positions as each head's queries or keys."""
        check_places("Untied", at, self.max_length)
        p = self.norm(nn.functional.embedding(at, self.table))
        return p[..., None, :, :] @ weight.mT

    def score(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h t d"],
        i: Int[Tensor, "*i n"],
        j: Int[Tensor, "*j t"],
        keep: Bool[Tensor, "*k n t"],
    ) -> Tensor | None:
        """Return what positions add, `(h, n, t)` or `(b, h, n, t)`.

        Raises:
            ArgumentError: A position outside the table.
        """
        p, r = (
            self._vectors(i, self.by_query * self.scale(self.d_head)),
            self._vectors(j, self.by_key),
        )
        bias = p @ r.mT
        if self.relative is not None:
            bias = bias + by_offset(self.relative.curve, i, j, q.shape[1]).to(bias.dtype)
        if self.cls:
            bias = torch.where((j == 0)[..., None, None, :], self.to_cls[:, None, None], bias)
            bias = torch.where((i == 0)[..., None, :, None], self.from_cls[:, None, None], bias)
        return bias

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"n_heads={self.n_heads}, d_head={self.d_head}, max_length={self.max_length}"
