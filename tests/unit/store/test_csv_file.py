"""CSV cells that a spreadsheet would run are quoted; numbers and other text are not."""

import csv
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivium._core.errors import ArgumentError
from trivium.store import quote_cell, unquote_cell, write_csv

FORMULAS = ["=1+1", "+A1", "-A1", "@SUM(1)", "\t=1", "\r=1", "-", "--1", "+1+1", "=", "-1e", "＝1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_quoted(text):
    assert quote_cell(text) == "'" + text


@pytest.mark.parametrize("text", ["-1", "+2.5e-3", "-.5", "3.", "a=b", "", "'tis", " x", "企鹅"])
def test_numbers_and_plain_text_are_not(text):
    assert quote_cell(text) == text


@given(st.text(alphabet="'=+-@1.e\t a", max_size=6))
def test_quoting_can_be_undone(text):
    assert unquote_cell(quote_cell(text)) == text


def test_file_reads_back(tmp_path):
    rows = [["=cmd|' /C calc'!A0", 0.1 + 0.2, None, 3], ['a "b"\n,c', math.nan, True, -1.5]]
    write_csv(tmp_path / "rows.csv", ["=h", "x", "y", "z"], rows)
    with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as file:
        found = list(csv.reader(file))
    assert found == [
        ["'=h", "x", "y", "z"],
        ["'=cmd|' /C calc'!A0", "0.30000000000000004", "", "3"],
        ['a "b"\n,c', "nan", "True", "-1.5"],
    ]


def test_a_ragged_row_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ArgumentError, match=r"must have 1 cell;.*row 2"):
        write_csv(tmp_path / "rows.csv", ["a"], [["1"], ["1", "2"]])
    assert list(tmp_path.iterdir()) == []
