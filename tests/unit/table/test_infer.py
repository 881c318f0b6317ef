"""The rules of inference, one by one, and the real table."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import trivium.table
from trivium._core.errors import ArgumentError, DataError
from trivium.table import (
    Kind,
    ReadOptions,
    column_as,
    duplicate_groups,
    from_frame,
    infer_column,
    inspect_columns,
    read_table,
    split_label,
)
from trivium.table.delimited import sniff
from trivium.table.naming import cut, listed, nearest

PENGUINS = next(Path(trivium.table.__file__).parent.rglob("*penguins*.csv"), None)


def column(cells, name="x", **options):
    return infer_column(name, pa.array(cells, pa.large_string()), ReadOptions(**options))


SENTENCES = [f"the {a} dog saw {b} cats today" for a in ("old", "red", "big") for b in range(9)]
KINDS = {
    "all equal": (["5"] * 9, Kind.constant),
    "nothing": ([None, "", "NA"], Kind.constant),
    "one text or none": (["yes", "", "yes", ""], Kind.category),
    "whole numbers": (["1", "2", "-3", "2"], Kind.integer),
    "numbers": (["1", "2.5", " 3e-2 "], Kind.number),
    "numbers beside missing": (["1", "?", "2.5", "N/A", "  "], Kind.number),
    "only infinities": (["inf", "-inf", "inf", "inf"], Kind.category),
    "booleans": (["true", "false", "true"], Kind.category),
    "thousands marked twice": (["1,000,000", "2", "3"], Kind.text),
    "other digits": (["١٢", "١٣"] * 10, Kind.category),
    "row numbers": ([str(i) for i in range(1, 40)], Kind.identifier),
    "shuffled row numbers": ([str(i * 7 % 41) for i in range(41)], Kind.identifier),
    "rising keys": ([str(1000 + 9 * i) for i in range(30)], Kind.identifier),
    "spread whole numbers": ([str(i * i * i % 10_007) for i in range(200)], Kind.integer),
    "huge keys": ([str(2**60 + i * i * 999) for i in range(30)], Kind.identifier),
    "uuids": ([f"{i:08x}-{i * i:04x}" for i in range(30)], Kind.identifier),
    "zip codes": (["02139", "10001", "02139", "94110"] * 9, Kind.category),
    "sentences": (SENTENCES, Kind.text),
    "short reviews": ([f"good {a} {b}" for a in "abcde" for b in "vwxyz"], Kind.text),
    "Chinese sentences": ([f"这只企鹅的第{i}个巢从未见到完整的卵" for i in range(30)], Kind.text),
    "ISO dates": (["2024-01-01", "2023-12-31", "NA"], Kind.datetime),
    "dates and times": (["2024-01-01 12:00", "2024-01-01T12:00:01.5Z"] * 2, Kind.datetime),
    "days with dots": (["31.12.2024", "01.02.2024"], Kind.datetime),
    "months by name": (["31 Dec 2024", "Feb 1, 2024", "1-March-2024"], Kind.datetime),
    "slashes that tell": (["31/12/2024", "01/02/2024"], Kind.datetime),
    "slashes that contradict": (["31/12/2024", "12/31/2024"], Kind.text),
    "years": (["2020", "2021", "2020"], Kind.integer),
}


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_kind(case):
    cells, kind = KINDS[case]
    found = column(cells)
    assert found.kind is kind
    assert len(found) == len(cells)
    has_values = kind in {Kind.number, Kind.integer, Kind.datetime}
    assert (found.values is not None) == has_values
    if has_values:
        np.testing.assert_array_equal(np.isnan(found.values), found.missing)


def test_what_the_user_says_is_obeyed():
    codes = [f"{i:03d}" for i in range(30)]
    assert column(codes, number=("x",)).values.tolist() == [float(i) for i in range(30)]
    assert column(codes, category=("x",)).kind is Kind.category
    assert column(codes, text=("x",)).kind is Kind.text
    assert column(["1,5", "2"], decimal=",").values.tolist() == [1.5, 2.0]
    assert column(["03/04/2024", "05/06/2024"], date_order="mdy").values[0] == 1709596800 - 86400
    assert column(["DE", "NA", "DE"], missing=("NA",)).missing.tolist() == [False, True, False]
    assert column(["DE", "NA", "DE"], missing=("DE",)).texts() == [None, "NA", None]
    assert column(["soon", "later"], date=("x",)).notes[0].code == "W-BAD-DATE"


def test_known_kind_is_read_from_one_row():
    cells = pa.array(["5"], pa.large_string())
    assert column_as("x", cells, "integer").values.tolist() == [5.0]
    assert column_as("x", cells, "category").texts() == ["5"]
    bad = column_as("x", pa.array(["5", "soon", None], pa.large_string()), "datetime")
    assert bad.missing.all()
    assert [note.code for note in bad.notes] == ["W-UNREADABLE"]


def test_the_penguins_come_out_sensibly():
    kinds = {c.name: c.kind.value for c in read_table(PENGUINS).columns}
    assert kinds == {
        "studyName": "category",
        "Sample Number": "integer",
        "Species": "category",
        "Region": "constant",
        "Island": "category",
        "Stage": "constant",
        "Individual ID": "identifier",
        "Clutch Completion": "category",
        "Date Egg": "datetime",
        "Culmen Length (mm)": "number",
        "Culmen Depth (mm)": "number",
        "Flipper Length (mm)": "integer",
        "Body Mass (g)": "integer",
        "Sex": "category",
        "Delta 15 N (o/oo)": "number",
        "Delta 13 C (o/oo)": "number",
        "Comments": "text",
    }
    label = split_label(read_table(PENGUINS), "Sex")
    assert label.classes == ("FEMALE", "MALE")
    assert label.counts.tolist() == [165, 168]
    assert "11 of 344 rows" in label.notices[0].message


def test_frames_are_read_alike():
    data = {"a": [1, 2, None], "b": ["x", None, "y"], "f": [True, False, True]}
    frames = [pd.DataFrame(data), pl.DataFrame(data), pl.DataFrame(data).lazy(), pa.table(data)]
    tables = [from_frame(frame) for frame in frames]
    for table in tables:
        assert [c.source.to_pylist() for c in table.columns] == [
            ["1", "2", None],
            ["x", None, "y"],
            ["true", "false", "true"],
        ]
    mixed = from_frame(pd.DataFrame({"c": [1, "two", None], 5: [1, 2, 3]}))
    assert mixed.column("c").source.to_pylist() == ["1", "two", None]
    assert mixed.names == ("c", "5")


@pytest.mark.parametrize(
    ("frame", "error", "pattern"),
    [
        ([1], ArgumentError, "got list"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), DataError, "names must differ"),
        (pd.DataFrame({"a": [1, [2]]}), DataError, "'a' must hold .* row 2"),
        (pl.DataFrame({"a": [[1], [2]]}), DataError, "nested: 'a'"),
        (pd.DataFrame({"p": pd.period_range("2020", "2022", freq="Y")}), DataError, "'p' of type"),
        (pa.table({"b": [b"\xff", b"a"]}), DataError, "'b' of type"),
        (pa.table({"a": ["1"]}), DataError, "at least 2 rows"),
    ],
)
def test_frames_refused(frame, error, pattern):
    with pytest.raises(error, match=pattern):
        from_frame(frame)


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "nonsense"},
        {"encoding": "hex"},
        {"delimiter": ",,"},
        {"delimiter": '"'},
        {"decimal": "'"},
        {"date_order": "ymd"},
        {"max_bytes": 0},
        {"min_rows": -1},
        {"text": ("a",), "drop": ("a",)},
    ],
)
def test_options_refused(options):
    with pytest.raises(ArgumentError, match=r"ReadOptions: "):
        ReadOptions(**options)


def test_table_takes_drops_and_places(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1,x,NA\n\n2,y,3\n3,x,4\n")
    table = read_table(path)
    assert table.line_numbers.tolist() == [2, 4, 5]
    part = table.drop(["b"]).take([2, 0])
    assert part.names == ("a", "c")
    assert part.column("c").source.to_pylist() == ["4", "NA"]
    assert part.column("a").values.tolist() == [3.0, 1.0]
    assert part.place(0) == "t.csv, line 5"
    assert table.select(["c", "a"]).names == ("c", "a")
    codes, classes = table.column("b").codes()
    assert (codes.tolist(), classes) == ([0, 1, 0], ("x", "y"))
    with pytest.raises(DataError, match="Did you mean 'b'"):
        table.column("B")


def test_duplicate_groups_do_not_see_identifiers_nor_the_label():
    n = 24
    frame = pa.table({"id": range(n), "x": [i % 12 * 1.5 for i in range(n)], "y": list("ab" * 12)})
    groups = duplicate_groups(from_frame(frame), ignore=("y",))
    assert groups.tolist() == [i % 12 for i in range(n)]


def test_sniffing_and_naming():
    assert sniff(["a,b|c,d", "1,2|3,4"]) == ","
    assert sniff(["a|b", "1|2"]) == "|"
    assert sniff(["alone", "1", "2"], usual="\t") == "\t"
    assert sniff(["a,b", "1,2,3", "1,2"]) == ","
    assert listed(["a", "b", "c"], limit=2) == "a, b and 1 more"
    assert len(cut("x" * 1000)) <= 62
    assert "columns are" in nearest("zzz", ["a", "b"])


# 300 different texts go through Arrow's expressions, 3 through Python's.
@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize(
    ("shapes", "at", "first"),
    [
        (["{}2", "\u00a5{},234.50", "\uffe5{}.1"], 2, "\u00a51,234.50"),
        (["{}%", "{}.5%", "{}2 \u2030"], 1, "1%"),
        (["$ {}", "(2.{})", "\u2212{}"], 1, "$ 1"),
        (["{}.5", "{}.200,50", "7{}\u00a0\u20ac"], 2, "1.200,50"),
        (["{}", "{}\u00a0", "{}\u5143"], 2, "1\u00a0"),
    ],
)
def test_numbers_with_signs_about_them_are_named(shapes, at, first, times):
    found = column([shape.format(i + 1) for i in range(times) for shape in shapes])
    assert found.kind in {Kind.category, Kind.identifier}
    (note,) = (note for note in found.notes if note.code == "W-DRESSED")
    assert note.where == f"column x, row {at}"
    assert repr(first) in note.message


@pytest.mark.parametrize(
    "cells", [["007", "012"], ["12-34", "5"], ["$", "%"], ["$1", "two"], ["v1.2", "v1.3"]]
)
def test_other_words_are_not_taken_for_numbers(cells):
    assert not [note for note in column(cells).notes if note.code == "W-DRESSED"]


def test_only_an_identifier_of_numbers_is_offered_to_be_one():
    ids = {"id": [f"{i}" for i in range(40)], "name": [f"A{i}" for i in range(40)]}
    table = from_frame(pa.table(ids | {"y": ["a", "b"] * 20}))
    said = {n.where: n.message for n in inspect_columns(table, split_label(table, "y"))}
    assert "--category, --text or --number uses it" in said["column id"]
    assert said["column name"].endswith("--category or --text uses it")
