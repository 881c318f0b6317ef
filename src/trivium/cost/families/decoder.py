"""Decoders of the kind of LLaMA: rotary positions, grouped heads, gated feed-forward layers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

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

__all__ = ["MODEL_TYPES", "Traits", "decoder", "heads_of", "masks_of"]


@dataclass(frozen=True)
class Traits:
    """What the types of this family differ in.

    Args:
        norm: The norm.
        gated: Whether the feed-forward layer is.
        activation: Its activation, where the configuration has none.
        fused: Whether one layer makes queries, keys and values, and one gate and up.
        fused_gate: Whether only gate and up are one layer.
        parallel: Whether attention and feed-forward layer read the same normalized input.
        sandwich: "before" a sublayer stands a norm, "both" before and after, or only "after".
        head_norm: Whether queries and keys are normalized: each "head", or all at "once".
        head_dim: Size of a head where the configuration has none; `None` for D/h.
        groups: Whether heads of keys default to those of the queries.
        sliding: Which layers have a window where the configuration has no list: "all",
            "even", "none", or the number of layers after which one is full.
        rotary: Share of a head that is rotated, where the configuration has none.
        tables: Tables of cosines and sines: "one", "two" where windowed layers have their own,
            or one for each of the "layers".
        slides: Whether windows are used where `use_sliding_window` is missing.
        tied: Whether the head has the table of the embedding, where the configuration is silent.
    """

    norm: Literal["layer", "layer1p", "apart", "rms", "gemma"] = "rms"
    gated: bool = True
    activation: str = "silu"
    fused: bool = False
    fused_gate: bool = False
    parallel: bool = False
    sandwich: Literal["before", "both", "after"] = "before"
    head_norm: Literal["", "head", "once"] = ""
    head_dim: int | None = None
    groups: bool = True
    sliding: str | int = "none"
    slides: bool = True
    rotary: float = 1.0
    tables: Literal["one", "two", "layers"] = "one"
    tied: bool = False


def heads_of(fields: Fields, traits: Traits) -> Heads:
    """Return the heads: grouped, and of a size that need not be D/h.

    Raises:
        ArgumentError: Heads do not divide, or a size is missing.
    """
    count = fields.count("num_attention_heads")
    groups = fields.count("num_key_value_heads", default=count if traits.groups else None)
    fields.divided(("num_attention_heads", count), ("num_key_value_heads", groups))
    each = fields.optional("head_dim") or traits.head_dim
    if each is None:
        width = fields.count("hidden_size")
        each = fields.divided(("hidden_size", width), ("num_attention_heads", count))
    return Heads(
        count,
        groups,
        each,
        each,
        fields.rate("attention_dropout"),
        upcast=True,
        capped=fields.get("attn_logit_softcapping") is not None,
    )


def masks_of(fields: Fields, traits: Traits, layers: int) -> tuple[Mask, ...]:
    """Return the mask of each layer.

    Raises:
        ArgumentError: A kind of layer is not known, or a window is missing.
    """
    full = Mask("causal")
    slides = fields.flag("use_sliding_window", default=traits.slides)
    window = fields.optional("sliding_window") if slides else None
    kinds = fields.kinds("layer_types", layers)
    if kinds is None:
        first = fields.count("max_window_layers", default=0, least=0)
        every = fields.count(
            "sliding_window_pattern",
            default=traits.sliding if isinstance(traits.sliding, int) else 2,
        )
        slid = {
            "none": (),
            "all": range(first, layers),
            "even": range(0, layers, 2),
        }.get(str(traits.sliding), [i for i in range(layers) if (i + 1) % every])
        kinds = tuple(
            "sliding_attention" if window and i in slid else "full_attention" for i in range(layers)
        )
    masks = {"full_attention": full}
    if window is not None:
        masks["sliding_attention"] = Mask("causal", window)
    for kind in kinds:
        if kind not in masks:
            raise fields.fail("layer_types", f"be among {', '.join(masks)}", kind)
    return tuple(masks[kind] for kind in kinds)


def sublayers(
    fields: Fields, traits: Traits, heads: Heads, mask: Mask, feed: Block
) -> tuple[Block, ...]:
    """Return the blocks of a layer around a feed-forward layer or experts."""
    width = fields.count("hidden_size")
    dropout = fields.rate("resid_pdrop", "residual_dropout", "hidden_dropout")
    fused = traits.fused
    attention: list[Block] = [SoftmaxAttention(width, heads, mask, fused=fused)]
    if traits.head_norm == "head":
        attention += [
            Norm(traits.norm, heads.key, per=heads.count, name="query norm"),
            Norm(traits.norm, heads.key, per=heads.groups, name="key norm"),
        ]
    elif traits.head_norm == "once":
        attention += [
            Norm(traits.norm, heads.key * heads.count, name="query norm"),
            Norm(traits.norm, heads.key * heads.groups, name="key norm"),
        ]
    norm = [Norm(traits.norm, width)]
    first = norm if traits.sandwich != "after" else []
    last = norm if traits.sandwich != "before" else []
    middle = [] if traits.parallel else first
    return (
        *first,
        *attention,
        *last,
        Residual(width, dropout),
        *middle,
        feed,
        *last,
        Residual(width, dropout),
    )


def _rotary(fields: Fields, traits: Traits, each: int, layers: int) -> Rotary:
    """Return the tables of the rotary positions: of a share of each head, in pairs."""
    rope = fields.get("rope_parameters", default={})
    nested = rope.get("partial_rotary_factor") if isinstance(rope, dict) else None
    share = fields.get("partial_rotary_factor", default=nested or traits.rotary)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise fields.fail("partial_rotary_factor", "be a number above 0, at most 1", share)
    rotated = int(each * share)
    return Rotary(rotated + rotated % 2, {"one": 1, "two": 2, "layers": layers}[traits.tables])


def _everywhere(block: Block) -> Callable[[int], Block]:
    """Return the choice of one block at every layer."""
    return lambda _: block


def decoder(
    fields: Fields, traits: Traits, feeds: Callable[[int], Block] | None = None
) -> TransformerShape:
    """Return a decoder.

    Args:
        fields: Its configuration.
        traits: What its type differs in.
        feeds: The block that stands at each layer in place of the feed-forward layer.

    Raises:
        ArgumentError: A field breaks its rule.
    """
    width = fields.count("hidden_size")
    layers = fields.count("num_hidden_layers")
    heads = heads_of(fields, traits)
    rotary = _rotary(fields, traits, heads.key, layers)
    heads = replace(heads, rotary=rotary.width)
    if feeds is None:
        feeds = _everywhere(
            FeedForward(
                width,
                fields.count("intermediate_size"),
                fields.text("hidden_act", "hidden_activation", default=traits.activation),
                gated=traits.gated,
                fused=traits.fused or traits.fused_gate,
                fresh=not traits.parallel,
            )
        )
    made: dict[tuple[Mask, Block], Layer] = {}
    stack = []
    for i, mask in enumerate(masks_of(fields, traits, layers)):
        feed = feeds(i)
        if (mask, feed) not in made:
            made[mask, feed] = Layer(sublayers(fields, traits, heads, mask, feed))
        stack.append(made[mask, feed])
    after: list[Block] = [Norm(traits.norm, width, name="final norm")]
    if fields.with_head("lm"):
        capped = int(fields.get("final_logit_softcapping") is not None)
        vocabulary = fields.count("vocab_size")
        tied = fields.flag("tie_word_embeddings", default=traits.tied)
        head = Dense("head", "head", ("b", "r"), width, vocabulary, capped, tied)
        after.append(head)
    table = width * fields.size("vocab_size")
    before = (Embedding(width, table=table), rotary)
    return TransformerShape(
        fields.name,
        fields.text("model_type", default="llama"),
        (Stack("layers", tuple(stack), before, tuple(after)),),
        causal=True,
        longest=fields.optional("max_position_embeddings"),
        facts=(
            ("layers", layers),
            ("width", width),
            ("heads", heads.count),
            ("key heads", heads.groups),
            ("head", heads.key),
        ),
    )


_TRAITS = {
    "llama": Traits(),
    "mistral": Traits(groups=False, sliding="all"),
    "ministral": Traits(groups=False, sliding="all"),
    "qwen2": Traits(groups=False, sliding="all", slides=False),
    "qwen3": Traits(groups=False, head_norm="head", head_dim=128, sliding="all", slides=False),
    "gemma": Traits("gemma", groups=False, activation="gelu_pytorch_tanh", head_dim=256, tied=True),
    "gemma2": Traits(
        "gemma",
        groups=False,
        activation="gelu_pytorch_tanh",
        head_dim=256,
        sandwich="both",
        sliding="even",
        tied=True,
    ),
    "gemma3_text": Traits(
        "gemma",
        groups=False,
        activation="gelu_pytorch_tanh",
        head_dim=256,
        sandwich="both",
        head_norm="head",
        sliding=6,
        tables="two",
        tied=True,
    ),
    "phi": Traits("layer", gated=False, activation="gelu_new", parallel=True, rotary=0.5),
    "phi3": Traits(fused=True, sliding="all"),
    "olmo": Traits("layer"),
    "olmo2": Traits(sandwich="after", head_norm="once"),
    "olmo3": Traits(sandwich="after", head_norm="once", sliding=4, tables="two"),
    "cohere": Traits("apart", parallel=True, tied=True),
    "cohere2": Traits("apart", parallel=True, sliding=4, tied=True),
    "granite": Traits(),
    "helium": Traits(groups=False, head_dim=128, tables="layers"),
    "starcoder2": Traits(
        "layer", gated=False, activation="gelu_pytorch_tanh", groups=False, tied=True
    ),
    "stablelm": Traits("layer", rotary=0.25),
    "smollm3": Traits(groups=False, tied=True),
    "glm": Traits(fused_gate=True, groups=False, head_dim=128, rotary=0.5, tables="layers"),
    "glm4": Traits(
        fused_gate=True,
        groups=False,
        sandwich="both",
        head_dim=128,
        rotary=0.5,
        tables="layers",
    ),
    "nemotron": Traits("layer1p", gated=False, activation="relu2", rotary=0.5),
    "seed_oss": Traits(groups=False, head_dim=128),
    "ernie4_5": Traits(groups=False, head_dim=128, tables="layers", tied=True),
    "exaone4": Traits(groups=False, sandwich="after", head_norm="head"),
    "hunyuan_v1_dense": Traits(head_norm="head"),
    "arcee": Traits(gated=False, activation="relu2"),
    "apertus": Traits(gated=False, activation="xielu", head_norm="head"),
}

MODEL_TYPES: dict[str, Callable[[Fields], TransformerShape]] = {
    name: partial(decoder, traits=traits) for name, traits in _TRAITS.items()
}
