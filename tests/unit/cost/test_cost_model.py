"""The clock of a shape: parts that add up, crossings in time, comparisons, refusals."""

from fractions import Fraction

import pytest

from trivium._core.errors import ArgumentError
from trivium.cost import (
    KINDS,
    Asked,
    Clock,
    CostModel,
    Law,
    Machine,
    Operation,
    TransformerShape,
    compare,
    cost_report,
    crossover,
)

BERT = TransformerShape.from_config("bert-base-uncased")
GPT = TransformerShape.from_config("gpt2")
LLAMA = TransformerShape.from_config("Llama-3.2-1B")


def machine(error=0.0, **laws):
    """A machine that does a FLOP in a picosecond and nothing else takes time."""
    plain = dict.fromkeys(KINDS, Law(1e-12, 0.0, 0.0, 0.0, 0.0, error))
    return Machine(plain | laws, calibrated=True)


BYTES = Law(0.0, 1e-10, 1e-10, 0.0, 0.0, 0.0)


def test_parts_add_up():
    clock = CostModel(BERT, Machine.datasheet("core-avx512"))
    found = clock.time(300, batch=2)
    assert found.middle == pytest.approx(sum(part.middle for part in found.parts))
    assert found.low < found.middle < found.high
    assert [part.name for part in found.parts] == [row.name for row in BERT.table(300).rows]
    assert not found.calibrated
    assert "By a datasheet" in str(found)
    assert found.to_dict()["middle"] == found.middle


def test_where_only_flops_cost_time_the_seconds_are_the_flops():
    for shape in (BERT, GPT, LLAMA):
        clock = CostModel(shape, machine())
        assert isinstance(clock, Clock)
        for attention in ("eager", "sdpa", "linear"):
            table = shape.table(257, 3, attention=attention)
            expected = table.flops
            if (shape, attention) == (LLAMA, "linear"):
                # The function takes as many heads of keys as of queries: 32, not 8.
                expected += 3 * table.total("flops", "state update")
            assert clock.seconds(table)[1] == pytest.approx(expected * 1e-12)


def test_then_the_crossings_are_those_of_the_flops():
    clock = CostModel(BERT, machine())
    for pair in (("ffn", "attention"), ("quadratic", "rest"), ("eager", "linear:4d")):
        exact, told = crossover(BERT, *pair), crossover(BERT, *pair, "time", clock=clock)
        (place,), (seen,) = exact.crossings, told.crossings
        assert abs(float(seen.estimate) - float(place.low)) <= 1
        assert seen.low <= seen.estimate <= seen.high
        assert seen.larger == place.larger


def test_an_uncertain_clock_gives_a_stretch_around_the_estimate():
    narrow = crossover(BERT, "ffn", "attention", "time", clock=CostModel(BERT, machine(0.05)))
    wide = crossover(BERT, "ffn", "attention", "time", clock=CostModel(BERT, machine(0.2)))
    (a,), (b,) = narrow.crossings, wide.crossings
    assert b.low < a.low < 1536 < a.high < b.high
    assert float(a.estimate) == pytest.approx(1536, abs=1)
    assert str(narrow).startswith("ffn = attention at n = 1,536 (")


def test_passes_bring_the_crossing_forward_and_the_fused_kernel_pushes_it_back():
    slow = machine(**{"pass": BYTES, "softmax": BYTES})
    clock = CostModel(BERT, slow)

    def place(attention):
        found = crossover(BERT, "ffn", "attention", "time", clock=clock, attention=attention)
        assert found.attention == attention
        return found.crossings[0].estimate

    assert place("eager") < place("sdpa") < 1536


def test_a_comparison_has_seconds():
    clock = CostModel(BERT, machine(0.1, **{"pass": BYTES}))
    found = compare((BERT, ["eager", "sdpa"]), [300, 500], clock=clock)
    eager, fused = found.entries
    assert eager.flops == fused.flops
    assert fused.seconds[1] < eager.seconds[1]
    assert eager.seconds[0] < eager.seconds[1] < eager.seconds[2]
    assert "seconds" in str(found)


def test_a_report_has_seconds_and_a_verdict_about_them():
    slow = machine(0.05, **{"pass": BYTES, "softmax": BYTES})
    report = cost_report(BERT, [128, 900], ["sdpa", "linear"], asked=Asked(machine=slow))
    text = " ".join(str(report).split())
    assert "In FLOPs: ffn = attention at n = 1,536; in time: n = " in text
    assert "In time (sdpa): ffn = attention at n = " in text
    assert "Use the fused path: sdpa computes the same as eager and saves" in report.verdict[-2]
    assert "if its quality is enough" in report.verdict[-1]
    assert any("of these tokens sit in rows under" in said for said in report.verdict)
    assert not any("These are counts" in said for said in report.verdict)
    found = report.to_dict()
    assert [each["middle"] for each in found["seconds"]] == [
        seconds.middle for seconds in report.timed.seconds
    ]
    assert found["machine"]["dtype"] == "float32"
    assert {each["by"] for each in found["crossovers"]} == {"flops", "time"}


def test_decoding_and_images_have_seconds():
    asked = Asked(mode="decode", machine=machine())
    report = cost_report(GPT, [100, 1000], asked=asked)
    first, last = report.timed.seconds
    assert first.middle == pytest.approx(GPT.table(1, 1, "decode", 100).flops * 1e-12)
    assert last.middle > first.middle
    image = TransformerShape.from_config("vit-base-patch16-224")
    assert cost_report(image, [], asked=Asked(machine=machine())).timed.crossovers == ()


def test_work_beyond_what_was_measured_is_named():
    known = Law(1e-12, 0.0, 0.0, 0.0, 0.0, 0.1, (1e3, 1e3), (1e7, 1e9), 9)
    clock = CostModel(BERT, machine(linear=known))
    found = clock.time(512)
    assert found.outside == ("linear",)
    assert "Beyond the sizes that were measured: linear." in str(found)
    inside = CostModel(BERT, machine()).time(512)
    assert inside.outside == ()
    assert found.high - found.middle > 0.1 * found.middle


def test_refused():
    clock = CostModel(BERT, machine())
    with pytest.raises(ArgumentError, match="mode must be forward, prefill or decode; got 'train'"):
        clock.time(10, mode="train")
    with pytest.raises(ArgumentError, match=r"itemsize must be 4, .* dtype float32; got 2"):
        clock.seconds(BERT.table(10, itemsize=2))
    few = Machine({"linear": Law(1e-12, 0.0, 0.0, 0.0, 0.0, 0.0)})
    with pytest.raises(ArgumentError, match="kind must be one of linear; got 'gather'"):
        CostModel(BERT, few).time(100)
    with pytest.raises(ArgumentError, match="machine must be a Machine; got str"):
        CostModel(BERT, "machine.json")
    with pytest.raises(ArgumentError, match="shape must be a TransformerShape"):
        CostModel("bert", machine())


def test_a_clock_of_half_precision():
    half = Machine(dict.fromkeys(KINDS, BYTES), dtype="bfloat16", calibrated=True)
    clock = CostModel(BERT, half)
    assert clock.itemsize == 2
    wide = CostModel(BERT, Machine(dict.fromkeys(KINDS, BYTES), calibrated=True))
    assert wide.time(50).middle == pytest.approx(2 * clock.time(50).middle)
    report = cost_report(BERT, [64], asked=Asked(machine=half, itemsize=2))
    assert report.timed.crossovers


def operations(shape, name, n=64, batch=1, attention="eager", mode="forward", **more):
    rows = shape.table(n, batch, mode, attention=attention, **more).rows
    return next(row.operations for row in rows if row.name == name)


def test_what_runs_of_eager_attention():
    pairs, out = 12 * 12 * 64 * 64 * 4, 12 * 64 * 768 * 4
    assert operations(BERT, "scores") == (
        Operation("product", 2 * pairs * 16, pairs + 2 * out, 12, pairs),
    )
    scale, softmax = operations(BERT, "softmax")
    assert scale == Operation("pass", 0, 2 * pairs, 12, pairs)
    assert softmax == Operation("softmax", 0, 2 * pairs, 12, pairs)
    # A causal model adds its mask; rows apart in memory are copied.
    assert operations(GPT, "softmax")[0].bytes == 4 * pairs
    assert len(operations(BERT, "scores", batch=2)) == 3
    assert operations(BERT, "scores", n=512)[0].kind == "wide product"


def test_what_runs_of_one_kernel():
    pairs, out = 12 * 12 * 64 * 64 * 4, 12 * 64 * 768 * 4
    assert operations(BERT, "scores", attention="sdpa") == ()
    whole, softmax = operations(BERT, "context", attention="sdpa")
    assert whole == Operation("attention", pairs * 64, 4 * out, 12, out)
    assert softmax == Operation("softmax", 0, 2 * pairs, 12, 0)
    causal, half = operations(GPT, "context", attention="sdpa")
    assert causal.kind == "causal attention"
    assert half.bytes == pairs
    # One token sees all of its cache.
    step = operations(GPT, "context", 1, attention="sdpa", mode="decode", context=99)
    assert step[0].kind == "attention"
    # What is counted does not change what runs.
    needed = operations(GPT, "context", attention="sdpa", count="needed")
    assert needed == (causal, half)


def test_what_runs_of_other_parts():
    assert operations(LLAMA, "query")[1].kind == "pass"  # rotary positions
    assert operations(LLAMA, "value") == operations(LLAMA, "value")[:1]
    assert [each.kind for each in operations(LLAMA, "activation")] == ["activation", "pass"]
    assert (
        operations(GPT, "query, key, value", 1, mode="decode", context=9)[0].kind == "thin linear"
    )
    assert operations(BERT, "norm")[0].kind == "norm"
    assert operations(BERT, "up", mode="train") == ()
    mixture = TransformerShape.from_config("Mixtral-8x7B-v0.1")
    assert operations(mixture, "expert down", 400)[0].calls == 8 * 32
    assert operations(mixture, "expert down", 1, mode="decode", context=9)[0].calls == 2 * 32
    assert Fraction(operations(BERT, "residual")[0].bytes, 3) == 12 * 64 * 768 * 4
