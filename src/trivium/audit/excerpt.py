"""Rows of the table as a reader sees them."""

from trivium.audit.state import AuditState, Section
from trivium.table import Column

__all__ = ["cell", "excerpt"]

_CELL = 120
_COLUMNS = 4


def cell(column: Column, row: int) -> str:
    """Text of a cell; empty where it is missing."""
    text: str | None = column.strings[int(row)].as_py()
    return text or ""


def excerpt(state: AuditState, row: int) -> list[Section]:
    """Show a row by the columns that depend most on the label, cells cut at 120 characters."""
    shown: list[Section] = []
    for found in state.report["depend"]:
        text = cell(state.used.column(found["column"]), row)
        if text:
            cut = text if len(text) <= _CELL else text[: _CELL - 1] + "…"
            shown.append({"column": found["column"], "value": cut})
        if len(shown) == _COLUMNS:
            break
    return shown
