"""Layers that are linear attention by birth, such as lightning attention."""

from dataclasses import dataclass

from trivium.cost.blocks.norm import Norm
from trivium.cost.blocks.pairs import Heads
from trivium.cost.blocks.state import state_products
from trivium.cost.component import Component, linear
from trivium.cost.design import Design, Linear

__all__ = ["GatedLinearAttention"]


@dataclass(frozen=True, slots=True)
class GatedLinearAttention:
    """Linear attention over chunks, its output normalized and gated; no design replaces it.

    In mode "train" the state of the last chunk counts with its backward products, which autograd
    leaves out where no later chunk reads it.

    Args:
        width: D.
        heads: Heads.
        chunk: Tokens of a chunk.
    """

    width: int
    heads: Heads
    chunk: int

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return projections, state, pairs within chunks, gate and output."""
        tokens, heads = ("b", "n"), self.heads
        inner = heads.count * heads.value
        total = heads.count * heads.key + heads.groups * (heads.key + heads.value)
        core = state_products(heads, Linear(chunk=self.chunk), "n", causal=True)
        return (
            linear("query, key, value", "projections", tokens, self.width, total),
            *core,
            *Norm("rms", inner, name="output norm").components(design),
            linear("output gate", "projections", tokens, self.width, inner, kept=False),
            linear("output", "projections", tokens, inner, self.width),
        )
