"""One block of a table in files: what says which rows they are, and how they are read."""

from dataclasses import dataclass

import pyarrow as pa

from trivium._core.errors import DataError
from trivium.table.arrow import is_number, numbers_in, text_of
from trivium.table.delimited import Rows, cell_limit, row_notices
from trivium.table.jsonl import read_json_lines
from trivium.table.parquet import open_parquet, parquet_batches
from trivium.table.raw import RawTable
from trivium.table.source import Format, Source

__all__ = ["FileBlock", "PartFile", "check_unchanged", "read_block"]


@dataclass(frozen=True)
class PartFile:
    """A file that was looked through.

    Args:
        source: The file.
        size: Its bytes.
        modified: When it was last changed, in nanoseconds.
        header: Its columns as written; of JSONL, the keys of all its lines.
        own: Their unique names.
        names: The columns of the table, in order: as many.
        delimiter: What parts the cells, where something does.
    """

    source: Source
    size: int
    modified: int
    header: tuple[str, ...]
    own: tuple[str, ...]
    names: tuple[str, ...]
    delimiter: str = ""

    @property
    def kept(self) -> list[str]:
        """The columns of the table, without those to drop."""
        return [name for name in self.names if name not in self.source.options.drop]


@dataclass(frozen=True)
class FileBlock:
    """Consecutive rows of one file; small, and it pickles.

    Args:
        part: The file.
        start: First byte of its text in UTF-8, or first row group.
        stop: Byte or row group after the last.
        n_rows: Rows.
        first_row: Rows of the whole table before these.
        first_line: Number of the line at `start`, where the file has lines.
        skip: Rows of the first row group that are not in the block.
    """

    part: PartFile
    start: int
    stop: int | None
    n_rows: int
    first_row: int = 0
    first_line: int = 1
    skip: int = 0

    @property
    def where(self) -> str:
        """The file, and where in it."""
        source = self.part.source
        if source.format is Format.parquet:
            return f"{source.where}, row group {self.start}"
        return source.at(self.first_line)


def read_block(block: FileBlock, *, numbers: bool = False) -> RawTable:
    """Read the exact text of a block's cells.

    Args:
        block: One of `Parts.blocks`.
        numbers: Whether numbers of Parquet stay numbers, for who needs few of their texts.

    Returns:
        The columns of the table, in its order, those to drop left out; with the numbers of the
        lines in their file.

    Raises:
        DataError: As `read_table`, with lines of the file; or the file changed since it was
            opened.

    Cost:
        as `read_table`, of one block.
    """
    check_unchanged(block.part)
    if block.part.source.format is Format.parquet:
        return _parquet(block, numbers=numbers)
    return _READERS[block.part.source.format](block)


def check_unchanged(part: PartFile) -> None:
    """Refuse a file that was replaced or written to since it was looked through.

    Raises:
        DataError: It was, or it is gone.
    """
    where = part.source.where
    try:
        found = part.source.path.stat()
    except OSError as error:
        raise DataError(
            "read_block: the file must still be there; it is gone", where=where, code="E-NO-FILE"
        ) from error
    if (found.st_size, found.st_mtime_ns) != (part.size, part.modified):
        raise DataError(
            "read_block: the file must not change while it is read; it did since it was opened",
            where=where,
            remedy="Open it again.",
            code="E-CHANGED",
        )


def _delimited(block: FileBlock) -> RawTable:
    source, part = block.part.source, block.part
    with source.lines(block.start, block.stop, block.first_line) as reader, cell_limit():
        rows = Rows(source, part.delimiter, reader, block.first_line - 1)
        raw = rows.read(list(part.own))
        raw.notices.extend(row_notices(source, rows, reader))
    return _in_order(raw, part)


def _json(block: FileBlock) -> RawTable:
    source, part = block.part.source, block.part
    with source.lines(block.start, block.stop, block.first_line) as reader:
        raw = read_json_lines(source, reader, dict(zip(part.header, part.own, strict=True)))
    return _in_order(raw, part)


def _parquet(block: FileBlock, *, numbers: bool) -> RawTable:
    source, part = block.part.source, block.part
    places = [part.own.index(name) for name in part.kept]
    groups = range(block.start, block.stop or block.start + 1)
    with open_parquet(source) as file:
        found = list(parquet_batches(file, groups, places, block.skip, block.n_rows))
        types = file.schema_arrow.types
    columns = [
        pa.chunked_array([batch.column(i) for batch in found], types[place])
        for i, place in enumerate(places)
    ]
    cells = [
        numbers_in(column)
        if numbers and is_number(column.type)
        else text_of(name, column, source.where)
        for name, column in zip(part.kept, columns, strict=True)
    ]
    n_rows = sum(batch.num_rows for batch in found)
    found.clear()
    columns.clear()
    # Arrow keeps what decoding took, for the next block; the rows of this one need it first.
    pa.default_memory_pool().release_unused()
    return RawTable(part.kept, cells, n_rows)


def _in_order(raw: RawTable, part: PartFile) -> RawTable:
    """Bring the columns of one file to the order of the table."""
    if raw.names == part.kept:
        return raw
    places = {name: i for i, name in enumerate(raw.names)}
    cells = [raw.cells[places[name]] for name in part.kept]
    return RawTable(part.kept, cells, raw.n_rows, raw.notices, raw.lines)


_READERS = {Format.delimited: _delimited, Format.jsonl: _json}
