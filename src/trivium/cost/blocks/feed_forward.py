"""The feed-forward layer, plain or gated."""

from dataclasses import dataclass, replace

from trivium.cost.blocks.base import Tokens
from trivium.cost.component import Component, Group, elementwise, linear
from trivium.cost.design import Design
from trivium.cost.run import Run
from trivium.cost.size import Kept, Size

__all__ = ["ACTIVATIONS", "FeedForward", "feed_forward"]

# Tensors that an activation keeps beside its result, as transformers computes it.
ACTIVATIONS = {
    "gelu": 1,
    "gelu_pytorch_tanh": 1,
    "gelu_new": 4,
    "quick_gelu": 2,
    "relu": 0,
    "relu2": 1,
    "silu": 1,
    "swish": 1,
    "tanh": 0,
}
# Tensors alive at once while it is computed, forward and backward, where it is no single kernel.
ALIVE = {"gelu_new": (4, 3), "quick_gelu": (3, 3), "relu2": (3, 4)}
# Passes around the kernel where an activation is written out.
_PASSES = {"gelu_new": 7, "quick_gelu": 2}


@dataclass(frozen=True, slots=True)
class FeedForward:
    """up, activation, down: 2·D·F multiply-adds a token; gated: 3·D·F.

    Args:
        width: D.
        inner: F.
        activation: Its name, a key of `ACTIVATIONS`, or another: then it counts as "gelu".
        gated: Whether a second layer to F multiplies the activation.
        fused: Whether the two layers to F are one.
        dropout: Whether the inner vectors pass a dropout.
        tokens: Which tokens.
        fresh: Whether its input is a tensor that nothing else keeps.
    """

    width: int
    inner: int
    activation: str = "gelu"
    gated: bool = False
    fused: bool = False
    dropout: bool = False
    tokens: Tokens = "n"
    fresh: bool = True

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the layers and the activation between them."""
        return feed_forward(self, ("b", self.tokens), "ffn")


def feed_forward(
    layer: FeedForward, tokens: Size, group: Group, prefix: str = "", experts: int = 0
) -> tuple[Component, ...]:
    """Return the components of a feed-forward layer over some vectors.

    Args:
        layer: Its sizes.
        tokens: How many vectors pass through it.
        group: The group to count it in.
        prefix: What its names begin with.
        experts: How many such layers there are to choose from; 0 for no choice.
    """
    width, inner = layer.width, layer.inner
    entry = (
        [("gate and up", 2 * inner)]
        if layer.gated and layer.fused
        else [("gate", inner), ("up", inner)]
        if layer.gated
        else [("up", inner)]
    )
    parts = [
        linear(
            prefix + name, group, tokens, width, out, kept=layer.fresh and i == 0, experts=experts
        )
        for i, (name, out) in enumerate(entry)
    ]
    size = (*tokens, inner)
    inside = ACTIVATIONS.get(layer.activation, 1)
    # The product of the gate keeps both factors; a dropout its own factors and its input's place.
    tensors = inside + 2 * layer.gated + layer.dropout
    # ReLU and tanh keep their result, which is the next layer's input unless dropout is between.
    result = inside == 0 and not layer.gated
    tensors += result
    kept = (Kept(size),) * tensors
    runs = _function(layer.activation, size)
    if layer.gated:
        runs += (Run("pass", (*size, 2), size),)
    passes = 1 + layer.gated + layer.dropout
    activation = elementwise(
        f"{prefix}activation", group, size, passes=passes, kept=kept, runs=runs
    )
    # A gate that is one layer with the other half stays whole.
    own = 2 + layer.gated * (1 + layer.fused)
    live, back = ALIVE.get(layer.activation, (2, 2))
    parts.append(
        replace(
            activation,
            live=(Kept(size),) * max(live, own),
            back=(Kept(size),) * max(back, 2 + layer.gated),
        )
    )
    kept_below = layer.dropout or not result
    parts.append(
        linear(f"{prefix}down", group, tokens, inner, width, kept=kept_below, experts=experts)
    )
    return tuple(parts)


def _function(name: str, size: Size) -> tuple[Run, ...]:
    """Return what an activation runs: one kernel, or as many passes as transformers writes."""
    if name in ("relu", "relu2"):
        return (Run("pass", size, size),) * (1 + (name == "relu2"))
    kernel = (Run("activation", size, size),)
    passes = _PASSES.get(name, 0)
    return (*kernel, Run("pass", (*size, passes), (*size, passes), passes)) if passes else kernel
