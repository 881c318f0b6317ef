"""Stage "read": the table, its label, and what is wrong with either, leakage first."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError
from trivium.audit.large_plan import sample_section
from trivium.audit.large_read import look_through
from trivium.audit.options import as_paths
from trivium.audit.state import AuditState
from trivium.parallel import Executor, Progress
from trivium.table import (
    Kind,
    Label,
    Notice,
    Parts,
    ReadOptions,
    Table,
    bundled_label,
    duplicate_groups,
    find_files,
    gather,
    inspect_columns,
    open_files,
    penguins_path,
    read_block,
    read_table,
    split_label,
)
from trivium.table.naming import cut, listed, nearest

__all__ = [
    "as_warnings",
    "check_kept",
    "check_used",
    "locate",
    "noted",
    "open_table",
    "read_stage",
    "why_unused",
]

# Kinds that carry no evidence about other rows.
_UNUSED = {Kind.constant: "constant", Kind.identifier: "identifier"}
_LEAK = "W-LEAK"


def locate(
    data: str | Path | tuple[str | Path, ...] | None, label: str | None
) -> tuple[tuple[Path, ...], str]:
    """Return the files and the label column; the bundled table where none was given.

    Raises:
        ArgumentError: Files of the user's without a label.
        DataError: A folder without data files, or a file that is named twice.
    """
    named = as_paths(data)
    if not named:
        return (penguins_path(),), label or bundled_label()
    if label is None:
        raise ArgumentError(
            "audit: --label must name the column to predict; got none",
            remedy="Add --label COLUMN; the first line of the file has the names.",
        )
    return tuple(map(Path, find_files(named))), label


def as_warnings(notices: Iterable[Notice]) -> list[dict[str, str]]:
    """Write notices as the report's section `warnings`, leaks first."""
    listed = [{"code": n.code, "where": n.where, "message": n.message} for n in notices]
    # Leakage first: everything after it would be read in its light.
    return sorted(listed, key=lambda notice: not notice["code"].startswith(_LEAK))


def noted(table: Table, notices: Iterable[Notice]) -> tuple[Notice, ...]:
    """Return notices whose rows name the file as well, where there are several."""
    return tuple(notices) if table.places is None else table.places.noted(notices)


def why_unused(table: Table, leaks: set[str]) -> dict[str, str]:
    """Say of each column why no later stage uses it; the empty text where one does."""
    why = {column.name: _UNUSED.get(column.kind, "") for column in table.columns}
    for column in table.columns:
        if bool(column.missing.all()):
            why[column.name] = "empty"
        if column.name in leaks:
            why[column.name] = "determines the label"
    return why


def _check_rows(label: Label, source: str) -> None:
    if len(label.codes) < 4:
        raise DataError(
            f"audit: the table must have at least 4 labeled rows; it has {len(label.codes)}",
            where=f"{source}, column {label.name}",
            remedy="Add labeled rows.",
            code="E-TOO-FEW-ROWS",
        )


def check_kept(kept: Iterable[str], table: Table) -> None:
    """Refuse a column of `--keep` that is not there."""
    for name in kept:
        if name not in table.names:
            raise DataError(
                f"audit: --keep must name a column; got {cut(name)}",
                where=table.source,
                remedy=nearest(name, table.names),
                code="E-COLUMN",
            )


def check_used(why: dict[str, str], source: str) -> None:
    """Refuse a table of which no column can be used: here, before anything is written."""
    if not all(why.values()):
        return
    reasons = [f"{cut(name)} ({reason})" for name, reason in why.items()]
    ways = {
        "constant": "a column that varies is needed",
        "determines": "--keep uses a leak",
        "empty": "fill one in",
        "identifier": "--category, --text or --number uses an identifier",
    }
    known = {reason.split()[0] for reason in why.values()}
    said = "; ".join(way for reason, way in ways.items() if reason in known)
    raise DataError(
        "audit: at least one column beside the label must carry evidence; "
        + (f"left out: {listed(reasons)}" if reasons else "there is none"),
        where=source,
        remedy=f"Add a column; {said}." if reasons else "Add a column.",
        code="E-NO-COLUMNS",
    )


def open_table(
    paths: Sequence[Path],
    read: ReadOptions,
    hold: int,
    executor: Executor,
    progress: Progress | None = None,
) -> Table | Parts:
    """Read a table, or open it in parts where it has more cells than are held at once.

    Args:
        paths: Its files.
        read: How they are read.
        hold: Cells, rows times columns, that are held.
        executor: Reads the blocks of several files.
        progress: Told of columns done and in all, where the table is held.

    Raises:
        DataError: The table is refused.
    """
    single = len(paths) == 1
    try:
        # A cell of text and what parts it from the next are two bytes or more.
        parts = open_files(paths, read, small=2 * hold if single else 0, executor=executor)
    except DataError:
        if not single:
            raise
        parts = None  # reading it in one go says what is wrong with it
    if parts is not None and parts.n_rows * len(parts.names) > hold:
        return parts
    if single or parts is None:
        return read_table(paths[0], read, progress=progress)
    return gather(parts, executor.map(read_block, parts.blocks), progress)


@dataclass(frozen=True, eq=False)
class _Found:
    """What was read: all rows, or a sample of them.

    Args:
        table: The rows held.
        label: Their label.
        notices: About all rows.
        of_label: About the label.
        n_rows: How many there are.
        counts: Rows of each class.
        numbered: Gives notices about the rows held the numbers of all rows.
    """

    table: Table
    label: Label
    notices: tuple[Notice, ...]
    of_label: tuple[Notice, ...]
    n_rows: int
    counts: np.ndarray
    numbered: Callable[[Sequence[Notice]], Iterable[Notice]] = tuple


def _read(state: AuditState) -> _Found:
    paths, name = locate(state.options.data, state.options.label)
    read, hold = state.options.read, state.options.hold
    seed, progress = state.options.seed, state.listener.step
    opened = open_table(paths, read, hold, state.executor, progress)
    if isinstance(opened, Table):
        label = split_label(opened, name, read)
        state.label = label
        of_label = noted(opened, label.notices)
        return _Found(opened, label, opened.notices, of_label, opened.n_rows, label.counts)
    found = look_through(opened, name, hold, seed, state.executor, progress)
    assert found.label is not None
    state.large, state.label = found.large, found.global_label()
    state.report["sample"] = sample_section(state, len(found.rows))
    return _Found(
        found.table,
        found.label,
        found.notices,
        found.of_label,
        found.large.n_rows,
        found.large.counts,
        found.numbered,
    )


def read_stage(state: AuditState) -> str:
    """Read the table into the state and write the section `data`; return what was done."""
    found = _read(state)
    whole, label = found.table, found.label
    _check_rows(label, state.source)
    check_kept(state.options.keep, whole)
    state.table = table = whole.take(label.rows).drop([label.name])
    inspected = found.numbered(inspect_columns(whole, label))
    # What counts as missing in the label is the label's own notice.
    others = [column for column in whole.columns if column.name != label.name]
    columns = found.numbered([notice for column in others for notice in column.notes])
    notices = as_warnings([*inspected, *found.notices, *columns, *found.of_label])
    leaks = {n.where.removeprefix("column ") for n in inspected if n.code.startswith(_LEAK)}
    leaks -= set(state.options.keep)
    why = why_unused(table, leaks)
    check_used(why, state.source)
    state.used = table.drop([column for column, reason in why.items() if reason])
    state.groups = duplicate_groups(table)
    state.report["warnings"] += notices
    state.report["data"] = {
        "source": state.source,
        "rows": found.n_rows,
        "rows_used": int(found.counts.sum()),
        "columns": len(table.columns),
        "label": label.name,
        "classes": [
            {"name": c, "rows": int(r)} for c, r in zip(label.classes, found.counts, strict=True)
        ],
        "schema": [
            {
                "column": column.name,
                "kind": str(column.kind),
                "missing": column.n_missing,
                "distinct": column.n_distinct,
                "used": not why[column.name],
                "why": why[column.name],
            }
            for column in table.columns
        ],
        "checks": notices,
    }
    used = len(state.used.columns)
    return (
        f"{counted(found.n_rows, 'row')}, "
        f"{used:,} of {counted(len(table.columns), 'column')} used, "
        f"{counted(len(label.classes), 'class')}, {counted(len(notices), 'warning')}"
    )
