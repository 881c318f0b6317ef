"""Cells that do not fit what a sample taught: counted over all rows, with the first place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from trivium._core.counted import counted
from trivium.table import Notice, Table

__all__ = ["Oddity", "merged_oddities", "oddities", "plain_oddities", "whole_oddities"]

# Said so that the noun alone goes by the count: blocks add up, whatever each of them has.
_COUNT = re.compile(r"([\d,]+) (cell|row)s? ")
_AT_ROW = re.compile(r", row (\d+)$")


@dataclass(frozen=True)
class Oddity:
    """Cells of all rows that do not fit what the sample taught, of one sort in one column.

    Args:
        code: As a notice has it.
        column: The column.
        count: Cells.
        what: What is odd, in words: one `cell` or `row`, and what of it.
        first: Where the first one is: the file, and its own line or row.
    """

    code: str
    column: str
    count: int
    what: str
    first: str

    @property
    def notice(self) -> Notice:
        """The same as a notice."""
        where = f"column {self.column} ({self.first})" if self.first else f"column {self.column}"
        thing, _, more = self.what.partition(" ")
        if thing not in ("cell", "row"):
            return Notice(self.code, where, f"{self.count:,} {self.what}")
        return Notice(self.code, where, f"{counted(self.count, thing)} {more}")


def merged_oddities(left: tuple[Oddity, ...], right: tuple[Oddity, ...]) -> tuple[Oddity, ...]:
    """Add up: the first place of each sort stays."""
    found = {(each.code, each.column): each for each in left}
    for each in right:
        key = (each.code, each.column)
        before = found.get(key)
        found[key] = each if before is None else replace(before, count=before.count + each.count)
    return tuple(found.values())


def oddities(table: Table, unknown: Sequence[Notice]) -> tuple[Oddity, ...]:
    """Return what is odd in one block: cells of another kind, and levels that are new.

    Args:
        table: The block, read as the kinds of the sample.
        unknown: What the encoder noticed.
    """
    notes = [(note, column.name) for column in table.columns for note in column.notes]
    found = [_oddity(note, name, table) for note, name in notes if note.severity == "warning"]
    return (*found, *(_oddity(note, None, table) for note in unknown))


def _oddity(notice: Notice, column: str | None, table: Table) -> Oddity:
    """Take a notice about one block apart, so that blocks add up."""
    count = _COUNT.match(notice.message)
    said = f"{count[2]} {notice.message[count.end() :]}" if count else notice.message
    row = _AT_ROW.search(notice.where)
    if row:  # examples name rows of the block
        said = said.split(": ", maxsplit=1)[0]
    name = notice.where.removeprefix("column ") if column is None else column
    first = table.place(int(row[1]) - 1) if row else ""
    return Oddity(notice.code, name, int(count[1].replace(",", "")) if count else 1, said, first)


def plain_oddities(odd: tuple[Oddity, ...]) -> list[list[Any]]:
    """Take them apart, as a journal can keep them."""
    return [[each.code, each.column, each.count, each.what, each.first] for each in odd]


def whole_oddities(held: list[list[Any]]) -> tuple[Oddity, ...]:
    """Put together what `plain_oddities` took apart."""
    return tuple(Oddity(*each) for each in held)
