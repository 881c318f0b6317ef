"""A mixture of experts: a router, the chosen experts, the shared ones."""

from dataclasses import dataclass

from trivium.cost.blocks.base import Tokens
from trivium.cost.blocks.feed_forward import FeedForward, feed_forward
from trivium.cost.component import Component, linear
from trivium.cost.design import Design

__all__ = ["Experts"]


@dataclass(frozen=True, slots=True)
class Experts:
    """Each token passes through `top` of the experts, and through the shared layer.

    Args:
        expert: The sizes of one expert.
        experts: How many there are.
        top: How many a token passes through.
        shared: The layer that every token passes through, or `None`.
        shared_gate: Whether one number for each token scales the shared layer.
        tokens: Which tokens.
    """

    expert: FeedForward
    experts: int
    top: int
    shared: FeedForward | None = None
    shared_gate: bool = False
    tokens: Tokens = "n"

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the router, the experts and the shared layer."""
        tokens = ("b", self.tokens)
        chosen = (*tokens, self.top)
        width = self.expert.width
        parts = [linear("router", "router", tokens, width, self.experts)]
        parts += feed_forward(self.expert, chosen, "ffn", "expert ", self.experts)
        if self.shared is not None:
            parts += feed_forward(self.shared, tokens, "ffn", "shared ")
        if self.shared_gate:
            parts.append(linear("shared gate", "router", tokens, width, 1, kept=False))
        return tuple(parts)
