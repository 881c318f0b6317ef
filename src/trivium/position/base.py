"""The interface of position encodings: five hooks of an attention layer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_choice
from trivium.position.offsets import by_offset

__all__ = ["Added", "NoPosition", "Offset", "Position"]


class Position(nn.Module):
    r"""What an attention layer asks of a position encoding; itself it encodes nothing (NoPE).

    The layer computes $\mathrm{softmax}(s\, q_i^\top k_j + \mathrm{bias}_{ij})\, v_j$ with
    `embed` applied to its input, `query` and `key` to what it projects, `score` giving the bias
    and `value` adding to the output. A member overrides the hooks that it needs, and has
    `examples()` that fit `d_model=8, n_heads=2, d_head=4`.

    Positions i (queries) and j (keys) are whole numbers and always explicit: `[n]` is one run of
    consecutive positions that all rows share, `[b, n]` anything else. The hooks see queries and
    keys with all heads, `[b, h, n, d]`; keys of grouped heads come with fewer heads in `key`,
    which therefore treats every head alike.

    Attributes:
        refresh: Keys change with the length of the row (dynamic scaling): the cache keeps keys
            before `key`, and applies it at every call.
        causal_only: The encoding means something in causal layers only.
        bidirectional_only: The encoding looks at later tokens, and cannot stand in causal layers.
        weighted: `value` adds something, so the layer must form the attention weights; true of a
            class that overrides it, unless that says otherwise.
        scored: `score` adds something; likewise.
        by_scale: `score` multiplies by `scale`, which no other encoding may then set.
        mixing: `embed` lets a token see its neighbors: it is told the position −1 for padding.
        stationary: Nothing changes when all positions move by the same number.

    Example:
        >>> import torch
        >>> from trivium.attention import Attention
        >>> from trivium.position import Offset
        >>> class Nearness(Offset):  # an encoding of one's own
        ...     def curve(self, r):
        ...         return -r.abs()[..., None] * torch.tensor([0.5, 0.1])
        >>> Attention(8, 2, position=Nearness())(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    refresh = False
    causal_only = False
    bidirectional_only = False
    weighted = False
    scored = False
    by_scale = False
    mixing = False
    stationary = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Declare the hooks of a new class, so that none is passed over in silence."""
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        for hook, flag in (("score", "scored"), ("value", "weighted")):
            if hook in own and flag not in own:
                setattr(cls, flag, True)

    @classmethod
    def examples(cls) -> Sequence["Position"]:
        """Return a few small instances for conformance tests and the catalog."""
        return (cls(),)

    def join(self, projection: nn.Linear, n_kv_heads: int) -> None:
        """Be told of a layer that uses this encoding, when it is made.

        Args:
            projection: From tokens to the queries of all heads, then keys, then values.
            n_kv_heads: Heads of keys.
        """

    def embed(self, x: Float[Tensor, "b n m"], i: Int[Tensor, "*b n"]) -> Float[Tensor, "b n m"]:
        """Return the tokens with their positions i put into them."""
        return x

    def query(
        self, q: Float[Tensor, "b h n d"], i: Int[Tensor, "*b n"]
    ) -> Float[Tensor, "b h n e"]:
        """Return the queries at positions i."""
        return q

    def key(self, k: Float[Tensor, "b h t d"], j: Int[Tensor, "*b t"]) -> Float[Tensor, "b h t e"]:
        """Return the keys at positions j; called once for a token, whose key is then cached."""
        return k

    def score(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h t d"],
        i: Int[Tensor, "*i n"],
        j: Int[Tensor, "*j t"],
        keep: Bool[Tensor, "*k n t"],
    ) -> Tensor | None:
        """Return what is added to the scaled logits, `(b, h, n, t)` or broadcast to it.

        Args:
            q: Queries, after `query`.
            k: Keys, after `key`, with as many heads as the queries.
            i: Positions of the queries.
            j: Positions of the keys.
            keep: Which query attends to which key: `(n, t)` or `(b, n, t)`.

        Returns:
            The bias, or `None` for none: the layer takes the fused path.
        """
        return None

    def value(
        self,
        weights: Float[Tensor, "b h n t"],
        i: Int[Tensor, "*i n"],
        j: Int[Tensor, "*j t"],
    ) -> Tensor | None:
        """Return what is added to the output of each head, `(b, h, n, v)`; `None` for nothing."""
        return None

    def width(self, d: int) -> int:
        """Return the dimension of keys after `key`, from their dimension d before it."""
        return d

    def scale(self, d: int) -> float:
        """Return the factor of queries times keys of dimension d: 1/√d."""
        return d**-0.5


class NoPosition(Position):
    """No position encoding: a causal layer still knows the order, by what it can see.

    Source:
        Kazemnejad et al., The Impact of Positional Encoding on Length Generalization in
        Transformers, NeurIPS (2023).
    """

    stationary = True


class Added(Position, ABC):
    """An encoding that puts a vector for each position into the tokens.

    Args:
        merge: `"add"` for x + p, `"multiply"` for x · (1 + p).

    Raises:
        ArgumentError: `merge` is neither.
    """

    def __init__(self, merge: str = "add") -> None:
        super().__init__()
        self.merge = check_choice(type(self).__name__, "merge", merge, ("add", "multiply"))

    @abstractmethod
    def vectors(self, i: Int[Tensor, "*b n"]) -> Float[Tensor, "*b n m"]:
        """Return the vector of each position."""

    def embed(self, x: Float[Tensor, "b n m"], i: Int[Tensor, "*b n"]) -> Float[Tensor, "b n m"]:
        """Return x + p or x · (1 + p)."""
        p = self.vectors(i).to(x.dtype)
        return x + p if self.merge == "add" else x * (1 + p)


class Offset(Position, ABC):
    """An encoding that adds a function of the offset r = i − j to the logits, for each head.

    A member needs `curve` alone; the layer evaluates it once for each offset and never forms a
    matrix of offsets where positions are consecutive.
    """

    scored = True
    stationary = True

    @abstractmethod
    def curve(self, r: Int[Tensor, "*r"]) -> Float[Tensor, "*r h"]:
        """Return the bias at each offset r = i − j, with one value for each head, or for all.

        Args:
            r: Offsets, of any axes.
        """

    def score(self, q: Tensor, k: Tensor, i: Tensor, j: Tensor, keep: Tensor) -> Tensor | None:
        """Return the curve at i − j, `(h, n, t)` or `(b, h, n, t)`."""
        return by_offset(self.curve, i, j, q.shape[1]).to(q.dtype)


def per_head(table: Tensor, i: Tensor) -> Any:
    """Return a table of positions `(*b, n, d)` as it broadcasts over heads, `(*b, 1, n, d)`."""
    return table.unsqueeze(-3) if i.ndim == 2 else table
