"""CSV and its relatives, read strictly: every row as wide as the header, every quote closed."""

import csv
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from threading import RLock

import numpy as np
import pyarrow as pa

from trivium._core.counted import counted
from trivium._core.errors import DataError
from trivium.table.lines import LineReader
from trivium.table.naming import cut, name_columns
from trivium.table.notice import Notice
from trivium.table.raw import CELL_TYPE, RawTable, cells_of
from trivium.table.source import Source

__all__ = [
    "MAX_CELL",
    "Rows",
    "cell_limit",
    "delimiter_notices",
    "quote_after",
    "read_delimited",
    "row_notices",
    "sniff",
    "usual_delimiter",
]

MAX_CELL = 1 << 24
"""The longest cell, in characters."""

_BLOCK_CELLS = 250_000
SAMPLE_LINES = 100
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_LIMIT_LOCK = RLock()


def read_delimited(source: Source) -> RawTable:
    """Read rows of text whose cells are parted by one character.

    Quotes follow RFC 4180: a cell in quotes may hold the delimiter, line ends and doubled
    quotes. Blank lines are skipped and counted. NUL is kept, with a notice.

    Raises:
        DataError: No header, no rows, duplicate names, a row too long or too short, a quote left
            open, text after a closing quote, a cell beyond `MAX_CELL` characters; each with its
            line.
    """
    with source.lines() as reader:
        sample = list(islice(reader, SAMPLE_LINES))
        delimiter = source.options.delimiter or sniff(sample, usual_delimiter(source))
        with cell_limit():
            rows = Rows(source, delimiter, chain(sample, reader))
            header, first = rows.header()
            names, notices = name_columns(
                header, source.at(first), rename=source.options.rename_duplicates
            )
            source.options.check_names(names, source.at(first))
            raw = rows.read(names)
    notices.extend(delimiter_notices(source, delimiter))
    raw.notices[:0] = notices
    raw.notices.extend(row_notices(source, rows, reader))
    return raw


def sniff(sample: Iterable[str], usual: str = ",") -> str:
    """Return the delimiter under which most sampled rows are as wide as the first.

    Among those the one with the widest first row, then `usual`; with none, `usual`.

    Example:
        >>> sniff(["a;b", "1,5;2,5"])
        ';'
    """
    sample = list(sample)
    best, best_score = usual, (0.0, 0, False)
    for delimiter in _NAMES:
        try:
            widths = [len(row) for row in csv.reader(sample, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if not widths or widths[0] < 2:
            continue
        share = sum(width == widths[0] for width in widths) / len(widths)
        score = (round(share, 1), widths[0], delimiter == usual)
        if score > best_score:
            best, best_score = delimiter, score
    return best


class Rows:
    """One pass over the rows of a file, in blocks, so that text is never held twice.

    Args:
        source: The file.
        delimiter: What parts the cells.
        lines: Its lines, or some of them.
        before: Lines of the file before these.
    """

    def __init__(
        self, source: Source, delimiter: str, lines: Iterable[str], before: int = 0
    ) -> None:
        self.source = source
        self.delimiter = delimiter
        self.blank = 0
        self._before = before
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)

    def read(self, names: list[str]) -> RawTable:
        """Read rows below the header as columns of these names, those to drop left out."""
        kept = [i for i, name in enumerate(names) if name not in self.source.options.drop]
        chunks: list[list[pa.Array]] = [[] for _ in kept]
        starts = array("q")
        block: list[list[str]] = []
        size = max(64, _BLOCK_CELLS // len(names))
        for start, row in self._of_width(len(names)):
            block.append(row)
            starts.append(start)
            if len(block) == size:
                self._flush(block, kept, chunks)
                block = []
        if block:
            self._flush(block, kept, chunks)
        return RawTable(
            names=[names[i] for i in kept],
            cells=[cells_of(parts) for parts in chunks],
            n_rows=len(starts),
            lines=np.array(starts),
        )

    def header(self) -> tuple[list[str], int]:
        """Return the header and the line on which it begins.

        Raises:
            DataError: There is none.
        """
        for start, row in self._records():
            if any(cell.strip() for cell in row):
                return row, start
            self.blank += 1
        raise DataError(
            "read_table: the file has no header and no rows",
            where=self.source.where,
            code="E-EMPTY",
        )

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record and the line on which it begins."""
        reader, before = self._reader, self._before
        line = before + reader.line_num
        try:
            for row in reader:
                yield line + 1, row
                line = before + reader.line_num
        except csv.Error as error:
            raise self._malformed(str(error), line + 1) from error

    def _of_width(self, width: int) -> Iterator[tuple[int, list[str]]]:
        for start, row in self._records():
            if len(row) == width:
                yield start, row
            elif not row or (len(row) == 1 and not row[0].strip()):
                self.blank += 1
            else:
                raise self._ragged(start, row, width)

    def _flush(self, block: list[list[str]], kept: list[int], chunks: list[list[pa.Array]]) -> None:
        columns = list(zip(*block, strict=True))
        for parts, i in zip(chunks, kept, strict=True):
            try:
                parts.append(pa.array(columns[i], CELL_TYPE))
            except UnicodeError as error:
                raise DataError(
                    f"read_table: column {i + 1} has half a character (a lone surrogate)",
                    where=self.source.where,
                    code="E-ENCODING",
                ) from error

    def _ragged(self, start: int, row: list[str], width: int) -> DataError:
        long = len(row) > width
        name = _NAMES.get(self.delimiter, cut(self.delimiter))
        remedy = (
            f"Put a cell that holds the delimiter in quotes (cells are parted by {name})."
            if long
            else f"Add the missing cells (cells are parted by {name})."
        )
        return DataError(
            f"read_table: row is too {'long' if long else 'short'}: it must have "
            f"{counted(width, 'cell')} as "
            f"the header has; got {len(row)}",
            where=self.source.at(start),
            remedy=remedy,
            code="E-ROW-WIDTH",
        )

    def _malformed(self, reason: str, start: int) -> DataError:
        opened = _open_quote(self.source, self.delimiter, start)
        if "unexpected end" in reason or (opened is not None and "limit" in reason):
            return DataError(
                "read_table: a quote is opened and never closed",
                where=self.source.at(start if opened is None else opened),
                remedy='Close it; inside quotes a quote is written twice ("").',
                code="E-OPEN-QUOTE",
            )
        if "limit" in reason:
            return DataError(
                f"read_table: a cell must be at most {MAX_CELL:,} characters; one is longer",
                where=self.source.at(start),
                remedy="Cut it, or take the column out of the file.",
                code="E-LONG-CELL",
            )
        line = self._before + self._reader.line_num
        return DataError(
            f"read_table: text after a closing quote ({reason})",
            where=self.source.at(line),
            remedy='Inside quotes a quote is written twice ("").',
            code="E-QUOTE",
        )


@contextmanager
def cell_limit(limit: int = MAX_CELL) -> Iterator[None]:
    """Let the csv module read longer cells for a while; its limit belongs to the process."""
    with _LIMIT_LOCK:
        before = csv.field_size_limit(limit)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def usual_delimiter(source: Source) -> str:
    """Return the delimiter that the file's name speaks for."""
    endings = {ending.lower() for ending in source.path.suffixes[-2:]}
    return "\t" if endings & {".tsv", ".tab"} else ","


def _open_quote(source: Source, delimiter: str, start: int) -> int | None:
    """Return the line of the quote that is still open at the end of the file, if one is."""
    opened: int | None = None
    with source.lines() as lines:
        for line in islice(lines, start - 1, None):
            opened = quote_after(line, delimiter, opened, lines.number)
    return opened


def quote_after(line: str, delimiter: str, opened: int | None, number: int) -> int | None:
    """Return where the quote open at the end of this line was opened; `None` when closed."""
    at, end = 0, len(line)
    while at < end:
        if opened is not None:
            close = line.find('"', at)
            if close < 0:
                return opened
            at = close + 2
            if line[close + 1 : close + 2] != '"':
                opened = None
                at = close + 1
        elif line[at] == '"':
            opened = number
            at += 1
            continue
        if opened is None:
            parted = line.find(delimiter, at)
            at = end if parted < 0 else parted + 1
    return opened


def delimiter_notices(source: Source, delimiter: str) -> Iterator[Notice]:
    """Say which delimiter was found, where it is not the usual one."""
    if source.options.delimiter is None and delimiter != usual_delimiter(source):
        message = f"the cells are parted by {_NAMES[delimiter]}, found by looking at the first rows"
        yield Notice("W-DELIMITER", source.path.name, message)


def row_notices(source: Source, rows: Rows, reader: LineReader) -> Iterator[Notice]:
    """Say what was odd in the lines that were read."""
    if rows.blank:
        yield Notice(
            "W-BLANK-LINES", source.path.name, f"skipped {counted(rows.blank, 'blank line')}"
        )
    if reader.first_nul is not None:
        where = f"{source.path.name}, line {reader.first_nul}"
        message = f"the character NUL in {counted(reader.nul_lines, 'line')} is kept"
        yield Notice("W-NUL", where, message)
