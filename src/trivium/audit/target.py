"""The target of `trivium depend`: a column of any kind, where the audit's label has classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trivium._core.counted import noun
from trivium._core.errors import DataError
from trivium.audit.depend_stage import as_dependence_column
from trivium.dependence import DependenceColumn
from trivium.table import Column, Kind, Label, Notice, ReadOptions, Table, split_label
from trivium.table.naming import cut, nearest

__all__ = ["Target", "as_target"]

_FEW_VALUES = 20
_LEAST_ROWS = 4


@dataclass(frozen=True, eq=False)
class Target:
    """What the columns are tested against.

    Args:
        name: The column.
        column: Its values at `rows`, of the kind it was taken for.
        rows: The rows (0-based) that have one.
        levels: Names of its classes; none for another kind.
        label: The same as a label, to look for leaks: for a number each value is a class.
        notices: What was noticed.
    """

    name: str
    column: DependenceColumn
    rows: NDArray[np.int64]
    levels: tuple[str, ...]
    label: Label
    notices: tuple[Notice, ...] = ()


def as_target(table: Table, name: str, read: ReadOptions) -> Target:
    """Take a column as the target, by its inferred kind.

    Categories, and numbers with at most 20 different values that repeat, are classes, as in the
    audit, unless `--number` says otherwise; other numbers, dates and texts stay what they are.

    Raises:
        DataError: No such column, one value only, a value a row, or fewer than 4 rows with one.
    """
    if name not in table:
        raise DataError(
            f"depend: --target must name a column; got {cut(name)}",
            where=table.source,
            remedy=nearest(name, table.names),
            code="E-LABEL",
        )
    column = table.column(name)
    target = _measured(column) if _is_measured(column, read) else _classes(table, name, read)
    if len(target.rows) < _LEAST_ROWS:
        raise DataError(
            f"depend: the target must have a value in at least {_LEAST_ROWS} rows; "
            f"it has {len(target.rows)}",
            where=f"{table.source}, column {name}",
            code="E-TOO-FEW-ROWS",
        )
    return target


def _is_measured(column: Column, read: ReadOptions) -> bool:
    """Whether the column is compared by its values rather than as classes."""
    if column.kind in (Kind.text, Kind.datetime):
        return True
    if column.kind not in (Kind.number, Kind.integer):
        return False
    return column.name in read.number or column.n_distinct > _FEW_VALUES


def _measured(column: Column) -> Target:
    gone = column.missing | (np.isnan(column.values) if column.values is not None else False)
    rows = np.flatnonzero(~gone)
    kept = column.take(rows)
    codes, classes = kept.codes()
    notices = []
    if len(rows) < len(column):
        first = int(np.argmax(gone)) + 1
        aside = len(column) - len(rows)
        has = noun(aside, "has", "have")
        message = f"{aside:,} of {len(column):,} rows {has} no target: set aside"
        notices.append(Notice("W-MISSING-LABEL", f"column {column.name}, row {first}", message))
    label = Label(column.name, codes, classes, rows)
    return Target(column.name, as_dependence_column(kept), rows, (), label, tuple(notices))


def _classes(table: Table, name: str, read: ReadOptions) -> Target:
    label = split_label(table, name, read)
    column = DependenceColumn(name, "category", label.codes)
    return Target(name, column, label.rows, label.classes, label, label.notices)
