"""CSV files that a spreadsheet shows and does not run.

A cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return is a formula to a
spreadsheet. Such a cell gets a leading apostrophe, unless it is a plain number; `unquote_cell`
takes it off again. The exact text is in the JSON beside it.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from trivium._core.atomic import atomic_open
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError

__all__ = ["quote_cell", "unquote_cell", "write_csv"]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def quote_cell(text: str) -> str:
    """Return the text with an apostrophe in front where a spreadsheet would run it.

    Example:
        >>> quote_cell("=1+1"), quote_cell("-2.5e3"), quote_cell("plain")
        ("'=1+1", '-2.5e3', 'plain')
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unquote_cell(text: str) -> str:
    """Undo `quote_cell`.

    Example:
        >>> unquote_cell("'=1+1"), unquote_cell("'tis")
        ('=1+1', "'tis")
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_csv(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> int:
    """Write a CSV file (UTF-8, commas, LF), whole or not at all, with formulas quoted.

    Args:
        path: The file to make or replace.
        header: Column names.
        rows: Cells: text, numbers (floats in full precision), or None for an empty cell.

    Returns:
        How many rows were written, without the header.

    Raises:
        ArgumentError: A row has not as many cells as the header.
        OutputError: The place cannot be written to.
        ResourceError: The disk is full.
    """
    with atomic_open(path) as binary:
        file = io.TextIOWrapper(binary, "utf-8", errors="backslashreplace", newline="")
        try:
            return _write_rows(csv.writer(file, lineterminator="\n"), header, rows)
        finally:
            file.detach()


def _write_rows(writer: Any, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    number = 0
    writer.writerow([quote_cell(name) for name in header])
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ArgumentError(
                f"write_csv: a row must have {counted(len(header), 'cell')}; got {len(row)}",
                where=f"row {number}",
            )
        writer.writerow([_cell(value) for value in row])
    return number


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, np.generic):
        value = value.item()
    return quote_cell(value) if isinstance(value, str) else repr(value)
