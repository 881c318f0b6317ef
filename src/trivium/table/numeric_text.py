"""Numeric columns of text files, fast where that is exact, else by way of exact text.

Arrow's own readers are used on a block only where they can but read what ours would: no quotes,
UTF-8, one JSON object a line. What they refuse, or read as a value that is not finite, is read
again by ours, which knows what it is and where.
"""

import codecs
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
from numpy.typing import NDArray

from trivium._core.errors import DataError
from trivium.table.levels import Levels
from trivium.table.naming import cut
from trivium.table.numbers import read_numbers
from trivium.table.options import ReadOptions
from trivium.table.part_block import FileBlock, read_block
from trivium.table.source import Format

__all__ = ["TextColumns", "exact_columns", "fast_columns", "numbers_of"]

_MINUS_ZERO = re.compile(rb"-0[\s,}]")
_MOST = 1 << 30  # bytes that Arrow's readers take as one piece


@dataclass(frozen=True, eq=False)
class TextColumns:
    """Numeric columns of a block, and the texts of its label.

    Args:
        values: One row a column; NaN where a cell is missing.
        label: Texts, or a dictionary of them; `None` without a label.
        lines: The line of each row, where it was found out.
    """

    values: NDArray[np.float64]
    label: pa.Array | None
    lines: NDArray[np.int64] | None = None


def fast_columns(block: FileBlock, columns: Sequence[str], label: str | None) -> TextColumns | None:
    """Read a block through Arrow; `None` where that may not be exact."""
    source = block.part.source
    with source.utf8(block.start, block.stop) as stream:
        data = stream.read()
    # Arrow drops what looks like a byte-order mark, in the middle of a file as well.
    if len(data) > _MOST or b"\0" in data or data.startswith(codecs.BOM_UTF8):
        return None
    read = _csv if source.format is Format.delimited else _json
    try:
        table = read(block, data, columns, label)
    except (pa.ArrowException, ValueError):
        return None
    if table is None or table.num_rows != block.n_rows:
        return None
    values = np.empty((len(columns), table.num_rows))
    for row, name in zip(values, columns, strict=True):
        column = table.column(name)
        row[:] = column.to_numpy()
        if np.count_nonzero(np.isfinite(row)) != table.num_rows - column.null_count:
            return None
    texts = None if label is None else _joined(table.column(label))
    return TextColumns(values, texts)


def _joined(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.unify_dictionaries().chunks)


def _csv(
    block: FileBlock, data: bytes, columns: Sequence[str], label: str | None
) -> pa.Table | None:
    part, options = block.part, block.part.source.options
    if b'"' in data or not part.delimiter.isascii():
        return None
    kinds: dict[str, pa.DataType] = dict.fromkeys(columns, pa.float64())
    if label is not None:
        kinds[label] = pa.dictionary(pa.int32(), pa.string())
    return pa_csv.read_csv(
        pa.BufferReader(data),
        pa_csv.ReadOptions(
            use_threads=False, block_size=len(data) + 1, column_names=list(part.own)
        ),
        pa_csv.ParseOptions(delimiter=part.delimiter, quote_char=False),
        pa_csv.ConvertOptions(
            column_types=kinds,
            include_columns=list(kinds),
            null_values=sorted(options.tokens),
            decimal_point=options.decimal,
        ),
    )


def _json(
    block: FileBlock, data: bytes, columns: Sequence[str], label: str | None
) -> pa.Table | None:
    part = block.part
    plain = part.header == part.own and part.source.options.decimal == "."
    if not plain or b"\r" in data or not _one_a_line(data, block.n_rows):
        return None
    kinds: dict[str, pa.DataType] = dict.fromkeys(columns, pa.float64())
    if label is not None:
        kind = _kind_of(data, label)
        if kind is None:
            return None
        kinds[label] = kind
    table = pa_json.read_json(
        pa.BufferReader(data),
        pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        pa_json.ParseOptions(
            explicit_schema=pa.schema(list(kinds.items())), unexpected_field_behavior="ignore"
        ),
    )
    if label is not None and kinds[label] == pa.int64():
        if pc.any(pc.equal(table.column(label), 0)).as_py() and _MINUS_ZERO.search(data):
            return None
        place = table.schema.get_field_index(label)
        table = table.set_column(place, label, table.column(label).cast(pa.string()))
    return table


def _one_a_line(data: bytes, n_rows: int) -> bool:
    """Whether each line begins as an object does and ends as one does: then each is just one.

    A line that were a part of an object, or two of them, would need a neighbor that begins or
    ends in another way.
    """
    ended = data if data.endswith(b"\n") else data + b"\n"
    begins = ended.startswith(b"{") + ended.count(b"\n{")
    return begins == ended.count(b"}\n") == ended.count(b"\n") == n_rows


def _kind_of(data: bytes, label: str) -> pa.DataType | None:
    """Guess how a label is written from the first line; a wrong guess is refused by the reader."""
    first = json.loads(data[: data.find(b"\n") % (len(data) + 1)]).get(label)
    if isinstance(first, str):
        return pa.string()
    return pa.int64() if type(first) is int else None


def exact_columns(block: FileBlock, columns: Sequence[str], label: str | None) -> TextColumns:
    """Read a block as exact text, and that as numbers.

    Raises:
        DataError: As `read_block`; or a cell is neither missing nor a number.
    """
    raw = read_block(block)
    cells = dict(zip(raw.names, raw.cells, strict=True))
    values = np.empty((len(columns), raw.n_rows))
    options = block.part.source.options
    for row, name in zip(values, columns, strict=True):
        row[:], bad = numbers_of(cells[name], options)
        if bad is not None:
            assert raw.lines is not None
            text = cut(cells[name][bad].as_py())
            raise not_a_number(name, text, block.part.source.at(int(raw.lines[bad])))
    texts = None if label is None else cells[label]
    return TextColumns(values, texts, raw.lines)


def numbers_of(cells: pa.Array, options: ReadOptions) -> tuple[NDArray[np.float64], int | None]:
    """Return texts as numbers, NaN where missing or not finite, and the first row of neither."""
    levels = Levels.of(cells)
    token = levels.tokens(options.tokens)
    numbers = read_numbers(levels.subset(~token), options.decimal)
    values = np.full(len(levels), np.nan)
    values[~token] = np.where(np.isfinite(numbers.values), numbers.values, np.nan)
    wrong = np.zeros(len(levels), dtype=np.bool_)
    wrong[~token] = ~numbers.is_number
    bad = int(np.argmax(levels.rows(wrong))) if wrong.any() else None
    return levels.spread(values), bad


def not_a_number(name: str, text: str, where: str) -> DataError:
    """Return the refusal of a cell."""
    return DataError(
        f"numeric_rows: column {cut(name)} must hold numbers; got {text}",
        where=where,
        remedy="Mend the cell, name it as missing (--missing), or leave the column out.",
        code="E-NOT-NUMBER",
    )
