"""The state of linear attention: built from keys and values, read by queries."""

from dataclasses import replace

from trivium.cost.blocks.base import Tokens
from trivium.cost.blocks.pairs import Heads
from trivium.cost.component import Component, elementwise, product
from trivium.cost.design import Linear
from trivium.cost.mask import Mask
from trivium.cost.run import Run
from trivium.cost.size import Kept, Size

__all__ = ["state_products"]


def state_products(
    heads: Heads, design: Linear, tokens: Tokens, *, causal: bool
) -> tuple[Component, ...]:
    """Return the features, the state Σ φ(k)vᵀ and its read-out φ(q)ᵀS.

    Args:
        heads: The heads, scaled by the design already.
        design: Its features and its chunk.
        tokens: Which tokens.
        causal: Whether a query sees only what came before: then a chunk adds its own pairs.
    """
    r = heads.key * design.features
    operator = "causal linear attention" if causal else "linear attention"
    one, many = ("b", heads.groups), ("b", heads.count)
    size = heads.groups * r * heads.value
    mapped: Size = ("b", tokens, (heads.count + heads.groups) * r)
    features = elementwise("features", "state", mapped, passes=2, kept=(Kept(mapped),), runs=())
    values: Size = (*one, tokens, heads.value)
    build = replace(
        product("state update", "state", one, (r,), (tokens,), (heads.value,), (Kept(values),)),
        state=size + heads.groups * r if tokens == "n" else 0,
    )
    read = product("read-out", "state", many, (tokens,), (r,), (heads.value,))
    # One function computes both, with as many keys as queries; its chunks are in its rate.
    every = product("state update", "state", many, (r,), (tokens,), (heads.value,))
    build = replace(build, calls=0)
    read = replace(read, operator=operator, joined=(every,), runs=_repeated(heads, tokens))
    parts = [features, build, read]
    if causal and design.chunk is not None:
        mask = Mask("causal", design.chunk, "chunked")
        stream = (tokens, "e" if tokens == "e" else "s")
        pairs: Size = (*many, "a")
        inner = product("scores in chunks", "state", many, (tokens,), (r,), (stream[1],))
        outer = product("values in chunks", "state", many, (tokens,), (stream[1],), (heads.value,))
        parts += [
            replace(inner, macs=(*pairs, r), writes=(pairs,), mask=mask, stream=stream, calls=0),
            replace(
                outer,
                macs=(*pairs, heads.value),
                reads=(pairs, (*many, tokens, heads.value)),
                mask=mask,
                stream=stream,
                calls=0,
            ),
        ]
    return tuple(parts)


def _repeated(heads: Heads, tokens: Tokens) -> tuple[Run, ...]:
    """Return the copies that make heads of keys and values as many as those of queries."""
    if heads.groups == heads.count:
        return ()
    both = heads.key + heads.value
    few, many = ("b", heads.groups, tokens, both), ("b", heads.count, tokens, both)
    return (Run("pass", few, many, 2),)
