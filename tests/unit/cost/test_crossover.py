"""Crossings: rational where they are, between bounds where not, intervals in time."""

from fractions import Fraction
from math import isclose, sqrt

import pytest

from trivium._core.errors import ArgumentError
from trivium.cost import Clock, TransformerShape, crossover

BERT = TransformerShape.from_config("bert-base-uncased")
GPT = TransformerShape.from_config("gpt2")
HERE = {"model_type": "bert", "num_hidden_layers": 3, "vocab_size": 11}


def small(width, heads, inner):
    return TransformerShape.from_config(
        {**HERE, "hidden_size": width, "num_attention_heads": heads, "intermediate_size": inner}
    )


def test_a_rational_crossing_is_exact():
    # 4D²n + 2n²D = 2DFn at n = F − 2D; the FFN is a third of a token longer here.
    assert crossover(small(6, 2, 13), "ffn", "attention").at == 1
    assert crossover(small(6, 2, 40), "ffn", "attention").at == 28
    # quadratic = projections at 2D, = output at D/2.
    assert crossover(small(7, 7, 9), "quadratic", "output").at == Fraction(7, 2)
    assert str(crossover(small(7, 7, 9), "quadratic", "output")).endswith("n = 3.50")


def test_an_irrational_crossing_is_between_close_bounds():
    # 2Dn² − 12D²n − D²/12 = 0: the pooler is one D² for each row.
    found = crossover(BERT, "quadratic", "rest")
    root = 3 * 768 + sqrt((3 * 768) ** 2 + 768 / 24)
    (point,) = found.crossings
    assert found.at is None
    assert point.low < point.high
    assert point.high - point.low <= Fraction(1, 2**20)
    assert isclose(float(point.low), root, rel_tol=1e-9)
    assert point.larger == "quadratic"


@pytest.mark.parametrize("name", ["gpt2", "gemma-2-9b", "Llama-3.1-8B", "Qwen3-0.6B", "t5-base"])
@pytest.mark.parametrize("pair", [("ffn", "attention"), ("quadratic", "rest"), ("sdpa", "linear")])
def test_the_sign_changes_at_the_crossing(name, pair):
    shape = TransformerShape.from_config(name)
    found = crossover(shape, *pair)

    def gap(n):
        if "sdpa" in pair:
            return shape.table(n, attention=pair[0]).flops - shape.table(n, attention=pair[1]).flops
        table = shape.table(n)
        return table.total("flops", pair[0]) - table.total("flops", pair[1])

    assert found.crossings
    for point in found.crossings:
        below, above = int(point.low), int(point.high) + 1
        if point.exact and point.low.denominator == 1:
            assert gap(below) == 0
            below -= 1
        assert gap(below) * gap(above) < 0 or below == 0
        assert (gap(above) > 0) == (point.larger == pair[0])


def test_no_crossing_and_no_difference():
    assert str(crossover(BERT, "eager", "sdpa")) == "equal everywhere"
    never = crossover(BERT, "up", "ffn")
    assert never.crossings == ()
    assert never.smaller == "up"
    assert str(never) == "up is smaller everywhere"


def test_a_window_begins_to_save_where_it_ends():
    found = crossover(GPT, "window:100", "eager")
    # The kernel of a window is causal; the dense one is not: only a row of one token is equal.
    assert found.at == 1
    assert found.crossings[0].larger == "eager"
    assert crossover(BERT, "window:100", "eager").at == 101


def test_decoding_crosses_over_its_context():
    found = crossover(GPT, "quadratic", "projections", mode="decode")
    # 2D(c + 1) = 4D².
    assert found.at == 2 * 768 - 1


def test_bytes_are_counted_too():
    found = crossover(GPT, "sdpa", "eager", by="bytes")
    assert found.smaller == "sdpa"
    assert crossover(BERT, "linear:h/4", "sdpa", by="macs").at == 256


class Constant:
    """A clock with a fixed cost for each component and 20 % to either side."""

    def __init__(self, spread=0.2):
        self.spread = spread

    def seconds(self, table):
        middle = sum(row.flops for row in table.rows) * 1e-12 + 1e-6
        return middle * (1 - self.spread), middle, middle * (1 + self.spread)


def test_time_gives_an_interval():
    clock = Constant()
    assert isinstance(clock, Clock)
    (point,) = crossover(BERT, "ffn", "attention", by="time", clock=clock).crossings
    assert point.low < 1536 < point.high
    assert not point.exact
    # ffn = 8D²n and attention = 4D²n + 2Dn²: 1.2 times the one is 0.8 times the other at 2D/3, 4D.
    assert isclose(float(point.low), 2 * 768 / 3, rel_tol=5e-3)
    assert isclose(float(point.high), 4 * 768, rel_tol=5e-3)
    narrow = crossover(BERT, "ffn", "attention", by="time", clock=Constant(0.01)).crossings[0]
    assert point.low < narrow.low < 1536 < narrow.high < point.high


@pytest.mark.parametrize(
    ("a", "b", "more"),
    [
        ("ffn", "sdpa", {}),
        ("ffn", "nothing", {}),
        ("nothing", "sdpa", {}),
        ("ffn", "attention", {"by": "joules"}),
        ("ffn", "attention", {"by": "time"}),
        ("ffn", "attention", {"by": "time", "clock": 3}),
        ("ffn", "attention", {"farthest": 1}),
        ("ffn", "attention", {"mode": "decode"}),
        ("eager", "linear:h/5", {}),
    ],
)
def test_refused(a, b, more):
    with pytest.raises(ArgumentError):
        crossover(BERT, a, b, **more)


def test_images_have_one_length():
    with pytest.raises(ArgumentError, match="196 patches"):
        crossover(TransformerShape.from_config("vit-base-patch16-224"), "ffn", "attention")
