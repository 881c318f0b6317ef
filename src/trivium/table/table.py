"""A table as read: named columns of exact text, what each was taken for, and what to know."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trivium._core.counted import counted
from trivium._core.errors import DataError
from trivium.table.arrow import as_text
from trivium.table.dates import Order
from trivium.table.matching import FEW
from trivium.table.naming import nearest
from trivium.table.notice import Notice
from trivium.table.places import Places

__all__ = ["Column", "ColumnType", "Kind", "Notice", "Table"]


class Kind(StrEnum):
    """What a column was taken for; `infer` has the rules."""

    number = "number"
    integer = "integer"
    category = "category"
    text = "text"
    datetime = "datetime"
    identifier = "identifier"
    constant = "constant"


@dataclass(frozen=True)
class ColumnType:
    """What must be known of a column to read other cells of it the same way.

    Args:
        kind: What it was taken for.
        date_order: `"dmy"` or `"mdy"`, where its dates have slashes and their order is known.
    """

    kind: Kind
    date_order: Order | None = None


@dataclass(frozen=True, eq=False)
class Column:
    """One column: its exact text and what it was taken for.

    Args:
        name: The column's name, exactly as written.
        kind: What it was taken for.
        cells: Arrow strings, the exact text of each cell, null where the cell is missing; or
            numbers as Arrow has them, which become text where it is asked for.
        values: float64 for number and integer (NaN where missing or not finite), seconds since
            1970-01-01 UTC for datetime (NaN where missing), `None` for every other kind.
        missing: Which cells are missing.
        notes: What was noticed while the kind was inferred.
        written: The exact text of every cell with its missing token (`NA`, `inf` in a number
            column), null only where the source has no text; `None` means that it is `strings`.
        date_order: `"dmy"` or `"mdy"`, where its dates have slashes and their order is known.
    """

    name: str
    kind: Kind
    cells: pa.Array
    values: NDArray[np.float64] | None
    missing: NDArray[np.bool_]
    notes: tuple[Notice, ...] = ()
    written: pa.Array | None = None
    date_order: Order | None = None

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def type(self) -> ColumnType:
        """What must be known to read other cells the same way."""
        return ColumnType(self.kind, self.date_order)

    @cached_property
    def strings(self) -> pa.Array:
        """Arrow strings, the exact text of each cell; null where the cell is missing."""
        return as_text(self.cells)

    @property
    def source(self) -> pa.Array:
        """The exact text of every cell as the source has it, missing tokens included."""
        return self.strings if self.written is None else self.written

    @property
    def n_missing(self) -> int:
        """How many cells are missing."""
        return int(np.count_nonzero(self.missing))

    @cached_property
    def n_distinct(self) -> int:
        """How many different texts there are, missing cells not counted."""
        if len(self.strings) <= FEW:
            return len({text for text in self.strings.to_pylist() if text is not None})
        return int(pc.count_distinct(self.strings, mode="only_valid").as_py())

    def texts(self) -> list[str | None]:
        """Return the exact text of each cell, `None` where it is missing."""
        found: list[str | None] = self.strings.to_pylist()
        return found

    def codes(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return integer codes (-1 where missing) and the distinct texts in sorted order."""
        encoded = pc.dictionary_encode(self.strings)
        levels: list[str] = encoded.dictionary.to_pylist()
        order = sorted(range(len(levels)), key=levels.__getitem__)
        rank = np.empty(len(levels) + 1, dtype=np.int64)
        rank[order] = np.arange(len(levels))
        rank[-1] = -1
        found = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return rank[found], tuple(levels[i] for i in order)

    def take(self, rows: NDArray[np.int64]) -> "Column":
        """Return the column at these rows, in this order; the kind stays."""
        index = pa.array(rows)
        return replace(
            self,
            cells=self.cells.take(index),
            values=None if self.values is None else self.values[rows],
            missing=self.missing[rows],
            written=None if self.written is None else self.written.take(index),
        )


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length, where they came from, and what to know about them.

    Args:
        columns: The columns, in the order of the source.
        n_rows: How many rows there are.
        source: The file's name, or what the frame was.
        notices: What was noticed about the file as a whole (columns keep their own in `notes`).
        line_numbers: For each row the line of the file on which it begins; `None` for Parquet
            and frames.
        places: Where each row stands, for a table of several files.
    """

    columns: tuple[Column, ...]
    n_rows: int
    source: str
    notices: tuple[Notice, ...] = ()
    line_numbers: NDArray[np.int64] | None = None
    places: Places | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @property
    def all_notices(self) -> tuple[Notice, ...]:
        """The table's own notices, then those of its columns, in order."""
        notes = (note for column in self.columns for note in column.notes)
        return (*self.notices, *notes)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def column(self, name: str) -> Column:
        """Return the column of this name.

        Raises:
            DataError: There is none; the message has the nearest names.
        """
        if name not in self._places:
            raise DataError(
                f"Table.column: name must be one of the {counted(len(self.columns), 'column')}; "
                f"got {name!r}",
                where=self.source,
                remedy=nearest(name, self.names),
                code="E-COLUMN",
            )
        return self.columns[self._places[name]]

    def drop(self, names: Iterable[str]) -> "Table":
        """Return the table without these columns.

        Raises:
            DataError: A name is not a column.
        """
        gone = {self.column(name).name for name in names}
        kept = tuple(column for column in self.columns if column.name not in gone)
        return replace(self, columns=kept)

    def select(self, names: Iterable[str]) -> "Table":
        """Return the table with these columns only, in this order.

        Raises:
            DataError: A name is not a column.
        """
        return replace(self, columns=tuple(self.column(name) for name in names))

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "Table":
        """Return the table at these rows (0-based), in this order; kinds stay."""
        index = np.asarray(rows, dtype=np.int64)
        if np.array_equal(index, np.arange(self.n_rows)):
            return self
        return replace(
            self,
            columns=tuple(column.take(index) for column in self.columns),
            n_rows=len(index),
            line_numbers=None if self.line_numbers is None else self.line_numbers[index],
            places=None if self.places is None else self.places.take(index),
        )

    def place(self, row: int) -> str:
        """Return where a row (0-based) stands in the source: `data.csv, line 7`."""
        if self.places is not None:
            return self.places.at(row)
        if self.line_numbers is None:
            return f"{self.source}, row {row + 1}"
        return f"{self.source}, line {int(self.line_numbers[row])}"
