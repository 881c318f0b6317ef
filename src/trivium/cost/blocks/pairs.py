"""Scores, softmax and weighted values: the part of attention that works on pairs of tokens."""

from dataclasses import dataclass, replace

from trivium.cost.component import Component, product
from trivium.cost.design import Design, Fused, Window
from trivium.cost.mask import Mask
from trivium.cost.size import Kept, Size

__all__ = ["Heads", "softmax_pairs"]


@dataclass(frozen=True, slots=True)
class Heads:
    """Heads of attention and their sizes.

    Args:
        count: h, the heads of the queries.
        groups: g, the heads of keys and values; g divides h.
        key: Size of a query and of a key in each head.
        value: Size of a value in each head.
        dropout: Whether the weights pass a dropout.
        upcast: Whether the softmax is computed in float32 whatever the dtype.
        capped: Whether the scores pass a tanh.
    """

    count: int
    groups: int
    key: int
    value: int
    dropout: bool = False
    upcast: bool = False
    capped: bool = False


def softmax_pairs(
    heads: Heads, mask: Mask, stream: tuple[str, str], design: Design
) -> tuple[Component, ...]:
    """Return scores, softmax and context, written out or in one kernel.

    Args:
        heads: The heads.
        mask: The pairs that are needed.
        stream: Symbols of queries and keys.
        design: `Fused` and `Window` keep no tensor of pairs, and compute the scores again in the
            backward pass.
    """
    queries, keys = stream
    batch: Size = ("b", heads.count)
    pairs: Size = (*batch, "a")
    query, key, value = (
        (*batch, queries, heads.key),
        (*batch, keys, heads.key),
        (*batch, keys, heads.value),
    )
    out = (*batch, queries, heads.value)
    fused = isinstance(design, Fused | Window)
    scores = replace(
        product("scores", "quadratic", batch, (queries,), (heads.key,), (keys,)),
        macs=(*pairs, heads.key),
        reads=(query, key),
        writes=() if fused else (pairs,),
        kept=(Kept(query), Kept(key)),
        cache=heads.groups * heads.key if queries == "n" else 0,
        backward=3 if fused else 2,
        mask=mask,
        stream=stream,
    )
    context = replace(
        product("context", "quadratic", batch, (queries,), (keys,), (heads.value,)),
        macs=(*pairs, heads.value),
        reads=(value,) if fused else (pairs, value),
        writes=(out,),
        kept=(Kept(value), Kept((*batch, queries), "float32")) if fused else (Kept(value),),
        cache=heads.groups * heads.value if queries == "n" else 0,
        mask=mask,
        stream=stream,
    )
    if fused:
        return scores, context
    kept: tuple[Kept, ...] = (Kept(pairs),)
    if heads.upcast:
        kept = (Kept(pairs, "float32"), Kept(pairs, "cast"))
    if heads.dropout:
        kept += (Kept(pairs), Kept(pairs))
    if heads.capped:
        kept += (Kept(pairs),)
    # Scaling, the mask and the softmax, each a pass over all pairs.
    moved: Size = (*pairs, 3 + heads.dropout + 3 * heads.capped)
    softmax = Component(
        "softmax",
        "quadratic",
        "elementwise",
        reads=(moved,),
        writes=(moved,),
        kept=kept,
        mask=mask,
        stream=stream,
    )
    return scores, softmax, context
