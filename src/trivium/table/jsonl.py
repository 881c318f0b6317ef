"""JSON lines: one object a line, its scalars as the exact text that the file has."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from trivium._core.counted import counted
from trivium._core.errors import DataError
from trivium.table.lines import LineReader
from trivium.table.naming import cut, name_columns
from trivium.table.notice import Notice
from trivium.table.raw import CELL_TYPE, RawTable, cells_of
from trivium.table.source import Source

__all__ = ["read_json_lines", "read_jsonl"]

_BLOCK_ROWS = 20_000


class _DuplicateKeyError(ValueError):
    """An object has one key twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _DuplicateKeyError(twice)
    return found


def read_jsonl(source: Source) -> RawTable:
    """Read one JSON object a line; its keys are the columns, in the order of first sight.

    Numbers keep the text that they have in the file (`1e400`, 30 digits), `true` and `false`
    are these words, `null` and a key that is not there are missing.

    Raises:
        DataError: A line that is not a JSON object, a duplicate key, a value that is itself an
            object or a list; each with its line.
    """
    columns = _Columns(source)
    with source.lines() as reader:
        columns.read(reader)
    return columns.finish()


def read_json_lines(source: Source, reader: LineReader, names: dict[str, str]) -> RawTable:
    """Read some lines of a file whose keys are known.

    Args:
        source: The file.
        reader: Its lines.
        names: The name of each key's column.

    Raises:
        DataError: As `read_jsonl`.
    """
    columns = _Columns(source)
    columns.read(reader)
    return columns.given(names)


class _Columns:
    """Columns that grow line by line."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.blank = 0
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_unique, parse_float=str, parse_int=str, parse_constant=str
        )
        self._lists: dict[str, list[str | None]] = {}
        self._chunks: dict[str, list[pa.Array]] = {}
        self._lines: list[int] = []
        self._flushed = 0

    def read(self, reader: LineReader) -> None:
        for line in reader:
            if line.strip():
                self.add(line, reader.number)
            else:
                self.blank += 1

    def add(self, line: str, number: int) -> None:
        record = self._record(line, number)
        here = len(self._lines) - self._flushed
        for key, value in record.items():
            column = self._lists.get(key)
            if column is None:
                column = self._lists[key] = [None] * here
                self._chunks[key] = [pa.nulls(self._flushed, CELL_TYPE)] if self._flushed else []
            column.extend([None] * (here - len(column)))
            column.append(value if type(value) is str else self._text(key, value, number))
        self._lines.append(number)
        if here + 1 == _BLOCK_ROWS:
            self._flush()

    def _record(self, line: str, number: int) -> dict[str, Any]:
        try:
            record = self._decoder.decode(line)
        except _DuplicateKeyError as error:
            raise self._bad(number, f"has the key {cut(str(error))} twice") from error
        except json.JSONDecodeError as error:
            place = f"{error.msg}, column {error.colno}"
            raise self._bad(
                number, f"must be one JSON object; got {cut(line)} ({place})"
            ) from error
        except RecursionError as error:
            raise self._bad(number, "is nested too deeply") from error
        if not isinstance(record, dict):
            raise self._bad(number, f"must be one JSON object; got {cut(line.strip())}")
        return record

    def _text(self, key: str, value: object, number: int) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if key in self.source.options.drop:
            return None
        raise DataError(
            f"read_table: column {cut(key)} must hold single values; got a nested one",
            where=self.source.at(number),
            remedy="Leave the column out with --drop, or flatten it first.",
            code="E-NESTED",
        )

    def _bad(self, number: int, what: str) -> DataError:
        return DataError(f"read_table: line {what}", where=self.source.at(number), code="E-JSON")

    def _flush(self) -> None:
        n = len(self._lines) - self._flushed
        for key, column in self._lists.items():
            column.extend([None] * (n - len(column)))
            try:
                self._chunks[key].append(pa.array(column, CELL_TYPE))
            except UnicodeError as error:
                row = next(i for i, cell in enumerate(column) if cell and not _encodes(cell))
                number = self._lines[self._flushed + row]
                raise self._bad(number, f"has half a character in {cut(key)}") from error
            column.clear()
        self._flushed += n

    def finish(self) -> RawTable:
        self._flush()
        where, options = self.source.where, self.source.options
        if not self._lines:
            raise DataError("read_table: the file has no rows", where=where, code="E-EMPTY")
        names, notices = name_columns(
            list(self._chunks), where, rename=self.source.options.rename_duplicates
        )
        options.check_names(names, where)
        kept = [
            (name, cells_of(parts))
            for name, parts in zip(names, self._chunks.values(), strict=True)
            if name not in options.drop
        ]
        notices += self._blanks()
        return RawTable(
            names=[name for name, _ in kept],
            cells=[cells for _, cells in kept],
            n_rows=len(self._lines),
            notices=notices,
            lines=np.array(self._lines, dtype=np.int64),
        )

    def given(self, names: dict[str, str]) -> RawTable:
        self._flush()
        n_rows, drop = len(self._lines), self.source.options.drop
        kept = [(key, name) for key, name in names.items() if name not in drop]
        return RawTable(
            names=[name for _, name in kept],
            cells=[
                cells_of(self._chunks[key]) if key in self._chunks else pa.nulls(n_rows, CELL_TYPE)
                for key, _ in kept
            ],
            n_rows=n_rows,
            notices=self._blanks(),
            lines=np.array(self._lines, dtype=np.int64),
        )

    def _blanks(self) -> list[Notice]:
        if not self.blank:
            return []
        message = f"skipped {counted(self.blank, 'blank line')}"
        return [Notice("W-BLANK-LINES", self.source.path.name, message)]


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeError:
        return False
    return True
