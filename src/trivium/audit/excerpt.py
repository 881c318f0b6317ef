"""Rows of the table as a reader sees them."""

from trivium.audit.state import Section
from trivium.table import Column, Table

__all__ = ["cell", "excerpt"]

_CELL = 120


def cell(column: Column, row: int) -> str:
    """Text of a cell; empty where it is missing."""
    text: str | None = column.strings[int(row)].as_py()
    return text or ""


def excerpt(table: Table, row: int, n_columns: int = 4) -> list[Section]:
    """Show a row by its first columns that have a value, cells cut at 120 characters."""
    shown: list[Section] = []
    for column in table.columns:
        text = cell(column, row)
        if text:
            cut = text if len(text) <= _CELL else text[: _CELL - 1] + "…"
            shown.append({"column": column.name, "value": cut})
        if len(shown) == n_columns:
            break
    return shown
