"""The most bytes alive at once: what the walk must say without a model to hold it against."""

import re

import pytest

from trivium._core.errors import ArgumentError
from trivium.cost import Peak, TransformerShape

BERT = TransformerShape.from_config("bert-base-uncased")
GPT2 = TransformerShape.from_config("gpt2")
LLAMA = TransformerShape.from_config("Llama-3.1-8B")
T5 = TransformerShape.from_config("t5-small")
ALL = [BERT, GPT2, LLAMA, T5, TransformerShape.from_config("albert-base-v2")]
# Numbers of parameters as their publishers have them, in millions.
PUBLISHED = {
    "bert-base-uncased": 109.48,
    "albert-base-v2": 11.68,
    "gpt2": 124.44,
    "pythia-1.4b": 1414.65,
    "Llama-3.2-1B": 1235.81,
    "Llama-3.1-8B": 8030.26,
    "Qwen3-0.6B": 596.05,
    "Mixtral-8x7B-v0.1": 46702.79,
    "DeepSeek-V2-Lite": 15706.48,
    "flan-t5-base": 247.58,
    "whisper-tiny": 37.76,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_are_those_of_the_model(name):
    """Matrices and tables: but for biases and norms, tied tables and shared layers counted once."""
    shape = TransformerShape.from_config(name)
    assert shape.peak(8, itemsize=2).weights == pytest.approx(2e6 * PUBLISHED[name], rel=0.004)


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.name)
@pytest.mark.parametrize("mode", ["forward", "train"])
def test_it_grows_with_rows_and_tokens(shape, mode):
    peaks = [shape.peak(n, b, mode).total for n, b in ((16, 1), (16, 4), (64, 4), (512, 4))]
    assert peaks == sorted(peaks)
    assert peaks[0] < peaks[-1]


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.name)
def test_training_holds_what_is_saved_and_a_gradient_of_each_weight(shape):
    short, long = shape.peak(1, mode="train"), shape.peak(2048, 2, "train")
    table = shape.table(2048, 2, "train")
    assert short.total >= short.weights + short.gradients
    assert short.gradients >= 0.98 * short.weights  # the places of sinusoids have none
    assert table.total("saved") >= long.saved > 0.9 * table.total("saved")


def test_a_step_holds_weights_and_cache():
    peak = LLAMA.peak(1, 4, "decode", 8191, itemsize=2)
    assert peak.cache == LLAMA.table(1, 4, "decode", 8191, itemsize=2).total("cache")
    assert peak.gradients == peak.saved == 0
    fused = LLAMA.peak(1, 4, "decode", 8191, "sdpa", itemsize=2)
    # Grouped keys and values are copied for every head where the softmax is written out.
    assert peak.activations - fused.activations > 4 * 8192 * 32 * 128 * 2


def test_a_prompt_fills_the_cache():
    peak = GPT2.peak(512, mode="prefill")
    assert 0 < peak.cache <= GPT2.table(512, mode="prefill").total("cache")


def test_the_encoder_is_there_while_the_decoder_writes():
    peak = T5.peak(1, mode="decode", context=64, source=4096)
    assert peak.weights == T5.peak(8).weights
    assert peak.activations >= 4 * 4096 * 512


def test_the_fused_kernel_and_linear_attention_hold_no_pairs():
    n = 4096
    pairs = 4 * 12 * n * n
    eager = BERT.peak(n)
    for design in ("sdpa", "window:512", "linear:h/4"):
        assert eager.total - BERT.peak(n, attention=design).total > pairs
    hybrid = BERT.peak(n, mode="train", attention="hybrid:LLLF").total
    assert hybrid < BERT.peak(n, mode="train").total


def test_shared_weights_are_held_once_and_cost_a_gradient_once():
    albert = TransformerShape.from_config("albert-base-v2")
    peak = albert.peak(512, mode="train")
    # The loops go backward through twelve layers, and the one set has its gradient at the first.
    assert peak.weights == albert.peak(512).weights
    assert peak.gradients <= peak.weights


def test_a_tied_table_has_two_gradients_for_a_moment():
    values = {
        "model_type": "llama",
        "vocab_size": 50_000,
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 128,
    }
    tied = TransformerShape.from_config({**values, "tie_word_embeddings": True}).peak(2, 1, "train")
    free = TransformerShape.from_config(values).peak(2, 1, "train")
    table = 4 * 50_000 * 64
    assert free.weights - tied.weights == table
    assert tied.gradients == free.gradients
    assert tied.activations - free.activations == table


def test_the_parts_are_the_whole():
    peak = Peak(1, 2, 3, 4, 5, "down")
    assert peak.total == 15
    assert peak.to_dict()["total"] == 15
    assert {*peak.to_dict()} == {
        *("total", "weights", "gradients", "saved", "cache", "activations", "at")
    }


@pytest.mark.parametrize(
    ("shape", "given", "said"),
    [
        (BERT, {}, "peak: n must be given"),
        (BERT, {"n": 0}, "n must be an integer from 1"),
        (BERT, {"n": 8, "mode": "decode", "context": 4}, "which does not write"),
        (GPT2, {"n": 1, "mode": "decode"}, "context must be given"),
        (GPT2, {"n": 8, "attention": "linear:5h/7"}, "must give whole sizes"),
        (GPT2, {"n": 8, "itemsize": 3}, "itemsize must be 1, 2, 4 or 8"),
    ],
)
def test_what_it_refuses(shape, given, said):
    with pytest.raises(ArgumentError, match=re.escape(said)):
        shape.peak(**given)
