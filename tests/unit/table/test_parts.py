"""Many files as one table: which files, which columns, and what is refused."""

import gzip
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trivium._core.errors import ArgumentError, DataError
from trivium.parallel import JoblibExecutor
from trivium.table import ReadOptions, block_table, open_parts, read_block, read_table


def columns_of(parts):
    found = [[] for _ in parts.names]
    for block in parts.blocks:
        for column, cells in zip(found, read_block(block).cells, strict=True):
            column.extend(cells.to_pylist())
    return dict(zip(parts.names, found, strict=True))


def test_files_of_every_kind_side_by_side(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,a\n2,b\n")
    (tmp_path / "b.tsv").write_text("y\tx\nc\t3\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"x;y\n4;d\n5;e\n"))
    (tmp_path / "d.jsonl").write_text('{"y":"f"}\n\n{"x":7,"y":null}\n')
    pq.write_table(pa.table({"y": ["h"], "x": pa.array([8], pa.int8())}), tmp_path / "e.parquet")
    (tmp_path / "f.csv").write_text("x,y\n")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "notes.md").write_text("no data")
    expected = {
        "x": ["1", "2", "3", "4", "5", None, "7", "8"],
        "y": ["a", "b", "c", "d", "e", "f", None, "h"],
    }
    for block_bytes in (1, 10, 1 << 20):
        parts = open_parts(tmp_path, block_bytes=block_bytes)
        assert columns_of(parts) == expected
        assert parts.n_rows == 8
        assert {"W-EMPTY-PART", "W-DELIMITER"} <= {note.code for note in parts.notices}
    assert [path.name for path in parts.files] == [
        "a.csv",
        "b.tsv",
        "c.csv.gz",
        "d.jsonl",
        "e.parquet",
    ]
    assert open_parts([tmp_path / "b.tsv", str(tmp_path / "a.*")]).names == ("y", "x")
    assert columns_of(open_parts(tmp_path, ReadOptions(drop=("x",)))) == {"y": expected["y"]}


def test_json_keys_are_those_of_all_files_on_any_executor(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"b":1}\n{"a":true}\n')
    (tmp_path / "b.jsonl").write_text('{"c":"x"}\n')
    with JoblibExecutor(2, "threading") as executor:
        parts = open_parts(tmp_path, block_bytes=1, executor=executor)
    assert columns_of(parts) == {
        "b": ["1", None, None],
        "a": [None, "true", None],
        "c": [None, None, "x"],
    }


def test_a_block_as_a_table_of_known_kinds(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,a\nNA,b\n" * 1 + "z,c\n")
    table = read_table(path)
    (block,) = open_parts(path).blocks
    found = block_table(block, {"x": table.column("x").kind, "y": table.column("y").kind})
    assert found.names == ("x", "y")
    assert found.column("x").source.to_pylist() == ["1", "NA", "z"]
    assert found.place(2) == "t.csv, line 4"
    numbers = block_table(block, {"x": "number"}).column("x")
    assert numbers.values[0] == 1
    assert numbers.missing.tolist() == [False, True, True]


def refuse(code, where, paths, options=None, **more):
    with pytest.raises(DataError) as refused:
        columns_of(open_parts(paths, options, **more))
    assert refused.value.code == code
    assert refused.value.where is not None
    assert refused.value.where.endswith(where)
    return str(refused.value)


def test_refusals(tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text("x,y\n1,2\n3,4\n")
    b.write_text("x,z\n1,2\n")
    assert "lacks 'y'" in refuse("E-COLUMNS-DIFFER", "b.csv", [a, b])
    b.write_text("x,y,z\n1,2,3\n")
    assert "also has 'z'" in refuse("E-COLUMNS-DIFFER", "b.csv", [a, b])
    b.write_text("x,y\n1,2\n\n5\n7,8\n")
    refuse("E-ROW-WIDTH", "b.csv, line 4", [a, b], block_bytes=1)
    b.write_text('x,y\n1,"2\n5,6\n')
    refuse("E-OPEN-QUOTE", "b.csv, line 2", [a, b], block_bytes=1)
    b.write_bytes(b"x,y\n1,2\n3,\xff\n")
    refuse("E-ENCODING", "b.csv, line 3", [a, b], block_bytes=1)
    b.write_text("x,y\n")
    refuse("E-EMPTY", "b.csv", b)
    refuse("E-FEW-ROWS", "a.csv", a, ReadOptions(min_rows=3))
    refuse("E-COLUMN", "a.csv", a, ReadOptions(drop=("w",)))
    refuse("E-NO-FILE", "none.csv", tmp_path / "none.csv")
    refuse("E-NO-FILE", "*.parquet", str(tmp_path / "*.parquet"))
    (tmp_path / "empty").mkdir()
    refuse("E-NO-FILE", "empty", tmp_path / "empty")
    with pytest.raises(DataError, match="paths must hold a file"):
        open_parts([])
    with pytest.raises(ArgumentError, match="block_bytes"):
        open_parts(a, block_bytes=0)
    with pytest.raises(DataError, match="Did you mean 'x'"):
        open_parts(a).check_column("door", "X")


def test_a_file_that_changed_is_noticed(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x\n1\n2\n")
    (block,) = open_parts(path).blocks
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match="must not change") as refused:
        read_block(block)
    assert refused.value.code == "E-CHANGED"
    path.unlink()
    with pytest.raises(DataError, match="must still be there"):
        read_block(block)


def test_packed_files_are_bounded_by_their_size(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"x\n" + b"1\n" * 2_000_000))
    refuse("E-TOO-LONG", "t.csv.gz", path, ReadOptions(max_bytes=1 << 20))
    assert open_parts(path, ReadOptions(max_bytes=1 << 23)).n_rows == 2_000_000
    plain = tmp_path / "t.csv"
    plain.write_bytes(b"x\n" + b"1\n" * 1_000)
    assert open_parts(plain, ReadOptions(max_bytes=10)).n_rows == 1_000


def test_an_endless_quote_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("trivium.table.cuts._LONGEST", 1 << 12)
    path = tmp_path / "t.csv"
    path.write_text('x,y\n1,2\n3,"' + "a\n" * 10_000)
    refuse("E-OPEN-QUOTE", "t.csv, line 3", path, block_bytes=4)
    path.write_text('x,y\n1,2\n3,"' + "a\n" * 10_000 + '"\n5,6\n')
    parts = open_parts(path, block_bytes=4)
    assert parts.n_rows == 3
    assert columns_of(parts)["x"] == ["1", "3", "5"]


def test_parquet_columns_with_equal_and_dotted_names(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table([[1, 2], [3, 4], [5, 6]], names=["a.b", "a", "a"]), path)
    parts = open_parts(path, ReadOptions(rename_duplicates=True, drop=("a",)), block_bytes=1)
    assert columns_of(parts) == {"a.b": ["1", "2"], "a_2": ["5", "6"]}
    assert len(parts.blocks) == 2
    assert [block.where.split(", ")[1] for block in parts.blocks] == ["row group 0"] * 2
