"""Encoder-decoders: T5 and its kin, BART and its kin."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from trivium.cost.blocks import (
    Block,
    Dense,
    Dropout,
    Embedding,
    FeedForward,
    Memory,
    Norm,
    Residual,
    SoftmaxAttention,
    Tokens,
)
from trivium.cost.blocks.pairs import Heads
from trivium.cost.fields import Fields
from trivium.cost.mask import Mask
from trivium.cost.shape import Layer, Stack, TransformerShape
from trivium.cost.size import Size

__all__ = ["MODEL_TYPES", "BartTraits", "bart_layer", "bart_stacks"]


def _t5(fields: Fields) -> TransformerShape:
    width = fields.count("d_model", "hidden_size")
    encoder = fields.count("num_layers", "num_hidden_layers")
    decoder = fields.count("num_decoder_layers", default=encoder)
    count, each = fields.count("num_heads"), fields.count("d_kv")
    dropout = fields.rate("dropout_rate", default=0.1)
    heads = Heads(count, count, each, each, dropout)
    kind = fields.text("feed_forward_proj", default="relu")
    gated = kind.startswith("gated-")
    activation = kind.removeprefix("gated-")
    activation = "gelu_new" if kind == "gated-gelu" else activation
    inner = fields.count("d_ff")
    every = fields.text("model_type", default="t5") == "umt5"

    def layer(tokens: Tokens) -> Layer:
        norm, add = Norm("rms", width, tokens), Residual(width, dropout, tokens)
        own = Mask("causal" if tokens == "n" else "full")
        blocks: list[Block] = [norm, SoftmaxAttention(width, heads, own, tokens=tokens), add]
        if tokens == "n":
            blocks += [norm, SoftmaxAttention(width, heads, Mask("full"), cross=True), add]
        feed = FeedForward(width, inner, activation, gated=gated, dropout=dropout, tokens=tokens)
        return Layer((*blocks, norm, feed, add))

    def ends(tokens: Tokens) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
        after: tuple[Block, ...] = (Norm("rms", width, tokens, name="final norm"),)
        after += (Dropout(width, tokens),) if dropout else ()
        # The ids of the distances: of the first layer, which shares its biases, or of every one.
        layers = (encoder if tokens == "e" else decoder) if every else 1
        distances: tuple[Size, ...] = ((tokens, tokens),) * layers
        # Both sides share one table.
        table = width * fields.size("vocab_size") if tokens == "e" else 0
        biases: tuple[Size, ...] = () if every else ((count, tokens, tokens),)
        biases += ((count, "n", "e"),) if tokens == "n" else ()
        entry = Embedding(width, 1, dropout, tokens, kept_ids=distances, table=table, biases=biases)
        return (entry,), after

    heads_after: tuple[Block, ...] = ()
    if fields.with_head("lm"):
        vocabulary = fields.count("vocab_size")
        tied = fields.flag("tie_word_embeddings", default=True)
        heads_after = (Dense("head", "head", ("b", "r"), width, vocabulary, tied=tied),)
    (enter, leave), (start, finish) = ends("e"), ends("n")
    return TransformerShape(
        fields.name,
        fields.text("model_type", default="t5"),
        (
            Stack("encoder", (layer("e"),) * encoder, enter, (*leave, Memory(width)), once=True),
            Stack("decoder", (layer("n"),) * decoder, start, (*finish, *heads_after)),
        ),
        causal=True,
        facts=(
            ("encoder layers", encoder),
            ("decoder layers", decoder),
            ("width", width),
            ("heads", count),
            ("head", each),
        ),
    )


@dataclass(frozen=True)
class BartTraits:
    """What the types of this family differ in.

    Args:
        before: Whether the norms stand before the sublayers, and one behind the last layer.
        embedding_norm: Whether the embeddings are normalized.
        learned: Whether positions are learned.
        shared: Whether all rows share the ids of their positions, in encoder and decoder.
        activation: The activation, where the configuration has none.
    """

    before: bool = False
    embedding_norm: bool = True
    learned: bool = True
    shared: bool = False
    activation: str = "gelu"


def bart_layer(fields: Fields, side: str, tokens: Tokens, *, before: bool, default: str) -> Layer:
    """Return a layer of the encoder or decoder.

    Args:
        fields: The configuration.
        side: "encoder" or "decoder".
        tokens: Which tokens.
        before: Whether norms stand before the sublayers.
        default: The activation, where the configuration has none.

    Raises:
        ArgumentError: A size breaks its rule.
    """
    width = fields.count("d_model")
    count = fields.count(f"{side}_attention_heads")
    each = fields.divided(("d_model", width), (f"{side}_attention_heads", count))
    heads = Heads(count, count, each, each, fields.rate("attention_dropout"))
    norm = Norm("layer", width, tokens)
    add = Residual(width, fields.rate("dropout", default=0.1), tokens)
    own = Mask("causal" if side == "decoder" else "full")
    parts: list[Block] = [SoftmaxAttention(width, heads, own, tokens=tokens)]
    if side == "decoder":
        parts.append(SoftmaxAttention(width, heads, Mask("full"), cross=True))
    parts.append(
        FeedForward(
            width,
            fields.count(f"{side}_ffn_dim"),
            fields.text("activation_function", default=default),
            dropout=fields.rate("activation_dropout"),
            tokens=tokens,
        )
    )
    blocks: list[Block] = []
    for part in parts:
        blocks += [norm, part, add] if before else [part, add, norm]
    return Layer(tuple(blocks))


def bart_stacks(
    fields: Fields, traits: BartTraits, entry: tuple[Block, ...] | None = None
) -> tuple[Stack, Stack]:
    """Return encoder and decoder; `entry` stands in front of the encoder in place of a table.

    Raises:
        ArgumentError: A size breaks its rule.
    """
    width = fields.count("d_model")
    dropout = fields.rate("dropout", default=0.1)
    places = ("max_position_embeddings", "max_source_positions", "max_target_positions")

    def front(tokens: Tokens) -> tuple[Block, ...]:
        # An encoder of text, and a decoder of sound, has positions of its own for each row.
        own = (tokens == "e") == (entry is None) and not traits.shared
        ids: tuple[Size, ...] = ((("b", tokens) if own else (tokens,)),) if traits.learned else ()
        # Both sides share the table of the ids, and have positions of their own.
        rows, fixed = sum(map(fields.size, places)), 0
        if not traits.learned:
            rows, fixed = 0, rows
        if (tokens == "e") == (entry is None):
            rows += fields.size("vocab_size")
        table = Embedding(
            width, 2, dropout, tokens, kept_ids=ids, table=rows * width, fixed=fixed * width
        )
        return (table, Norm("layer", width, tokens)) if traits.embedding_norm else (table,)

    def last(tokens: Tokens) -> tuple[Block, ...]:
        return (Norm("layer", width, tokens, name="final norm"),) if traits.before else ()

    def layers(side: str, tokens: Tokens) -> tuple[Layer, ...]:
        made = bart_layer(fields, side, tokens, before=traits.before, default=traits.activation)
        return (made,) * fields.count(f"{side}_layers")

    head: tuple[Block, ...] = ()
    if fields.with_head("lm"):
        tied = fields.flag("tie_word_embeddings", default=True)
        vocabulary = fields.count("vocab_size")
        biased = fields.get("model_type") not in ("m2m_100", "whisper")
        dense = Dense("head", "head", ("b", "r"), width, vocabulary, tied=tied, biased=biased)
        head = (dense,)
    before = front("e") if entry is None else entry
    after = (*last("e"), Memory(width))
    return (
        Stack("encoder", layers("encoder", "e"), before, after, once=True),
        Stack("decoder", layers("decoder", "n"), front("n"), (*last("n"), *head)),
    )


def _bart(fields: Fields, traits: BartTraits) -> TransformerShape:
    width, count = fields.count("d_model"), fields.count("encoder_attention_heads")
    return TransformerShape(
        fields.name,
        fields.text("model_type", default="bart"),
        bart_stacks(fields, traits),
        causal=True,
        longest=fields.optional("max_position_embeddings") if traits.learned else None,
        facts=(
            ("encoder layers", fields.count("encoder_layers")),
            ("decoder layers", fields.count("decoder_layers")),
            ("width", width),
            ("heads", count),
            ("head", width // count),
        ),
    )


_PRE = BartTraits(before=True, embedding_norm=False, learned=False, activation="relu")
_BART = {
    "bart": BartTraits(),
    "mbart": BartTraits(before=True),
    "plbart": BartTraits(),
    "marian": BartTraits(embedding_norm=False, learned=False),
    "pegasus": _PRE,
    "m2m_100": _PRE,
    "blenderbot": BartTraits(before=True, embedding_norm=False, shared=True),
}

MODEL_TYPES: dict[str, Callable[[Fields], TransformerShape]] = {
    **dict.fromkeys(("t5", "mt5", "umt5"), _t5),
    **{name: partial(_bart, traits=traits) for name, traits in _BART.items()},
}
