"""Encoders of the kind of BERT: normalized after each sublayer, dropout everywhere."""

from collections.abc import Callable
from functools import partial

from trivium.cost.blocks import (
    Block,
    Dense,
    Embedding,
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
from trivium.cost.size import Size

__all__ = ["MODEL_TYPES"]


def _encoder(fields: Fields, *, pooled: bool, narrow: bool = False) -> TransformerShape:
    """Return an encoder; `narrow` for embeddings of a size of their own, as ELECTRA has them."""
    width = fields.count("hidden_size", "dim")
    layers = fields.count("num_hidden_layers", "n_layers")
    heads = fields.count("num_attention_heads", "n_heads")
    inner = fields.count("intermediate_size", "hidden_dim")
    activation = fields.text("hidden_act", "activation", default="gelu")
    dropout = fields.rate("hidden_dropout_prob", "dropout", default=0.1)
    each = fields.divided(("hidden_size", width), ("num_attention_heads", heads))
    attention = Heads(
        heads,
        heads,
        each,
        each,
        dropout=fields.rate("attention_probs_dropout_prob", "attention_dropout", default=0.1),
    )
    layer = Layer(
        (
            SoftmaxAttention(width, attention, Mask("full")),
            # DistilBERT drops nothing behind its attention.
            Residual(width, dropout and "dim" not in fields.values),
            Norm("layer", width),
            FeedForward(width, inner, activation),
            Residual(width, dropout),
            Norm("layer", width),
        )
    )
    # ALBERT runs the same weights again and again.
    albert = fields.get("model_type") == "albert"
    shared = fields.count("num_hidden_groups", default=1) if albert else None
    before, narrowed = _embedding(fields, width, dropout, narrow=narrow)
    after: list[Block] = [Pooled(width)] if pooled and not fields.with_head("base") else []
    if fields.get("model_type") == "roberta-prelayernorm":
        after.insert(0, Norm("layer", width, name="final norm"))
    if fields.with_head("base"):
        vocabulary = fields.count("vocab_size")
        size = narrowed or width
        after.append(Dense("head transform", "head", ("b", "r"), width, size, after=1))
        after.append(Norm("layer", size, name="head norm"))
        tied = fields.flag("tie_word_embeddings", default=True)
        after.append(Dense("head", "head", ("b", "r"), size, vocabulary, tied=tied))
    return TransformerShape(
        fields.name,
        fields.text("model_type", default="bert"),
        (Stack("layers", (layer,) * layers, tuple(before), tuple(after), shared=shared),),
        causal=False,
        longest=fields.optional("max_position_embeddings"),
        facts=(("layers", layers), ("width", width), ("heads", heads), ("head", each)),
    )


def _embedding(
    fields: Fields, width: int, dropout: bool, *, narrow: bool
) -> tuple[list[Block], int | None]:
    size = fields.count("embedding_size", default=width) if narrow else width
    kinds = fields.count("type_vocab_size", default=0, least=0) > 0
    model_type = fields.text("model_type", default="bert")
    ids: tuple[Size, ...] = (("n",),) if kinds else ()
    if model_type in _PADDED:
        ids = (("b", "n"), ("b", "n")) if kinds else (("b", "n"),)
    if model_type == "mpnet":
        ids = (("b", "n"), ("n", "n"))
        kinds = False
    rows = sum(map(fields.size, ("vocab_size", "max_position_embeddings")))
    rows += fields.count("type_vocab_size", default=0, least=0)
    before: list[Block] = [
        Embedding(size, 2 + kinds, dropout, kept_ids=ids, table=rows * size),
        Norm("layer", size),
    ]
    if model_type == "albert" or size != width:
        before.append(Dense("embedding projection", "embedding", ("b", "n"), size, width))
    return before, size if narrow else None


# Positions are counted around padding here, so each row has its own; elsewhere all share them.
_PADDED = (
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "camembert",
    "xlm-roberta-xl",
    "data2vec-text",
)

_WITH_POOLER = (
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "ernie",
    "data2vec-text",
    "roberta-prelayernorm",
    "xlm-roberta-xl",
    "esm",
)

MODEL_TYPES: dict[str, Callable[[Fields], TransformerShape]] = {
    **dict.fromkeys(_WITH_POOLER, partial(_encoder, pooled=True)),
    "distilbert": partial(_encoder, pooled=False),
    "electra": partial(_encoder, pooled=False, narrow=True),
    "albert": partial(_encoder, pooled=True, narrow=True),
}
