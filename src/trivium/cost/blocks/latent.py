"""Latent attention (MLA): keys and values from one small vector of each token."""

from dataclasses import dataclass, replace

from trivium._core.errors import ArgumentError
from trivium.cost.blocks.norm import Norm
from trivium.cost.blocks.pairs import Heads, softmax_pairs
from trivium.cost.blocks.state import state_products
from trivium.cost.component import Component, linear
from trivium.cost.design import Design, Linear, Window
from trivium.cost.mask import Mask

__all__ = ["LatentAttention"]


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Attention whose keys and values are unfolded from a latent vector, which is what is cached.

    Args:
        width: D.
        heads: Heads; `key` is the part without position plus the rotary part.
        latent: Size of the latent vector of keys and values.
        rotary: Size of the rotary part of a key, one for all heads.
        query_latent: Size of the latent vector of queries, or `None` for one layer.
        mask: Which keys a query may see.
    """

    width: int
    heads: Heads
    latent: int
    rotary: int
    query_latent: int | None
    mask: Mask

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return projections, and scores and values or a state.

        Raises:
            ArgumentError: A linear design changes the heads, which the latent vector fixes.
        """
        unfolded = self.heads.count * (self.heads.key - self.rotary + self.heads.value)
        unfold = linear("key, value up", "projections", ("b", "n"), self.latent, unfolded)
        if isinstance(design, Linear):
            if (design.heads, design.head_dim) != (1, 1):
                raise ArgumentError(
                    f"attention: {design} must keep the heads of latent attention; "
                    "use linear without h and d"
                )
            core = state_products(self.heads, design, "n", causal=True)
        else:
            mask = self.mask
            if isinstance(design, Window):
                mask = replace(mask, window=design.window, kernel="banded")
            # The cache holds latent vectors, so each pass unfolds those of all keys.
            unfold = replace(
                unfold,
                mask=mask,
                m=("b", "s"),
                macs=("b", "s", self.latent, unfolded),
                reads=(("b", "s", self.latent),),
                writes=(("b", "s", unfolded),),
                cache=self.latent + self.rotary,
            )
            core = tuple(
                replace(part, cache=0, step=None)
                for part in softmax_pairs(self.heads, mask, ("n", "s"), design)
            )
        inner = self.heads.count * self.heads.value
        out = linear("output", "projections", ("b", "n"), inner, self.width)
        return (*self._entry(design), unfold, *core, out)

    def _entry(self, design: Design) -> tuple[Component, ...]:
        heads, tokens = self.heads, ("b", "n")
        query = heads.count * heads.key
        parts: list[Component] = []
        if self.query_latent is None:
            parts.append(linear("query", "projections", tokens, self.width, query))
        else:
            low = self.query_latent
            parts.append(linear("query down", "projections", tokens, self.width, low))
            parts += Norm("rms", low, name="query norm").components(design)
            parts.append(linear("query up", "projections", tokens, low, query))
        small = self.latent + self.rotary
        parts.append(
            linear("key, value down", "projections", tokens, self.width, small, kept=False)
        )
        parts += Norm("rms", self.latent, name="latent norm").components(design)
        return tuple(parts)
