"""ModernBERT and its kin: encoders normalized before each sublayer, most layers in a window."""

from collections.abc import Callable

from trivium.cost.blocks import (
    Block,
    Dense,
    Embedding,
    FeedForward,
    Norm,
    Residual,
    Rotary,
    SoftmaxAttention,
)
from trivium.cost.blocks.pairs import Heads
from trivium.cost.fields import Fields
from trivium.cost.mask import Mask
from trivium.cost.shape import Layer, Stack, TransformerShape

__all__ = ["MODEL_TYPES"]


def _modernbert(fields: Fields) -> TransformerShape:
    width = fields.count("hidden_size")
    layers = fields.count("num_hidden_layers")
    count = fields.count("num_attention_heads")
    inner = fields.count("intermediate_size")
    each = fields.divided(("hidden_size", width), ("num_attention_heads", count))
    heads = Heads(
        count, count, each, each, fields.rate("attention_dropout"), upcast=True, rotary=each
    )
    window = fields.count("local_attention", default=128)
    every = fields.count("global_attn_every_n_layers", default=3)
    kinds = fields.kinds("layer_types", layers) or tuple(
        "full_attention" if i % every == 0 else "sliding_attention" for i in range(layers)
    )
    # A window of w tokens is w // 2 on each side.
    masks = {
        "full_attention": Mask("full"),
        "sliding_attention": Mask("full", max(window // 2, 1)),
    }
    activation = fields.text("hidden_activation", default="gelu")
    dropout = fields.rate("mlp_dropout")

    def layer(mask: Mask, *, first: bool = False) -> Layer:
        norm = () if first else (Norm("layer", width),)
        return Layer(
            (
                *norm,
                SoftmaxAttention(width, heads, mask, fused=True),
                Residual(width, fields.rate("attention_dropout")),
                Norm("layer", width),
                FeedForward(width, inner, activation, gated=True, fused=True, dropout=dropout),
                Residual(width),
            ),
            held=1,
        )

    made = {kind: layer(mask) for kind, mask in masks.items()}
    for kind in kinds:
        if kind not in made:
            raise fields.fail("layer_types", f"be among {', '.join(made)}", kind)
    # The embeddings are normalized already where the first layer begins.
    stack = [layer(masks[kinds[0]], first=True), *(made[kind] for kind in kinds[1:])]
    after: list[Block] = [Norm("layer", width, name="final norm")]
    if fields.with_head("base"):
        after.append(Dense("head transform", "head", ("b", "r"), width, width, after=1))
        after.append(Norm("layer", width, name="head norm"))
        tied = fields.flag("tie_word_embeddings", default=True)
        vocabulary = fields.count("vocab_size")
        after.append(Dense("head", "head", ("b", "r"), width, vocabulary, tied=tied))
    table = width * fields.size("vocab_size")
    before = (Embedding(width, table=table), Norm("layer", width), Rotary(each, 2))
    return TransformerShape(
        fields.name,
        "modernbert",
        (Stack("layers", tuple(stack), before, tuple(after)),),
        causal=False,
        longest=fields.optional("max_position_embeddings"),
        facts=(("layers", layers), ("width", width), ("heads", count), ("head", each)),
    )


MODEL_TYPES: dict[str, Callable[[Fields], TransformerShape]] = {"modernbert": _modernbert}
