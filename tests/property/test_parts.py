"""Blocks of files, put together, are the file, cell by cell and refusal by refusal."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trivium._core.errors import DataError
from trivium.table import ReadOptions, open_parts, read_block
from trivium.table.read import _READERS
from trivium.table.source import open_source

_LOOSE = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_ANY = ReadOptions(min_rows=0)


def whole(path: Path, options: ReadOptions) -> tuple:
    """Return what the reader of whole files makes of it."""
    source = open_source(path, options)
    raw = _READERS[source.format](source)
    lines = None if raw.lines is None else raw.lines.tolist()
    return raw.names, [column.to_pylist() for column in raw.cells], lines


def in_blocks(path: Path, options: ReadOptions, block_bytes: int) -> tuple:
    """Return the same from blocks, whose places and sizes are checked on the way."""
    parts = open_parts(path, options, block_bytes=block_bytes)
    cells: list[list] = [[] for _ in parts.names]
    lines: list[int] = []
    row = 0
    for block in parts.blocks:
        raw = read_block(block)
        assert (block.first_row, block.n_rows) == (row, raw.n_rows)
        assert raw.names == list(parts.names)
        row += raw.n_rows
        for column, found in zip(cells, raw.cells, strict=True):
            column.extend(found.to_pylist())
        lines.extend([] if raw.lines is None else raw.lines.tolist())
    assert parts.n_rows == row
    return list(parts.names), cells, lines or None


def same(path: Path, block_bytes: int, options: ReadOptions = _ANY) -> None:
    """Check that both ways give the same table or the same refusal."""
    expected = refusal = None
    try:
        expected = whole(path, options)
    except DataError as error:
        refusal = (error.code, error.where)
    if expected is None:
        with pytest.raises(DataError) as refused:
            in_blocks(path, options, block_bytes)
        assert (refused.value.code, refused.value.where) == refusal
        return
    if not expected[2]:
        with pytest.raises(DataError, match="no rows"):
            in_blocks(path, options, block_bytes)
        return
    assert in_blocks(path, options, block_bytes) == expected


_NASTY = st.text(st.sampled_from('a1,;\t\n\r" é\x00\x85'), max_size=5)
_BREAKS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def csv_texts(draw: st.DrawFn) -> str:
    """Return a table with quotes, breaks in quotes, blank lines, and now and then a bad row."""
    delimiter = draw(st.sampled_from(",;\t|"))
    width, breaks = draw(st.integers(1, 3)), draw(_BREAKS)
    text = draw(st.sampled_from(["", "\ufeff", breaks]))
    text += delimiter.join(f"c{i}" for i in range(width)) + breaks
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.integers(0, 30))
        if kind < 3:
            text += draw(st.sampled_from(["", " ", '""', '" "', "\t", '"\t"'])) + breaks
            continue
        cells = [draw(_NASTY) for _ in range(width + (kind == 4) - (kind == 5))]
        if kind == 6:
            text += delimiter.join(cells) + breaks  # nothing quoted that should be
            continue
        for i, cell in enumerate(cells):
            wanted = any(c in cell for c in f'{delimiter}"\n\r')
            if wanted or draw(st.booleans()):
                cells[i] = '"' + cell.replace('"', '""') + '"'
        text += delimiter.join(cells) + draw(st.sampled_from([breaks, breaks, "\n"]))
    return text if draw(st.booleans()) else text.rstrip("\r\n")


@_LOOSE
@given(csv_texts(), st.integers(1, 40), st.booleans())
@example('a,b\n1,x" y\n2,"\n"\n3,"4"\n', 1, False)
@example("a\r1\r\r2\r", 1, False)
@example('a,b\n1,2\n3,"4\n5,6\n', 1, False)
@example('a,b\n1,2\n"3"x,4\n5,6\n', 1, False)
def test_delimited(tmp_path: Path, text: str, block_bytes: int, packed: bool) -> None:
    path = tmp_path / "table.csv"
    data = text.encode()
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    same(path, block_bytes)


@_LOOSE
@given(st.text(st.sampled_from('ab,"\n\r'), max_size=40), st.integers(1, 9))
def test_delimited_noise(tmp_path: Path, text: str, block_bytes: int) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(f"a,b\n{text}".encode())
    same(path, block_bytes, ReadOptions(min_rows=0, delimiter=","))


@_LOOSE
@given(csv_texts(), st.sampled_from(["utf-16", "latin-1", "utf-8"]), st.integers(1, 40))
def test_encodings(tmp_path: Path, text: str, encoding: str, block_bytes: int) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(text.removeprefix("\ufeff").encode(encoding))
    same(path, block_bytes, ReadOptions(min_rows=0, encoding=encoding))


@_LOOSE
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", "é", ""]),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
            max_size=3,
        ),
        max_size=10,
    ),
    _BREAKS,
    st.sampled_from(["", "\ufeff", "\n"]),
    st.sampled_from(["", " \n", "[1]\n", '{"a":1} {"a":2}\n', '{"a":[1]}\n', '{"a":1,"a":2}\n']),
    st.integers(1, 60),
)
def test_json_lines(
    tmp_path: Path, rows: list[dict], breaks: str, begin: str, odd: str, block_bytes: int
) -> None:
    import json

    lines = [json.dumps(row) + breaks for row in rows]
    lines.insert(len(lines) // 2, odd)
    path = tmp_path / "table.jsonl"
    path.write_bytes((begin + "".join(lines)).encode())
    same(path, block_bytes)


@_LOOSE
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(1, 100))
def test_parquet(tmp_path: Path, groups: list[int], block_bytes: int) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "table.parquet"
    n = sum(groups)
    table = pa.table({"x": pa.array(range(n), pa.int16()), "y": [f"é{i}" for i in range(n)]})
    with pq.ParquetWriter(path, table.schema) as writer:
        start = 0
        for size in groups:
            writer.write_table(table.slice(start, size))
            start += size
    if n:
        parts = open_parts(path, _ANY, block_bytes=block_bytes)
        assert max(block.n_rows for block in parts.blocks) <= max(1, block_bytes // 16)
        assert in_blocks(path, _ANY, block_bytes) == whole(path, _ANY)
        assert sum(block.n_rows for block in parts.streams()) == n
