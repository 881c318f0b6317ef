"""The parts a page is made of; the template knows how to lay out each one, and nothing else."""

from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from trivium.report.numbers import counted

__all__ = [
    "Beside",
    "Block",
    "Column",
    "Figure",
    "Fold",
    "Missing",
    "Paragraph",
    "Section",
    "Table",
    "folded",
]

Cell = str | Markup


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `quiet` for the note on method under a figure or table."""

    kind: ClassVar[str] = "paragraph"
    text: Cell
    quiet: bool = False


@dataclass(frozen=True)
class Missing:
    """What stands where a section has nothing to show: why."""

    kind: ClassVar[str] = "missing"
    text: Cell


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        head: Its heading.
        role: `"text"`, `"short"` (never wrapped), `"number"` (right-aligned) or `"chart"`.
        axis: A chart that stands under the heading: the axis of the charts in the column.
    """

    head: Cell
    role: str = "text"
    axis: Cell = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first cell of each row is its heading.

    Args:
        title: What the table shows.
        caption: How its numbers were made.
        columns: One for each cell of a row.
        rows: The cells.
        note: What was left out, and where it is.
        look: A class of the style sheet.
        total: Whether the last row is the sum of the others.
    """

    kind: ClassVar[str] = "table"
    title: Cell
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: Cell = ""
    note: Cell = ""
    look: str = ""
    total: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart with its title and caption."""

    kind: ClassVar[str] = "figure"
    title: Cell
    chart: Markup
    caption: Cell
    look: str = ""


@dataclass(frozen=True)
class Fold:
    """Blocks under a line that opens and closes without a script."""

    kind: ClassVar[str] = "fold"
    summary: Cell
    blocks: tuple["Block", ...]
    start_open: bool = False


@dataclass(frozen=True)
class Beside:
    """Two blocks side by side where there is room."""

    kind: ClassVar[str] = "beside"
    blocks: tuple["Block", ...]


Block = Paragraph | Missing | Table | Figure | Fold | Beside


def folded(table: Table, most: int = 100) -> Table | Fold:
    """Return a table, or a line that opens it where it is so long that it stands in the way."""
    if len(table.rows) <= most:
        return table
    return Fold(Markup("{} {}").format(table.title, counted(len(table.rows), "row")), (table,))


@dataclass(frozen=True)
class Section:
    """One question of the page.

    Args:
        anchor: Its address on the page.
        question: The question, as the heading.
        answer: The short answer, in the table of contents and under the heading.
        blocks: The evidence.
    """

    anchor: str
    question: str
    answer: Cell
    blocks: tuple[Block, ...]
