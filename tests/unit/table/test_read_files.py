"""Several files as one table: rows in order, columns by name, places with the file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trivium._core.errors import DataError
from trivium.parallel import SerialExecutor
from trivium.table import ReadOptions, read_files, read_table, shown_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("x,name\n1,u\n2,v\n\n3,w\n")
    (tmp_path / "b.csv").write_text('name,x\nv,4\n"u\nv",oops\n')
    pq.write_table(pa.table({"name": ["w", "u"], "x": [6, 7]}), tmp_path / "c.parquet")
    return tmp_path


def test_rows_come_one_after_the_other_by_name_of_column(folder: Path) -> None:
    table = read_files([folder], executor=SerialExecutor())
    assert table.source == "a.csv and 2 more files"
    assert table.names == ("x", "name")
    assert table.column("x").texts() == ["1", "2", "3", "4", "oops", "6", "7"]
    assert table.column("name").texts() == ["u", "v", "w", "v", "u\nv", "w", "u"]
    files = [str(folder / name) for name in ("a.csv", "b.csv", "c.parquet")]
    assert [table.place(row) for row in (0, 2, 4, 6)] == [
        f"{files[0]}, line 2",
        f"{files[0]}, line 5",
        f"{files[1]}, line 3",
        f"{files[2]}, row 2",
    ]
    assert table.take([6, 3]).place(1) == f"{files[1]}, line 2"


def test_messages_name_the_file_and_its_line(folder: Path) -> None:
    note = read_files([folder]).column("x").notes[0]
    assert note.code == "W-MIXED"
    assert note.where == f"column x, row 5 ({folder / 'b.csv'}, line 3)"
    with pytest.raises(DataError) as refused:
        read_files([folder], ReadOptions(number=("x",)))
    assert refused.value.code == "E-NOT-NUMBER"
    assert refused.value.where == f"row 5 ({folder / 'b.csv'}, line 3)"


def test_one_file_is_read_as_ever(folder: Path) -> None:
    alone, table = read_table(folder / "a.csv"), read_files([folder / "a.csv"])
    assert table.source == alone.source == "a.csv"
    assert table.column("x").texts() == alone.column("x").texts()
    assert table.place(2) == "a.csv, line 5"


def test_files_that_do_not_fit_are_named(folder: Path) -> None:
    (folder / "d.csv").write_text("x,names\n1,u\n")
    with pytest.raises(DataError, match="'name'") as refused:
        read_files([folder])
    assert "d.csv" in str(refused.value)
    with pytest.raises(DataError, match="named once"):
        read_files([folder / "a.csv", folder / "a.csv"])
    (folder / "none").mkdir()
    with pytest.raises(DataError, match="got none"):
        read_files([folder / "none"])


def test_names() -> None:
    assert shown_name(["x/a.csv"]) == "a.csv"
    assert shown_name(["x/a.csv", "x/b.csv"]) == "a.csv and 1 more file"
