"""Dates such as 03/04/2024: one order a column, which a few rows of it cannot tell."""

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trivium.table import (
    ReadOptions,
    TableEncoder,
    block_table,
    column_as,
    infer_column,
    open_parts,
    read_table,
)

DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=7 * i) for i in range(60)]
FORMS = {"dmy": "%d/%m/%Y", "mdy": "%m/%d/%Y"}


def cells(days: list[dt.date], order: str) -> pa.Array:
    return pa.array([day.strftime(FORMS[order]) for day in days], pa.large_string())


def seconds(days: list[dt.date]) -> np.ndarray:
    return np.array([(day - dt.date(1970, 1, 1)).days * 86_400.0 for day in days])


UNTOLD = [day for day in DAYS if day.day <= 12 and day.day != day.month]


@pytest.mark.parametrize("order", FORMS)
def test_a_few_rows_are_read_in_the_order_of_the_column(order: str) -> None:
    whole = infer_column("when", cells(DAYS, order))
    assert whole.type.date_order == order
    few = column_as("when", cells(UNTOLD, order), whole.type)
    np.testing.assert_array_equal(few.values, seconds(UNTOLD))
    assert few.date_order == order


def test_what_the_options_say_comes_first() -> None:
    learnt = infer_column("when", cells(DAYS, "dmy")).type
    found = column_as("when", cells(UNTOLD, "mdy"), learnt, ReadOptions(date_order="mdy"))
    np.testing.assert_array_equal(found.values, seconds(UNTOLD))


def test_an_order_that_nothing_tells_is_not_guessed() -> None:
    mixed = pa.concat_arrays([cells(UNTOLD, "dmy"), pa.array(["2024-05-01"], pa.large_string())])
    found = column_as("when", mixed, "datetime")
    assert np.isnan(found.values[:-1]).all()
    assert found.values[-1] == seconds([dt.date(2024, 5, 1)])[0]
    assert [note.code for note in found.notes] == ["W-UNREADABLE"]


def test_equal_numbers_need_no_order() -> None:
    same = [dt.date(2024, m, m) for m in range(1, 13)]
    found = infer_column("when", cells(same, "mdy"))
    np.testing.assert_array_equal(found.values, seconds(same))
    assert found.type.date_order is None


@pytest.mark.parametrize("order", FORMS)
def test_blocks_and_new_files_have_the_order_learnt(order: str, tmp_path: Path) -> None:
    """A file sorted by date has blocks that do not tell their order."""
    path = tmp_path / "t.csv"
    texts = cells(DAYS, order).to_pylist()
    path.write_text("when,x\n" + "".join(f"{day},{i % 7}\n" for i, day in enumerate(texts)))
    table = read_table(path)
    encoder = TableEncoder().fit(table)
    again = TableEncoder.from_state(*encoder.state())
    assert again.types == encoder.types
    one = tmp_path / "one.csv"
    expected = encoder.transform(table)
    for row in (i for i, day in enumerate(DAYS) if day in UNTOLD):
        one.write_text(f"when,x\n{texts[row]},{row % 7}\n")
        options = ReadOptions(min_rows=1)
        found = again.transform(read_table(one, options), options)
        np.testing.assert_array_equal(found[0], expected[row])
    blocks = open_parts(path, block_bytes=30).blocks
    assert len(blocks) > 15
    values = [block_table(b, encoder.types).column("when").values for b in blocks]
    np.testing.assert_array_equal(np.concatenate(values), table.column("when").values)
