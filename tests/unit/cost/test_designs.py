"""Designs of attention: how they are written, what they cost, what they keep."""

from fractions import Fraction

import pytest

from trivium._core.errors import ArgumentError
from trivium.cost import Eager, Fused, Hybrid, Linear, TransformerShape, Window
from trivium.cost.design import design_of

BERT = TransformerShape.from_config("bert-base-uncased")
GPT = TransformerShape.from_config("gpt2")


@pytest.mark.parametrize(
    ("text", "design"),
    [
        ("eager", Eager()),
        ("sdpa", Fused()),
        ("window:512", Window(512)),
        ("window(512)", Window(512)),
        ("linear", Linear()),
        ("linear:4d", Linear(head_dim=4)),
        ("linear:d/2", Linear(head_dim=Fraction(1, 2))),
        ("linear:h/4", Linear(Fraction(1, 4), 4)),
        ("linear:2h:d:c64", Linear(2, 1, chunk=64)),
        ("linear:2r", Linear(features=2)),
        ("linear:3h/4", Linear(Fraction(3, 4), Fraction(4, 3))),
        ("hybrid:LLLF", Hybrid("LLLF")),
        ("hybrid('LLLF')", Hybrid("LLLF")),
        ("hybrid:LE:4d", Hybrid("LE", Linear(head_dim=4))),
    ],
)
def test_written_forms(text, design):
    assert design_of(text) == design
    assert design_of(str(design)) == design
    assert design_of(design) is design


@pytest.mark.parametrize(
    "text",
    [
        *("", "flash", "window", "window:0", "window:x", "linear:0d", "linear:h/0", "linear:4x"),
        *("linear:4d:2d", "linear:r/2", "linear:c0", "hybrid", "hybrid:LLX", "eager:4d", 7, None),
    ],
)
def test_refused_forms(text):
    with pytest.raises(ArgumentError):
        design_of(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(heads=0),
        lambda: Linear(head_dim=-1),
        lambda: Linear(heads=0.5),
        lambda: Linear(features=0),
        lambda: Linear(chunk=0),
        lambda: Linear(chunk=True),
        lambda: Window(0),
        lambda: Window(2.0),
        lambda: Hybrid(""),
        lambda: Hybrid(3),
    ],
)
def test_refused_designs(make):
    with pytest.raises(ArgumentError):
        make()


def test_linear_is_two_n_h_d_squared():
    table = BERT.table(1000, attention="linear")
    assert table.total("macs", "state") == 12 * 2 * 1000 * 12 * 64**2
    assert table.total("macs", "quadratic") == 0
    wide = BERT.table(1000, attention="linear:4d")
    assert wide.total("macs", "state") == 12 * 2 * 1000 * 12 * 256**2
    assert wide.total("macs", "projections") == 4 * table.total("macs", "projections")
    few = BERT.table(1000, attention="linear:h/4")
    assert few.total("macs", "state") == 12 * 2 * 1000 * 3 * 256**2
    assert few.total("macs", "projections") == table.total("macs", "projections")
    more = BERT.table(1000, attention="linear:2r")
    assert more.total("macs", "state") == 2 * table.total("macs", "state")


def test_chunks_add_their_pairs_to_a_causal_form():
    plain, chunked = (GPT.table(130, attention=a) for a in ("linear", "linear:c64"))
    pairs = 64**2 + 64**2 + 2**2
    assert chunked.macs - plain.macs == 12 * 12 * 2 * 64 * pairs
    assert BERT.table(130, attention="linear:c64").macs == BERT.table(130, attention="linear").macs
    needed = GPT.table(130, attention="linear:c64", count="needed")
    assert needed.macs - plain.macs == 12 * 12 * 2 * 64 * (2 * 64 * 65 // 2 + 3)


def test_the_state_is_the_cache_whatever_the_context():
    sizes = {
        GPT.table(1, mode="decode", context=c, attention="linear").total("cache") for c in (1, 9999)
    }
    assert sizes == {12 * 12 * (64 * 64 + 64) * 4}
    costs = {GPT.table(1, mode="decode", context=c, attention="linear").flops for c in (1, 9999)}
    assert len(costs) == 1


def test_grouped_heads_share_their_state():
    shape = TransformerShape.from_config("Llama-3.1-8B")
    table = shape.table(10, attention="linear")
    assert table.total("macs", "state update") == 32 * 8 * 10 * 128**2
    assert table.total("macs", "read-out") == 32 * 32 * 10 * 128**2


def test_a_window_is_what_its_kernel_does():
    table = GPT.table(100, attention="window:10")
    pairs = 10 * 11 // 2 + 90 * 10
    assert table.total("macs", "quadratic") == 12 * 2 * 768 * pairs
    assert GPT.table(100, attention="window:10", count="needed").macs == table.macs
    step = GPT.table(1, mode="decode", context=500, attention="window:10")
    assert step.total("macs", "quadratic") == 12 * 2 * 768 * 10
    assert step.total("cache") == 9 * 12 * 2 * 768 * 4


def test_a_hybrid_is_made_of_its_layers():
    n = 512
    linear, full = (GPT.table(n, attention=a) for a in ("linear", "sdpa"))
    mixed = GPT.table(n, attention="hybrid:LLLF")
    apart = full.flops - linear.flops
    assert mixed.flops == linear.flops + Fraction(3, 12) * apart
    # The pattern is cut where the layers end: layers 4, 8 of 12 and so on are full.
    assert GPT.table(n, attention="hybrid:LLLLF").flops == linear.flops + Fraction(2, 12) * apart


def test_cross_attention_stays_softmax():
    shape = TransformerShape.from_config("t5-small")
    table = shape.table(20, source=30, attention="linear")
    left = [row for row in table.rows if row.group == "quadratic" and row.gemm]
    assert [row.macs for row in left] == [6 * 8 * 20 * 30 * 64] * 2


def test_heads_that_do_not_divide_are_named():
    with pytest.raises(ArgumentError, match="whole sizes; got heads 12/5"):
        BERT.table(9, attention="linear:h/5")
    with pytest.raises(ArgumentError, match="key heads 1/2"):
        TransformerShape.from_config("Llama-3.2-1B").table(9, attention="linear:h/16")
    with pytest.raises(ArgumentError, match="latent attention"):
        TransformerShape.from_config("DeepSeek-V3").table(9, attention="linear:4d")
    plain = TransformerShape.from_config("DeepSeek-V3").table(9, attention="linear")
    assert plain.total("macs", "state") == 61 * 2 * 9 * 128 * 192 * 128
    window = TransformerShape.from_config("DeepSeek-V3").table(9, attention="window:3")
    assert window.total("macs", "scores") == 61 * 128 * 192 * (1 + 2 + 7 * 3)


def test_linear_layers_by_birth_stay():
    shape = TransformerShape.from_config("MiniMax-Text-01-hf")
    linear = [row for row in shape.table(600).rows if row.name == "state update"]
    assert [row.layers for row in linear] == [70]
    everywhere = shape.table(600, attention="linear")
    assert sum(r.layers for r in everywhere.rows if r.name == "state update") == 80
