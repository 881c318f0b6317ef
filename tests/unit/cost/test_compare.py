"""Designs over the lengths of a user: padding, bucketing, quality, the verdict, the report."""

from collections import Counter
from fractions import Fraction

import pytest

from trivium._core.errors import ArgumentError, DataError
from trivium.cost import (
    Asked,
    Lengths,
    TransformerShape,
    compare,
    cost_report,
    read_lengths,
)

BERT = TransformerShape.from_config("bert-base-uncased")
ROWS = [5, 60, 7, 64, 6]


def test_batches():
    lengths = Lengths(tuple(ROWS))
    assert lengths.batches(2, "batch") == Counter({(60, 2): 1, (64, 2): 1, (6, 1): 1})
    assert lengths.batches(2, "sorted") == Counter({(6, 2): 1, (60, 2): 1, (64, 1): 1})
    assert lengths.batches(2, "longest") == Counter({(64, 2): 2, (64, 1): 1})
    assert lengths.batches(2, "none") == Counter({(n, 1): 1 for n in ROWS})
    assert Lengths((4,) * 5).batches(2, "none") == Counter({(4, 2): 2, (4, 1): 1})
    assert lengths.share_below(60) == Fraction(18, 142)


def test_padding_costs_what_it_says():
    flops = {}
    for padding in ("none", "sorted", "batch", "longest"):
        found = compare((BERT, ["sdpa"]), ROWS, 2, padding=padding)
        flops[padding] = found["sdpa"].flops
        assert found["sdpa"].needed == sum(BERT.table(n).flops for n in ROWS)
    assert flops["none"] < flops["sorted"] < flops["batch"] < flops["longest"]
    assert flops["longest"] == 5 * BERT.table(64).flops
    assert flops["batch"] == sum(BERT.table(n).flops for n in (60, 60, 64, 64, 6))
    found = compare((BERT, ["sdpa"]), ROWS, 2, padding="none")
    assert found["sdpa"].wasted == 0


def test_masks_are_waste_too():
    shape = TransformerShape.from_config("gpt2")
    found = compare((shape, ["eager"]), [64], padding="none")
    assert found["eager"].needed == shape.table(64, count="needed").flops < found["eager"].flops


def test_quality_is_the_users_word():
    quality = {"sdpa": 0.80, "linear:4d": 0.79, "linear:h/4": 0.70}
    found = compare((BERT, ["sdpa", "linear:4d", "linear:h/4"]), [512], quality=quality)
    assert [entry.best for entry in found.entries] == [True, False, True]
    assert [entry.quality for entry in found.entries] == [0.80, 0.79, 0.70]
    assert "0.79" in str(found)
    some = compare((BERT, ["sdpa", "linear"]), [512], quality={"sdpa": 1})
    assert [entry.best for entry in some.entries] == [True, None]
    none = compare((BERT, ["sdpa", "linear"]), [512])
    assert [entry.best for entry in none.entries] == [None, None]


def test_designs_of_different_shapes():
    small = TransformerShape.from_config("all-MiniLM-L6-v2")
    found = compare({"big": BERT, "small": (small, "sdpa")}, [128], mode="train")
    assert found["small"].flops == small.table(128, mode="train", attention="sdpa").flops
    assert found["big"].saved == BERT.table(128, mode="train").total("saved")
    assert found.to_dict()["designs"][1]["name"] == "small"


def test_seconds_come_from_a_clock():
    class Clock:
        def seconds(self, table):
            return 1.0, 2.0, 3.0

    found = compare((BERT, ["sdpa"]), ROWS, 2, clock=Clock())
    assert found["sdpa"].seconds == (3.0, 6.0, 9.0)


@pytest.mark.parametrize(
    ("designs", "lengths", "more"),
    [
        ({}, [9], {}),
        (3, [9], {}),
        ({"a": 3}, [9], {}),
        ((BERT, ["flash"]), [9], {}),
        ((BERT, ["sdpa"]), [], {}),
        ((BERT, ["sdpa"]), [0], {}),
        ((BERT, ["sdpa"]), [-3], {}),
        ((BERT, ["sdpa"]), [1.5], {}),
        ((BERT, ["sdpa"]), [9], {"batch": 0}),
        ((BERT, ["sdpa"]), [9], {"padding": "some"}),
        ((BERT, ["sdpa"]), [9], {"mode": "decode"}),
        ((BERT, ["sdpa"]), [9], {"quality": {"linear": 1}}),
        ((BERT, ["sdpa"]), [9], {"quality": {"sdpa": float("nan")}}),
        ((BERT, ["sdpa"]), [9], {"quality": {"sdpa": "good"}}),
        ((BERT, ["sdpa"]), [9], {"clock": "noon"}),
    ],
)
def test_refused(designs, lengths, more):
    with pytest.raises(ArgumentError):
        compare(designs, lengths, **more)


def test_a_name_that_is_not_there():
    with pytest.raises(ArgumentError, match="one of sdpa"):
        _ = compare((BERT, ["sdpa"]), [9])["eager"]
    with pytest.raises(ArgumentError, match="sequence of integers"):
        Lengths("12")
    with pytest.raises(ArgumentError, match="sequence of integers"):
        Lengths(12)


def test_a_file_of_lengths(tmp_path):
    path = tmp_path / "lengths.txt"
    path.write_bytes(b"\xef\xbb\xbf12\n\n 7 \r\n+3\n")
    assert read_lengths(path).rows == (12, 7, 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"12\n0\n", "line 2"),
        (b"-4\n", "line 1"),
        (b"12\nmany\n", "got 'many'"),
        (b"12.5\n", "line 1"),
        (b"9" * 4000, "line 1"),
        (b"2147483648\n", "line 1"),
        (b"\xff\xfe\n", "readable text"),
        (None, "readable text"),
    ],
)
def test_files_that_hold_no_lengths(tmp_path, content, said):
    path = tmp_path / "lengths.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        read_lengths(path)
    assert error.value.code == "E-LENGTHS"


def test_the_verdict_says_what_the_counts_say():
    rows = Lengths((100,) * 87 + (2000,) * 1)
    report = cost_report(BERT, [128], ["sdpa", "linear:4d", "linear:h/4"], rows, Asked(batch=8))
    first, fused, wide, narrow, padding, *rest = report.verdict
    whole = quadratic = 0
    for n, times in ((100, 80), (2000, 8)):
        whole += times * BERT.table(n).flops
        quadratic += times * BERT.table(n).total("flops", "quadratic")
    assert first.startswith("81 % of your tokens sit in rows under 1,536")
    assert f"can save at most {100 * quadratic / whole:.0f} % of the FLOPs" in first
    assert fused.startswith("sdpa does the same FLOPs as eager and moves")
    assert wide.startswith("linear:4d does")
    assert narrow.startswith("linear:h/4 saves")
    # 80 rows of 100, and 8 at 2,000 of which 7 are short.
    waste = 1 - rows.tokens / (80 * 100 + 8 * 2000)
    assert padding.startswith(f"{100 * waste:.0f} % of the places")
    assert rest[0] == "1 row is longer than the 512 positions of bert-base-uncased."


def test_a_verdict_where_attention_always_costs_more():
    shape = TransformerShape.from_config(
        {
            "model_type": "bert",
            "hidden_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "vocab_size": 9,
        }
    )
    report = cost_report(shape, [9])
    assert report.verdict[0].startswith("At every length attention costs more;")


def test_reports_of_every_kind():
    for name, mode in (("gpt2", "decode"), ("t5-small", "train"), ("gpt2", "prefill")):
        report = cost_report(TransformerShape.from_config(name), [9, 90], asked=Asked(mode=mode))
        assert report.to_dict()["tables"][1]["total"]["flops"] == report.tables[1].flops
        assert "total" not in str(report)
        assert str(report).startswith(name)
        assert bool(report.verdict) == (mode != "decode")
    image = cost_report(TransformerShape.from_config("vit-base-patch16-224"), [])
    assert image.tables[0].work.n == 196
    assert image.crossovers == ()
    with pytest.raises(ArgumentError, match="at least one length"):
        cost_report(BERT, [])


def test_sorting_is_named_only_where_it_helps():
    mixed, even = Lengths((10, 90) * 8), Lengths((10,) * 8 + (80, 90) * 4)
    said = [cost_report(BERT, [9], (), rows, Asked(batch=8)).verdict[1] for rows in (mixed, even)]
    assert (
        said[0] == "44 % of the places in the batches are padding; with rows sorted by length 0 %."
    )
    assert said[1].startswith("5.0 % of the places in the batches are padding.")
