"""Vision: ViT and DeiT, an encoder over the patches of an image."""

from collections.abc import Callable
from functools import partial
from typing import Any

from trivium.cost.blocks import (
    Block,
    Convolution,
    FeedForward,
    Norm,
    Pooled,
    Residual,
    SoftmaxAttention,
)
from trivium.cost.blocks.pairs import Heads
from trivium.cost.fields import Fields
from trivium.cost.mask import Mask
from trivium.cost.shape import Layer, Stack, TransformerShape

__all__ = ["MODEL_TYPES"]


def _sides(fields: Fields, name: str, default: int) -> tuple[int, int]:
    """Return height and width, given as one number or as two."""
    value: Any = fields.get(name, default=default)
    sides = (value, value) if not isinstance(value, list | tuple) else tuple(value)
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= 2**16 for side in sides):
        raise fields.fail(name, "be one side or two, from 1 to 65,536", value)
    return sides


def _vit(fields: Fields, prefix: int) -> TransformerShape:
    width = fields.count("hidden_size")
    layers = fields.count("num_hidden_layers")
    count = fields.count("num_attention_heads")
    inner = fields.count("intermediate_size")
    each = fields.divided(("hidden_size", width), ("num_attention_heads", count))
    dropout = fields.rate("hidden_dropout_prob")
    image, patch = _sides(fields, "image_size", 224), _sides(fields, "patch_size", 16)
    for whole, part in zip(image, patch, strict=True):
        fields.divided(("image_size", whole), ("patch_size", part))
    channels = fields.count("num_channels", default=3)
    heads = Heads(count, count, each, each, fields.rate("attention_probs_dropout_prob"))
    layer = Layer(
        (
            Norm("layer", width),
            SoftmaxAttention(width, heads, Mask("full")),
            Residual(width, dropout),
            Norm("layer", width),
            FeedForward(width, inner, fields.text("hidden_act", default="gelu")),
            Residual(width, dropout),
        )
    )
    filters = channels * patch[0] * patch[1]
    entry = Convolution("patches", ("p",), ("p", filters), filters, width)
    after: tuple[Block, ...] = (Norm("layer", width, name="final norm"), Pooled(width))
    return TransformerShape(
        fields.name,
        fields.text("model_type", default="vit"),
        (Stack("layers", (layer,) * layers, (entry,), after),),
        causal=False,
        prefix=prefix,
        tokens=(image[0] // patch[0]) * (image[1] // patch[1]),
        facts=(("layers", layers), ("width", width), ("heads", count), ("head", each)),
    )


MODEL_TYPES: dict[str, Callable[[Fields], TransformerShape]] = {
    "vit": partial(_vit, prefix=1),
    "deit": partial(_vit, prefix=2),
}
