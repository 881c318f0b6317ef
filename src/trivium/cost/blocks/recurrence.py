"""Layers that are linear attention by birth, such as lightning attention."""

from dataclasses import dataclass, replace

from trivium.cost.blocks.norm import Norm
from trivium.cost.blocks.pairs import Heads
from trivium.cost.blocks.state import state_products
from trivium.cost.component import Component, linear
from trivium.cost.design import Design, Linear
from trivium.cost.mask import Mask

__all__ = ["GatedLinearAttention"]


@dataclass(frozen=True, slots=True)
class GatedLinearAttention:
    """Linear attention over chunks, its output normalized and gated; no design replaces it.

    Autograd leaves out what no loss depends on: the state behind the last chunk, which nothing
    reads, has no backward pass, and the state before the first, which is zero, no gradient.

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
        features, build, read, *pairs = state_products(
            heads, Linear(chunk=self.chunk), "n", causal=True
        )
        mask = Mask("causal", self.chunk, "chunked")
        state = heads.key * heads.value
        build = replace(build, mask=mask, spared=("b", heads.groups, "l", 2 * state))
        read = replace(read, mask=mask, spared=("b", heads.count, "c", state), joined=(build,))
        core = (features, build, read, *pairs)
        return (
            linear("query, key, value", "projections", tokens, self.width, total),
            *core,
            *Norm("rms", inner, name="output norm").components(design),
            linear("output gate", "projections", tokens, self.width, inner, kept=False),
            linear("output", "projections", tokens, inner, self.width),
        )
