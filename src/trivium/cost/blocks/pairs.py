"""Scores, softmax and weighted values: the part of attention that works on pairs of tokens."""

from dataclasses import dataclass, replace

from trivium.cost.component import Component, product
from trivium.cost.design import Design, Fused, Window
from trivium.cost.mask import Mask
from trivium.cost.run import Run
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
        rotary: Numbers of a query and of a key that turn by their position.
    """

    count: int
    groups: int
    key: int
    value: int
    dropout: bool = False
    upcast: bool = False
    capped: bool = False
    rotary: int = 0


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
    few = ("b", heads.groups, keys)
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
        calls=0 if fused else 1,
        runs=() if fused else _apart(heads, few, query, key),
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
        operator="attention" if fused else "",
        joined=(scores,) if fused else (),
        # The heads of a token are put side by side again.
        runs=_fused_softmax(mask, pairs)
        if fused
        else (*_apart(heads, few, value), Run("pass", out, out)),
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
        runs=_passes(heads, mask, pairs),
    )
    return scores, softmax, context


def _fused_softmax(mask: Mask, pairs: Size) -> tuple[Run, ...]:
    """Return the softmax within the kernel; a causal kernel leaves out about half of the pairs."""
    halved = mask.kind == "causal" and mask.window is None
    return (Run("softmax", pairs, (0,) if halved else pairs, fresh=False),)


def _apart(heads: Heads, few: Size, *operands: Size) -> tuple[Run, ...]:
    """Return the copies that make heads of keys or values as many as there are, or whole."""
    if heads.groups != heads.count:
        read = (*few, operands[-1][-1])
        return (Run("pass", read, operands[-1]),)
    return tuple(Run("pass", each, each, batched=True) for each in operands)


def _passes(heads: Heads, mask: Mask, pairs: Size) -> tuple[Run, ...]:
    """Return scaling, cap, mask and softmax; an encoder whose rows are whole has no mask."""
    many = 1 + 2 * heads.capped + (mask.kind == "causal" or mask.window is not None)
    runs: tuple[Run, ...] = (Run("pass", (*pairs, many), (*pairs, many), many),)
    if heads.capped:
        runs += (Run("activation", pairs, pairs),)
    return (*runs, Run("softmax", pairs, pairs))
