"""Decoders before LLaMA: GPT-2, GPT-Neo, GPT-J, GPT-NeoX, OPT, Bloom, MPT, Falcon, StarCoder."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

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
from trivium.cost.size import Size

__all__ = ["MODEL_TYPES"]

_WIDTH = ("hidden_size", "n_embd", "d_model", "n_embed")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")


@dataclass(frozen=True)
class Traits:
    """What the types of this family differ in.

    Args:
        fused: Whether one layer makes queries, keys and values.
        parallel: "same": attention and feed-forward layer read one norm; "own": each its own
            norm of the same vectors; "": one after the other.
        positions: "learned", "rotary", or "" for biases on the scores.
        activation: The activation, where the configuration has none.
        dropout: The rate of dropout, where the configuration has none.
        upcast: Whether the softmax is computed in float32.
        multi_query: Whether keys and values have one head where the configuration says so.
        rotary: Share of a head that is rotated, where the configuration has none.
        tied: Whether the head has the table of the embedding, where the configuration is silent.
        inner: The field with the size of the feed-forward layer; 4D without it.
    """

    fused: bool = True
    parallel: str = ""
    positions: str = "learned"
    activation: str = "gelu_new"
    dropout: float = 0.0
    upcast: bool = False
    multi_query: bool = False
    inner: str = "n_inner"
    rotary: float = 1.0
    tied: bool = True


def _gpt(fields: Fields, traits: Traits) -> TransformerShape:
    width = fields.count(*_WIDTH)
    layers = fields.count(*_LAYERS)
    heads = _heads(fields, traits, width)
    if traits.positions == "rotary":
        heads = replace(heads, rotary=_rotary(fields, traits, heads.key).width)
    inner = fields.count(traits.inner, default=fields.count("expansion_ratio", default=4) * width)
    feed = FeedForward(
        width,
        inner,
        fields.text("activation_function", "hidden_act", "activation", default=traits.activation),
        dropout=fields.rate("activation_dropout"),
        fresh=traits.parallel != "same",
    )
    made: dict[Mask, Layer] = {}
    stack = []
    for mask in _masks(fields, layers):
        if mask not in made:
            attention = SoftmaxAttention(width, heads, mask, fused=traits.fused)
            # All but OPT hold the result of attention beside its sum with the input.
            held = int(not traits.parallel and traits.inner != "ffn_dim")
            made[mask] = Layer(_layer(fields, traits, attention, feed), held)
        stack.append(made[mask])
    before, after = _ends(fields, traits, width, heads.key)
    return TransformerShape(
        fields.name,
        fields.text("model_type", default="gpt2"),
        (Stack("layers", tuple(stack), tuple(before), tuple(after)),),
        causal=True,
        longest=fields.optional(*_POSITIONS) if traits.positions == "learned" else None,
        facts=(
            ("layers", layers),
            ("width", width),
            ("heads", heads.count),
            ("key heads", heads.groups),
            ("head", heads.key),
        ),
    )


def _heads(fields: Fields, traits: Traits, width: int) -> Heads:
    count = fields.count(*_HEADS)
    groups = count
    if traits.multi_query:
        groups = 1 if fields.flag("multi_query", default=True) else count
        if fields.flag("new_decoder_architecture"):
            groups = fields.count("num_kv_heads", default=count)
        fields.divided((_HEADS[0], count), ("num_kv_heads", groups))
    each = fields.divided((_WIDTH[0], width), (_HEADS[0], count))
    # OPT drops vectors unless told otherwise, but no weights of its attention.
    usual = traits.dropout if traits.inner != "ffn_dim" else 0.0
    dropout = fields.rate("attention_dropout", "attn_pdrop", default=usual)
    return Heads(count, groups, each, each, dropout, upcast=traits.upcast)


def _masks(fields: Fields, layers: int) -> tuple[Mask, ...]:
    """Return the mask of each layer; GPT-Neo lists its local ones as [[kinds, times], ...]."""
    listed = fields.get("attention_types")
    kinds: list[str] = ["global"] * layers
    if listed is not None:
        try:
            kinds = [kind for names, times in listed for _ in range(times) for kind in names]
        except (TypeError, ValueError):
            raise fields.fail("attention_types", "be a list of [kinds, times]", listed) from None
        if len(kinds) != layers or not {*kinds} <= {"global", "local"}:
            raise fields.fail(
                "attention_types", f"give global or local for each of {layers} layers", listed
            )
    window = fields.count("window_size", default=256)
    # The masks of GPT-Neo have windows; its cache keeps everything.
    masks = {"global": Mask("causal"), "local": Mask("causal", window, rolling=False)}
    return tuple(masks[kind] for kind in kinds)


def _layer(
    fields: Fields, traits: Traits, attention: SoftmaxAttention, feed: FeedForward
) -> tuple[Block, ...]:
    width = attention.width
    dropout = fields.rate("resid_pdrop", "hidden_dropout", "dropout", default=traits.dropout)
    norm, own = Norm("layer", width), Norm("layer", width, fresh=False)
    add = Residual(width, dropout)
    parallel = traits.parallel
    if parallel == "own" and not fields.flag("use_parallel_residual", default=True):
        parallel = ""
    if parallel:
        middle = (own,) if parallel == "own" else ()
        return (norm, attention, add, *middle, feed, add)
    if not fields.flag("do_layer_norm_before", default=True):
        return (attention, add, norm, feed, add, norm)
    return (norm, attention, add, norm, feed, add)


def _rotary(fields: Fields, traits: Traits, each: int) -> Rotary:
    """Return the tables; GPT-J spreads them in every layer, for queries and for keys."""
    rotated = fields.optional("rotary_dim")
    if rotated is not None:
        return Rotary(rotated, 2 * fields.count(*_LAYERS))
    rope = fields.get("rope_parameters", default={})
    nested = rope.get("partial_rotary_factor") if isinstance(rope, dict) else None
    share = fields.get("rotary_pct", "partial_rotary_factor", default=nested or traits.rotary)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise fields.fail("rotary_pct", "be a number above 0, at most 1", share)
    return Rotary(int(each * share))


def _ends(fields: Fields, traits: Traits, width: int, each: int) -> tuple[list[Block], list[Block]]:
    """Return what stands in front of the layers and behind them."""
    narrow = fields.count("word_embed_proj_dim", default=width)
    learned = traits.positions == "learned"
    # OPT has no dropout on its embeddings, and positions of its own for each row.
    own = traits.inner == "ffn_dim"
    dropout = not own and fields.rate("embd_pdrop", "embed_dropout", default=traits.dropout)
    ids: tuple[Size, ...] = ((("b", "n") if own else ("n",)),) if learned else ()
    table = narrow * fields.size("vocab_size") + width * fields.size(*_POSITIONS) * learned
    before: list[Block] = [Embedding(narrow, 1 + learned, dropout, kept_ids=ids, table=table)]
    if narrow != width:
        before.append(Dense("embedding in", "embedding", ("b", "n"), narrow, width))
    if traits.positions == "rotary":
        before.append(_rotary(fields, traits, each))
    if fields.text("model_type", default="") == "bloom":
        before.append(Norm("layer", width, name="embedding norm"))
    after: list[Block] = []
    if fields.flag("do_layer_norm_before", default=True):
        after.append(Norm("layer", width, name="final norm"))
    if narrow != width:
        after.append(Dense("embedding out", "head", ("b", "n"), width, narrow))
    if fields.with_head("lm"):
        tied = fields.flag("tie_word_embeddings", default=traits.tied)
        vocabulary = fields.count("vocab_size")
        after.append(Dense("head", "head", ("b", "r"), narrow, vocabulary, tied=tied))
    return before, after


_TRAITS = {
    "gpt2": Traits(dropout=0.1),
    "gpt_neo": Traits(fused=False, upcast=True, inner="intermediate_size"),
    "gptj": Traits(fused=False, parallel="same", positions="rotary", upcast=True, tied=False),
    "codegen": Traits(parallel="same", positions="rotary", upcast=True, tied=False),
    "gpt_neox": Traits(
        parallel="own",
        positions="rotary",
        activation="gelu",
        inner="intermediate_size",
        rotary=0.25,
        upcast=True,
        tied=False,
    ),
    "gpt_bigcode": Traits(activation="gelu_pytorch_tanh", dropout=0.1, multi_query=True),
    "opt": Traits(fused=False, activation="relu", dropout=0.1, upcast=True, inner="ffn_dim"),
    "bloom": Traits(positions="", activation="gelu", upcast=True),
    "mpt": Traits(positions="", activation="gelu", upcast=True),
    "falcon": Traits(
        parallel="same",
        positions="rotary",
        activation="gelu",
        multi_query=True,
        inner="ffn_hidden_size",
    ),
}

MODEL_TYPES: dict[str, Callable[[Fields], TransformerShape]] = {
    name: partial(_gpt, traits=traits) for name, traits in _TRAITS.items()
}
