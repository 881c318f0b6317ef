"""Decoders in which layers of linear attention stand among layers of softmax: MiniMax."""

from collections.abc import Callable
from dataclasses import replace

from trivium.cost.blocks import (
    Block,
    Dense,
    Embedding,
    GatedLinearAttention,
    Norm,
    Residual,
    Rotary,
    SoftmaxAttention,
)
from trivium.cost.blocks.pairs import Heads
from trivium.cost.families.decoder import Traits, heads_of
from trivium.cost.families.mixture import experts_of
from trivium.cost.fields import Fields
from trivium.cost.mask import Mask
from trivium.cost.shape import Layer, Stack, TransformerShape

__all__ = ["MODEL_TYPES"]


def _minimax(fields: Fields) -> TransformerShape:
    width = fields.count("hidden_size")
    layers = fields.count("num_hidden_layers")
    heads = heads_of(fields, Traits(groups=False))
    heads = replace(heads, rotary=heads.key)
    kinds = fields.kinds("layer_types", layers) or tuple(
        "linear_attention" if i % 2 == 0 else "full_attention" for i in range(layers)
    )
    every = Heads(heads.count, heads.count, heads.key, heads.value)
    attentions: dict[str, Block] = {
        "linear_attention": GatedLinearAttention(
            width, every, fields.count("block_size", default=256)
        ),
        "full_attention": SoftmaxAttention(
            width, heads, Mask("causal", fields.optional("sliding_window"))
        ),
    }
    norm, add = Norm("rms", width), Residual(width)
    experts = experts_of(fields, shared=False)
    made = {
        kind: Layer((norm, attention, add, norm, experts, add))
        for kind, attention in attentions.items()
    }
    for kind in kinds:
        if kind not in made:
            raise fields.fail("layer_types", f"be among {', '.join(made)}", kind)
    after: list[Block] = [Norm("rms", width, name="final norm")]
    if fields.with_head("lm"):
        after.append(Dense("head", "head", ("b", "r"), width, fields.count("vocab_size")))
    return TransformerShape(
        fields.name,
        "minimax",
        (
            Stack(
                "layers",
                tuple(made[kind] for kind in kinds),
                (Embedding(width, table=width * fields.size("vocab_size")), Rotary(heads.key)),
                tuple(after),
            ),
        ),
        causal=True,
        longest=fields.optional("max_position_embeddings"),
        facts=(
            ("layers", layers),
            ("linear layers", kinds.count("linear_attention")),
            ("width", width),
            ("heads", heads.count),
            ("key heads", heads.groups),
            ("head", heads.key),
        ),
    )


MODEL_TYPES: dict[str, Callable[[Fields], TransformerShape]] = {"minimax": _minimax}
