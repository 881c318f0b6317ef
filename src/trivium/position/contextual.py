"""CoPE: positions counted by the content, how many gates are open between key and query."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.position.base import Position

__all__ = ["Contextual"]


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
        O(b h n t d) time, and O(b h n t) memory.

    Example:
        >>> from trivium.attention import Attention
        >>> layer = Attention(8, 2, position=Contextual(d_head=4, n_positions=6))
        >>> layer(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])

    Source:
        Golovneva et al., Contextual Position Encoding: Learning to Count What's Important (2024),
        eqs. 3-6, and the listing in its appendix.
    """

    scored = True
    stationary = True
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
        gates = (self.scale(q.shape[-1]) * (q @ k.mT)).sigmoid()
        gates = gates.masked_fill(~keep[..., None, :, :], 0)
        wide = torch.promote_types(q.dtype, torch.float32)  # narrow ones lose count
        count = gates.flip(-1).cumsum(-1, dtype=wide).flip(-1).clamp(max=self.n_positions - 1)
        below = count.detach().long().clamp(max=self.n_positions - 2)
        at = q @ self.vectors.mT
        step = (at[..., 1:] - at[..., :-1]).gather(-1, below)
        return at.gather(-1, below) + (count - below).to(q.dtype) * step

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"d_head={self.d_head}, n_positions={self.n_positions}"
