"""Softmax attention with its projections, and what a design puts in its place."""

from dataclasses import dataclass, replace
from fractions import Fraction

from trivium._core.errors import ArgumentError
from trivium.cost.blocks.base import Tokens
from trivium.cost.blocks.pairs import Heads, softmax_pairs
from trivium.cost.blocks.state import state_products
from trivium.cost.component import Component, Group, linear
from trivium.cost.design import Design, Fused, Linear, Window
from trivium.cost.mask import Mask
from trivium.cost.run import rotated
from trivium.cost.size import Kept

__all__ = ["SoftmaxAttention"]


@dataclass(frozen=True, slots=True)
class SoftmaxAttention:
    """Queries of h heads against keys of g ≤ h heads; the sizes of a head need not be D/h.

    Args:
        width: D.
        heads: h, and g, and the sizes of a head.
        mask: Which keys a query may see.
        fused: Whether one layer makes queries, keys and values.
        cross: Whether the keys are the encoder's.
        tokens: Which tokens ask.
        fresh: Whether its input is a tensor that nothing else keeps.
        gated: Whether a second query layer gates the output.
    """

    width: int
    heads: Heads
    mask: Mask
    fused: bool = False
    cross: bool = False
    tokens: Tokens = "n"
    fresh: bool = True
    gated: bool = False

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return projections, and scores and values or a state.

        Raises:
            ArgumentError: The heads of the design are no integer number.
        """
        stream = (self.tokens, "e" if self.cross or self.tokens == "e" else "s")
        if isinstance(design, Linear) and not self.cross:
            heads = _scaled(self.heads, design)
            core = state_products(heads, design, self.tokens, causal=self.mask.kind == "causal")
        else:
            heads = self.heads
            mask = self.mask
            if isinstance(design, Window) and not self.cross:
                mask = _narrowed(mask, design.window)
            core = softmax_pairs(heads, mask, stream, design)
        if heads.rotary and (self.fused or heads.rotary < heads.key):
            # What queries and keys were made from is alive beside them.
            copies = (
                Kept(("b", self.tokens, heads.count * heads.key)),
                Kept(("b", self.tokens, heads.groups * heads.key)),
            )
            core = tuple(
                replace(part, live=(*part.live, *copies)) if part.live is not None else part
                for part in core
            )
            if self.fused and isinstance(design, Fused):
                # The values are a part of the layer's result, and keep the whole of it.
                *others, context = core
                whole = Kept((*copies[0].size[:2], self._made(heads)))
                core = (*others, replace(context, kept=(whole, *context.kept[1:])))
        return (*self._entry(heads), *core, self._exit(heads))

    def _entry(self, heads: Heads) -> tuple[Component, ...]:
        tokens = ("b", self.tokens)
        source = ("b", "e") if self.cross else tokens
        query = heads.count * heads.key * (2 if self.gated else 1)
        key, value = heads.groups * heads.key, heads.groups * heads.value
        make: Group = "projections"
        turn_query = rotated((*tokens, heads.count), heads.rotary)
        turn_key = rotated((*source, heads.groups), heads.rotary)
        if self.fused:
            total = self._made(heads)
            whole = linear("query, key, value", make, tokens, self.width, total, kept=self.fresh)
            return (replace(whole, runs=turn_query + turn_key),)
        asked = linear("query", make, tokens, self.width, query, kept=self.fresh)
        found = linear("key", make, source, self.width, key, kept=False, once=self.cross)
        return (
            replace(asked, runs=turn_query),
            replace(found, runs=turn_key),
            linear("value", make, source, self.width, value, kept=False, once=self.cross),
        )

    def _made(self, heads: Heads) -> int:
        """Numbers that one layer for queries, keys and values makes of a token."""
        return heads.count * heads.key * (1 + self.gated) + heads.groups * (heads.key + heads.value)

    def _exit(self, heads: Heads) -> Component:
        inner = heads.count * heads.value
        return linear("output", "projections", ("b", self.tokens), inner, self.width)


def _narrowed(mask: Mask, window: int) -> Mask:
    window = window if mask.window is None else min(window, mask.window)
    return replace(mask, window=window, kernel="banded")


def _scaled(heads: Heads, design: Linear) -> Heads:
    """Return the heads of a linear design, in integers or not at all."""
    count, groups = Fraction(design.heads) * heads.count, Fraction(design.heads) * heads.groups
    sizes = [Fraction(design.head_dim) * size for size in (heads.key, heads.value)]
    found = {"heads": count, "key heads": groups, "keys of": sizes[0], "values of": sizes[1]}
    for name, size in found.items():
        if size.denominator != 1:
            raise ArgumentError(
                f"attention: {design} must give whole sizes; got {name} {size} from "
                f"{heads.count} heads, {heads.groups} of keys, of {heads.key}"
            )
    return replace(
        heads, count=int(count), groups=int(groups), key=int(sizes[0]), value=int(sizes[1])
    )
