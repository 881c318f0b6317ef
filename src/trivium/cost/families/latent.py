"""Decoders with latent attention and experts: DeepSeek V2 and V3, and what is built like them."""

from collections.abc import Callable

from trivium.cost.blocks import (
    Block,
    Dense,
    Embedding,
    Experts,
    FeedForward,
    LatentAttention,
    Norm,
    Residual,
    Rotary,
)
from trivium.cost.blocks.pairs import Heads
from trivium.cost.fields import Fields
from trivium.cost.mask import Mask
from trivium.cost.shape import Layer, Stack, TransformerShape

__all__ = ["MODEL_TYPES"]


def _deepseek(fields: Fields) -> TransformerShape:
    width = fields.count("hidden_size")
    layers = fields.count("num_hidden_layers")
    count = fields.count("num_attention_heads")
    rotary = fields.count("qk_rope_head_dim", default=64)
    heads = Heads(
        count,
        count,
        fields.count("qk_nope_head_dim", default=128) + rotary,
        fields.count("v_head_dim", default=128),
        fields.rate("attention_dropout"),
        upcast=True,
    )
    latent = fields.count("kv_lora_rank", default=512)
    attention = LatentAttention(
        width, heads, latent, rotary, fields.optional("q_lora_rank"), Mask("causal")
    )
    activation = fields.text("hidden_act", default="silu")
    dense = FeedForward(width, fields.count("intermediate_size"), activation, gated=True)
    mixture = _experts(fields, width, activation)
    norm, add = Norm("rms", width), Residual(width)

    def layer(feed: Block) -> Layer:
        return Layer((norm, attention, add, norm, feed, add))

    first = fields.count("first_k_dense_replace", default=0, least=0)
    kinds = {True: layer(dense), False: layer(mixture)}
    after: list[Block] = [Norm("rms", width, name="final norm")]
    if fields.with_head("lm"):
        after.append(Dense("head", "head", ("b", "r"), width, fields.count("vocab_size")))
    stack = tuple(kinds[i < first] for i in range(layers))
    return TransformerShape(
        fields.name,
        fields.text("model_type", default="deepseek_v3"),
        (
            Stack(
                "layers",
                stack,
                (Embedding(width, table=width * fields.size("vocab_size")), Rotary(rotary)),
                tuple(after),
            ),
        ),
        causal=True,
        longest=fields.optional("max_position_embeddings"),
        facts=(
            ("layers", layers),
            ("width", width),
            ("heads", count),
            ("head", heads.key),
            ("latent", latent),
        ),
    )


def _experts(fields: Fields, width: int, activation: str) -> Experts:
    inner = fields.count("moe_intermediate_size")
    experts = fields.count("n_routed_experts", "num_local_experts")
    top = fields.count("num_experts_per_tok")
    if top > experts:
        raise fields.fail("num_experts_per_tok", f"be at most the {experts} experts", top)
    shared = fields.count("n_shared_experts", default=0, least=0)
    beside = FeedForward(width, inner * shared, activation, gated=True, fresh=False)
    expert = FeedForward(width, inner, activation, gated=True, fused=True)
    return Experts(expert, experts, top, beside if shared else None)


MODEL_TYPES: dict[str, Callable[[Fields], TransformerShape]] = {
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
}
