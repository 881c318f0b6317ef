"""No datum changes silently: the text of every cell comes back exactly, whatever it is."""

import csv
import io
import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trivium.table import Kind, ReadOptions, infer_column, read_dates, read_table
from trivium.table.matching import matching
from trivium.table.numbers import read_numbers

SETTINGS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ODD_TEXTS = (
    "007",
    "1e400",
    "NA",
    "  x ",
    "inf",
    "-0",
    "1.0",
    "18446744073709551616",
    "None",
    "é",
    "=1+1",
    "2024-02-30",
    "1,5",
    "a\nb",
    'say "x"',
    "\x00",
    "\x1b[0m",
    "",
    " ",
    "𝟙",
    "١٢",
    "1_000",
)
ODD = st.sampled_from(ODD_TEXTS)
CELLS = st.one_of(ODD, st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=12)


def kept(column):
    """The exact text, and that the strings are it wherever the cell is not missing."""
    source, strings = column.source.to_pylist(), column.strings.to_pylist()
    for text, string, gone in zip(source, strings, column.missing, strict=True):
        assert string == (None if gone else text)
    return source


@SETTINGS
@given(rows=ROWS)
@example(rows=[("007", "NA"), ("1e400", "  x "), ("", "inf")])
def test_csv_round_trips(rows, tmp_path):
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("a", "b"), *rows])
    path = tmp_path / "t.csv"
    path.write_bytes(text.getvalue().encode())
    table = read_table(path, ReadOptions(delimiter=","))
    for j, name in enumerate(("a", "b")):
        assert kept(table.column(name)) == [row[j] for row in rows]


@SETTINGS
@given(rows=ROWS)
def test_jsonl_round_trips(rows, tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"a": a, "b": b}) for a, b in rows))
    table = read_table(path)
    for j, name in enumerate(("a", "b")):
        assert kept(table.column(name)) == [row[j] for row in rows]


@SETTINGS
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, unique=True))
def test_numbers_are_what_python_reads(values):
    texts = [repr(value) for value in values]
    read = read_numbers(pa.array(texts, pa.large_string()))
    assert read.values.tolist() == [float(text) for text in texts]
    column = infer_column("x", pa.array(texts, pa.large_string()))
    assert column.kind is Kind.number
    assert column.values.tolist() == values


@SETTINGS
@given(
    texts=st.lists(st.one_of(ODD, st.text("0123456789.,eE+- \tinfx\n", max_size=9)), max_size=20)
)
def test_few_and_many_texts_are_read_alike(texts):
    cells = pa.array(texts, pa.large_string())
    for pattern in ("[0-9]+", r"[ \t]*[+-]?0[0-9](?s:.*)", r"[ \t]*[+-]?(?i:inf|infinity)[ \t]*"):
        assert matching(cells, pattern).tolist() == matching(cells, pattern, few=-1).tolist()
    few = read_numbers(cells)
    many = read_numbers(pa.array(texts * 1 + ["x"] * 300, pa.large_string()))
    np.testing.assert_array_equal(few.values, many.values[: len(texts)])
    np.testing.assert_array_equal(few.is_number, many.is_number[: len(texts)])


@SETTINGS
@given(
    moments=st.lists(
        st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
        min_size=1,
    ),
    minutes=st.integers(-14 * 60, 14 * 60),
)
def test_dates_are_what_the_calendar_says(moments, minutes):
    sign, size = ("-" if minutes < 0 else "+"), abs(minutes)
    zone = f"{sign}{size // 60:02d}:{size % 60:02d}"
    cells = pa.array([moment.isoformat() + zone for moment in moments], pa.large_string())
    start = datetime(1970, 1, 1, tzinfo=UTC)
    offset = timedelta(minutes=minutes)
    expected = [(moment.replace(tzinfo=UTC) - start - offset).total_seconds() for moment in moments]
    np.testing.assert_allclose(read_dates(cells).seconds, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "day", ["2023-02-29", "2100-02-29", "2024-04-31", "2024-13-01", "0000-01-01"]
)
def test_impossible_days_are_none(day):
    assert math.isnan(read_dates(pa.array([day])).seconds[0])
