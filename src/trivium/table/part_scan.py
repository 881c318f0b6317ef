"""Looking through a file once: its columns, and where it may be cut into blocks."""

import codecs
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

from trivium._core.errors import DataError
from trivium.table.arrow import check_flat
from trivium.table.cuts import Cut, Records, cut_text, json_records
from trivium.table.delimited import (
    SAMPLE_LINES,
    Rows,
    cell_limit,
    delimiter_notices,
    sniff,
    usual_delimiter,
)
from trivium.table.naming import name_columns
from trivium.table.notice import Notice
from trivium.table.options import ReadOptions
from trivium.table.parquet import parquet_layout
from trivium.table.part_block import FileBlock, PartFile, read_block
from trivium.table.source import Format, Source, open_source

__all__ = ["Scan", "keys_of", "scan_file"]

_PACKED = 100  # a packed file may become this many times its size, if that is above `max_bytes`
_CELL_BYTES = 8


@dataclass(frozen=True)
class Scan:
    """What was found in a file.

    Args:
        part: The file; of JSONL the keys are still to come.
        blocks: Its blocks, their rows numbered within the file.
        notices: What was noticed.
    """

    part: PartFile
    blocks: tuple[FileBlock, ...]
    notices: tuple[Notice, ...] = ()


def scan_file(path: str, options: ReadOptions, block_bytes: int) -> Scan:
    """Look through a file.

    Raises:
        DataError: As `read_table`, but for what is wrong inside its rows.
    """
    source = open_source(path, options)
    facts = source.path.stat()
    most = max(options.max_bytes, facts.st_size * (_PACKED if _grows(source) else 1))
    source = replace(source, options=replace(options, max_bytes=most))
    part = PartFile(source, facts.st_size, facts.st_mtime_ns, (), (), ())
    return _SCANS[source.format](part, block_bytes)


def _grows(source: Source) -> bool:
    return source.packed or source.format is Format.parquet


def keys_of(block: FileBlock) -> list[str]:
    """Return the keys of a block of JSON lines, in the order of first sight.

    Raises:
        DataError: As `read_block`.
    """
    found: dict[str, None] = {}
    decode = json.JSONDecoder().decode
    with block.part.source.lines(block.start, block.stop, block.first_line) as reader:
        try:
            for line in reader:
                if line.strip():
                    keys = decode(line).keys()
                    if not keys <= found.keys():
                        found.update(dict.fromkeys(keys))
        except (ValueError, AttributeError, RecursionError):
            read_block(block)  # says what is wrong
            raise
    return list(found)


class _Counted:
    """Lines, and how many of them and of their bytes were taken."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.n_lines = 0
        self.n_bytes = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.n_lines += 1
            self.n_bytes += len(line.encode())
            yield line


def _delimited(part: PartFile, block_bytes: int) -> Scan:
    source = part.source
    with source.lines() as reader, cell_limit():
        sample = list(islice(reader, SAMPLE_LINES))
        delimiter = source.options.delimiter or sniff(sample, usual_delimiter(source))
        lines = _Counted(chain(sample, reader))
        header, first = Rows(source, delimiter, lines).header()
    own, notices = name_columns(header, source.at(first), rename=source.options.rename_duplicates)
    notices.extend(delimiter_notices(source, delimiter))
    part = replace(
        part, header=tuple(header), own=tuple(own), names=tuple(own), delimiter=delimiter
    )
    start, first_line = _mark(source) + lines.n_bytes, lines.n_lines + 1
    with source.utf8(start) as stream:
        find = Records(delimiter, len(own))
        cuts = cut_text(stream, find, start, first_line, block_bytes)
    return Scan(part, _blocks(part, cuts), tuple(notices))


def _json(part: PartFile, block_bytes: int) -> Scan:
    start = _mark(part.source)
    with part.source.utf8(start) as stream:
        cuts = cut_text(stream, json_records, start, 1, block_bytes)
    return Scan(part, _blocks(part, cuts))


def _mark(source: Source) -> int:
    """Return how many bytes a byte-order mark takes at the beginning of the text in UTF-8."""
    if source.encoding != "utf-8-sig":
        return 0
    with source.utf8() as stream:
        return len(codecs.BOM_UTF8) * (stream.read(3) == codecs.BOM_UTF8)


def _blocks(part: PartFile, cuts: list[Cut]) -> tuple[FileBlock, ...]:
    blocks: list[FileBlock] = []
    row = 0
    for cut in cuts:
        block = FileBlock(part, cut.start, cut.stop, cut.n_rows or 0, row, cut.first_line)
        if cut.n_rows is None:
            block = _unended(block, alone=not blocks)
        row += block.n_rows
        if block.n_rows or block.stop is None:
            blocks.append(block)
    return tuple(blocks)


def _unended(block: FileBlock, *, alone: bool) -> FileBlock:
    """Count the rows where no end of a record was found: as a rule a quote is open.

    What is wrong in the rows before is to be said first, so the refusal comes when all are read.
    """
    try:
        return replace(block, n_rows=read_block(block).n_rows)
    except DataError:
        if alone:
            raise
        return block


def _parquet(part: PartFile, block_bytes: int) -> Scan:
    source, options = part.source, part.source.options
    layout = parquet_layout(source)
    own, notices = name_columns(layout.header, source.where, rename=options.rename_duplicates)
    check_flat(own, list(layout.types), options.drop, source.where)
    part = replace(part, header=layout.header, own=tuple(own), names=tuple(own))
    total, n_rows = sum(layout.sizes), sum(layout.rows)
    each = max(total // max(1, n_rows), _CELL_BYTES * len(own), 1)
    most = max(1, block_bytes // each)
    blocks: list[FileBlock] = []
    row = 0
    for group, size in enumerate(layout.rows):
        last = blocks[-1] if blocks else None
        if last is not None and not last.skip and last.n_rows + size <= most:
            blocks[-1] = replace(last, stop=group + 1, n_rows=last.n_rows + size)
        else:
            blocks.extend(
                FileBlock(part, group, group + 1, min(most, size - skip), row + skip, 1, skip)
                for skip in range(0, size, most)
            )
        row += size
    return Scan(part, tuple(blocks), tuple(notices))


_SCANS = {Format.delimited: _delimited, Format.jsonl: _json, Format.parquet: _parquet}
