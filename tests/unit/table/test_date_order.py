"""The order of dates with slashes belongs to the whole column, not to a block or a new file."""

import numpy as np
import pyarrow as pa
import pytest

from trivium._core.errors import ModelError, TriviumWarning
from trivium.audit.large_rows import Reading
from trivium.table import (
    ColumnType,
    Kind,
    ReadOptions,
    TableEncoder,
    block_table,
    column_as,
    infer_column,
    open_parts,
    read_table,
)
from trivium.table.read_files import file_starts

MONTHS = [f"{month:02d}/{day:02d}/2023" for month in range(1, 13) for day in (2, 5, 28)]
ISO = [f"{text[6:]}-{text[:2]}-{text[3:5]}" for text in MONTHS]


def written(path, dates):
    rows = (f"{date},{'ab'[place % 2]},{place % 5}.5" for place, date in enumerate(dates))
    path.write_text("when,y,n\n" + "\n".join(rows) + "\n")
    return path


def column(texts):
    return pa.array(texts, pa.large_string())


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["01/02/2023", "01/28/2023"], "mdy"),
        (["01/02/2023", "28/01/2023"], "dmy"),
        (["05/05/2023", "06/06/2023"], None),
        (["2023-01-02", "2023-01-03"], None),
    ],
)
def test_a_column_knows_its_order(texts, order):
    found = infer_column("d", column(texts))
    assert (found.kind, found.date_order) == ("datetime", order)


def test_blocks_are_read_in_the_order_of_the_whole(tmp_path):
    whole = read_table(written(tmp_path / "t.csv", MONTHS)).column("when")
    parts = open_parts(tmp_path / "t.csv", block_bytes=1)
    read = [block_table(b, {"when": whole.type}) for b in parts.blocks]
    assert np.concatenate([b.column("when").values for b in read]).tolist() == whole.values.tolist()
    table = read_table(tmp_path / "t.csv").drop(["y"])
    encoder = TableEncoder().fit(table)
    starts = file_starts(parts)
    reading = Reading(encoder, encoder.types, "y", ("a", "b"), parts.options, starts)
    rows = np.concatenate([reading.rows(block).X for block in parts.blocks])
    assert np.array_equal(rows, encoder.transform(table))


def test_a_date_that_nothing_tells_is_missing_and_named():
    found = column_as("d", column(["01/02/2023", "2023-05-05", "06/06/2023", "x"]), "datetime")
    assert np.isnan(found.values).tolist() == [True, False, False, True]
    assert found.missing.tolist() == [True, False, False, True]
    assert [note.code for note in found.notes] == ["W-AMBIGUOUS-DATE", "W-UNREADABLE"]
    assert "'01/02/2023' in row 1" in found.notes[0].message
    assert "'x' in row 4" in found.notes[1].message
    for order, month in (("dmy", 2), ("mdy", 1)):
        said = column_as("d", column(["01/02/2023"]), ColumnType(Kind.datetime, order))
        assert np.datetime64(int(said.values[0]), "s").item().month == month
        assert said.notes == ()
    learnt = ColumnType(Kind.datetime, "mdy")
    said = column_as("d", column(["01/02/2023"]), learnt, ReadOptions(date_order="dmy"))
    assert np.datetime64(int(said.values[0]), "s").item().month == 2


def test_a_file_to_predict_is_read_in_the_order_learnt(tmp_path):
    table = read_table(written(tmp_path / "t.csv", MONTHS)).drop(["y"])
    encoder = TableEncoder().fit(table)
    encoder = TableEncoder.from_state(*encoder.state())
    few = [text for text in MONTHS if text[3:5] != "28"]
    some = read_table(written(tmp_path / "new.csv", few))
    same = read_table(written(tmp_path / "iso.csv", [ISO[MONTHS.index(text)] for text in few]))
    assert np.array_equal(encoder.transform(some), encoder.transform(same))
    other = encoder.transform(some, ReadOptions(date_order="dmy"))
    assert not np.array_equal(other, encoder.transform(same))

    # One day above 12 in the first place does not turn the others round.
    odd = read_table(written(tmp_path / "odd.csv", [*few, "28/01/2023"]))
    assert odd.column("when").date_order == "dmy"
    with pytest.warns(TriviumWarning, match="'28/01/2023'"):
        found = encoder.transform(odd)
    assert np.array_equal(found[: len(few)], encoder.transform(same))


def test_a_model_without_an_order_guesses_none(tmp_path):
    encoder = TableEncoder().fit(read_table(written(tmp_path / "iso.csv", ISO)).drop(["y"]))
    assert "date_order" not in encoder.state()[1]["blocks"][0]["facts"]
    with pytest.warns(TriviumWarning, match="either day/month or month/day"):
        encoder.transform(read_table(written(tmp_path / "new.csv", ["01/02/2023", "03/04/2023"])))


def test_another_word_for_an_order_is_refused(tmp_path):
    encoder = TableEncoder().fit(read_table(written(tmp_path / "t.csv", MONTHS)).drop(["y"]))
    tensors, manifest = encoder.state()
    manifest["blocks"][0]["facts"]["date_order"] = "ymd"
    with pytest.raises(ModelError, match="unknown order of dates"):
        TableEncoder.from_state(tensors, manifest)
