"""Whether a small Transformer over the texts is within a budget, and with which attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.cost import Comparison, TransformerShape, compare

__all__ = ["BATCH", "EPOCHS", "LONGEST", "SMALL_ENCODER", "TextPlan", "n_trainings", "text_plan"]

# The network that the stage encode trains, and that the plan counts: one and the same.
SMALL_ENCODER: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 4096,
    "max_position_embeddings": 256,
    "type_vocab_size": 1,
}
LONGEST = 128  # words of a text that are read
EPOCHS, BATCH = 20, 64
ATTENTIONS = ("eager", "sdpa", "linear")
_SAMPLE = 64
# Multiply-adds that a core does in the time of a byte: a ratio, not a clock, so that the choice is
# the same on any machine.
_PER_BYTE = 2


@dataclass(frozen=True)
class TextPlan:
    """A small Transformer over texts, counted.

    Args:
        fits: Whether its training with softmax attention is within the budget.
        attention: The attention that would cost least: "eager", "sdpa" (fused) or "linear". Linear
            attention is another model: that it costs less does not say that it does as well.
        count: Multiply-adds of the training with that attention.
        softmax: Of the two softmax attentions, which are one model, the one that would cost less.
        softmax_count: Multiply-adds of the training with it.
        layers: Layers of the encoder.
        tokens: Tokens of all texts in one pass, as far as the encoder reads.
        comparison: The attentions side by side, over up to 64 texts.
    """

    fits: bool
    attention: str
    count: int
    softmax: str
    softmax_count: int
    layers: int
    tokens: int
    comparison: Comparison


def n_trainings(n_encodings: int, n_folds: int) -> int:
    """Return how many networks are trained to choose an encoding, and to score without a label.

    Each encoding once a fold; the one kept once more for each two folds, and once on all rows.

    Example:
        >>> n_trainings(2, 5), n_trainings(3, 5)
        (21, 26)
    """
    return n_encodings * n_folds + n_folds * (n_folds - 1) // 2 + 1


def text_plan(
    token_lengths: Sequence[int],
    budget: int,
    *,
    rows: int | None = None,
    shape: TransformerShape | None = None,
    passes: int = EPOCHS,
    batch: int = BATCH,
    longest: int = LONGEST,
) -> TextPlan:
    """Say whether a small encoder over texts fits a budget, and which attention costs least.

    Everything is counted, nothing measured: the same lengths give the same answer everywhere.
    The cost that attentions are ranked by is multiply-adds plus two for each byte moved. Texts are
    put into batches sorted by length; of more than 64 the lengths are evenly spaced order
    statistics.

    Args:
        token_lengths: Tokens of each text, or of some of them.
        budget: Multiply-adds that the training may take.
        rows: How many texts there are; as many as lengths by default.
        shape: The encoder; by default two layers of width 32 with four heads.
        passes: How often the training sees each text, over all fits.
        batch: Texts of a batch.
        longest: Tokens of a text that the encoder reads.

    Raises:
        ArgumentError: There is no length, or a number breaks its rule.

    Cost: A few tables of `trivium.cost`: about 20 ms.

    Example:
        >>> found = text_plan([12, 40, 25, 90] * 100, 10**12)
        >>> found.fits, found.softmax
        (True, 'sdpa')
    """
    if not len(token_lengths):
        raise ArgumentError("text_plan: token_lengths must hold at least one length; got none")
    check_number("text_plan", "passes", passes, "positive", integer=True)
    check_number("text_plan", "longest", longest, "positive", integer=True)
    check_number("text_plan", "budget", budget, "positive", integer=True)
    given = sorted(min(max(1, int(length)), longest) for length in token_lengths)
    size = min(_SAMPLE, len(given))
    places = [(2 * i + 1) * len(given) // (2 * size) for i in range(size)]
    lengths = [given[place] for place in places]
    shape = TransformerShape.from_config(SMALL_ENCODER) if shape is None else shape
    found = compare((shape, ATTENTIONS), lengths, batch, padding="sorted", mode="train")
    texts = len(given) if rows is None else rows
    times = Fraction(passes * texts, size)

    def price(name: str) -> int:
        return found[name].flops + 2 * _PER_BYTE * found[name].bytes

    def count(name: str) -> int:
        return round(times * found[name].flops / 2)

    cheapest, softmax = min(ATTENTIONS, key=price), min(ATTENTIONS[:2], key=price)
    return TextPlan(
        count(softmax) <= budget,
        cheapest,
        count(cheapest),
        softmax,
        count(softmax),
        dict(shape.facts).get("layers", 0),
        round(Fraction(sum(lengths) * texts, size)),
        found,
    )
