"""`trivium depend`: the columns of a table against a target of any kind, or against each other."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trivium._core.errors import DataError
from trivium._core.threads import one_thread
from trivium.audit.depend_stage import as_dependence_column, screen_columns, untested
from trivium.audit.large_read import look_through
from trivium.audit.options import DependOptions, as_paths
from trivium.audit.read_stage import (
    as_warnings,
    check_kept,
    check_used,
    noted,
    open_table,
    why_unused,
)
from trivium.audit.state import Listener, Section
from trivium.audit.target import Target, as_target
from trivium.dependence import DependenceTable, PairTable, screen_pairs
from trivium.parallel import Executor, SerialExecutor
from trivium.table import Label, Notice, Table, find_files, inspect_columns

__all__ = ["Dependence", "depend_only"]

# What the folds of an audit make of rows does not matter to a test of columns.
_ABOUT_COLUMNS = {"W-LEAK", "W-CONSTANT", "W-IDENTIFIER"}


@dataclass(frozen=True)
class Dependence:
    """What `trivium depend` found.

    Args:
        report: The object that `--json` prints.
        table: The columns against the target; `None` without one.
        pairs: Every two columns; `None` unless asked for.
    """

    report: Section
    table: DependenceTable | None = None
    pairs: PairTable | None = None


@one_thread()
def depend_only(
    options: DependOptions, listener: Listener, executor: Executor | None = None
) -> Dependence:
    """Read a table and test its columns against a target, against each other, or both.

    The executor changes no bit of the result.

    Raises:
        DataError: The table or the target is refused, or there is nothing to test it with.
    """
    whole, n_rows, tell = _opened(options, listener, executor or SerialExecutor())
    check_kept(options.keep, whole)
    target = None if options.target is None else as_target(whole, options.target, options.read)
    notices, leaks = _noticed(whole, target, tell)
    others = whole if target is None else whole.drop([target.name])
    why = why_unused(others, leaks - set(options.keep))
    if target is None and sum(not reason for reason in why.values()) < 2:
        _refuse_pairs(why, whole.source)
    check_used(why, whole.source)
    used = others.select([name for name, reason in why.items() if not reason])
    report: Section = {
        "seed": options.how.seed,
        "fdr": options.how.fdr,
        "correction": options.how.correction,
        "data": _data(whole, others, target, why) | _held(whole, n_rows),
        "warnings": as_warnings(notices),
    }
    listener.begin("depend")
    table = None
    if target is not None:
        columns = used.take(target.rows).columns
        table, report["depend"] = screen_columns(
            columns, target.column, target.levels, options.how, listener.step, executor
        )
        report |= untested(len(columns), len(report["depend"]))
    pairs = None
    if options.pairs:
        wanted = used if target is None else whole.select([*used.names, target.name])
        pairs = _pairs(wanted, options, listener, executor)
        report["pairs"] = pairs.to_dicts()
    return Dependence(report, table, pairs)


Tell = Callable[[Sequence[Notice]], Iterable[Notice]]
"""Gives notices about rows held the numbers of all rows, and their file."""


def _opened(
    options: DependOptions, listener: Listener, executor: Executor
) -> tuple[Table, int, Tell | None]:
    """Return the rows held, the number of all rows, and what numbers notices about a sample."""
    paths = tuple(map(Path, find_files(as_paths(options.data))))
    listener.begin("read")
    opened = open_table(paths, options.read, options.hold, executor, listener.step)
    if isinstance(opened, Table):
        return opened, opened.n_rows, None
    seed, hold = options.how.seed, options.hold
    found = look_through(opened, None, hold, seed, executor, listener.step)
    table = replace(found.table, notices=found.notices)
    return table, found.large.n_rows, found.numbered


def _held(whole: Table, n_rows: int) -> Section:
    """Say how many rows are held, where these are not all."""
    return {} if n_rows == whole.n_rows else {"rows": n_rows, "rows_held": whole.n_rows}


def _noticed(
    whole: Table, target: Target | None, tell: Tell | None
) -> tuple[list[Notice], set[str]]:
    """Everything to know about the table, and the columns that give the target away."""
    if target is None:
        # One class for all rows: no column can tell it.
        label = Label("", np.zeros(whole.n_rows, np.int64), ("",), np.arange(whole.n_rows))
    else:
        label = target.label
    inspected = list(inspect_columns(whole, label))
    if target is None or not target.levels:
        inspected = [note for note in inspected if note.code in _ABOUT_COLUMNS]
    if target is not None and not target.levels:
        inspected += _copies(whole, target, {note.where for note in inspected})
    leaks = {n.where.removeprefix("column ") for n in inspected if n.code == "W-LEAK"}
    others = [column for column in whole.columns if target is None or column.name != target.name]
    notes = [notice for column in others for notice in column.notes]
    own = () if target is None else target.notices
    if tell is not None:
        return [*tell(inspected), *whole.notices, *tell(notes), *tell(own)], leaks
    return [*inspected, *whole.notices, *notes, *noted(whole, own)], leaks


def _copies(whole: Table, target: Target, named: set[str]) -> list[Notice]:
    """Note columns with the very values of a target that is no class: all may differ."""
    values = whole.column(target.name).values
    found = []
    for column in whole.columns:
        where = f"column {column.name}"
        if column.name == target.name or where in named:
            continue
        if values is not None and column.values is not None:
            same = np.array_equal(column.values, values, equal_nan=True)
        else:
            same = column.strings.equals(whole.column(target.name).strings)
        if same:
            message = (
                f"{column.name!r} is equal to the target {target.name!r}: left out, unless --keep "
                "uses it"
            )
            found.append(Notice("W-LEAK", where, message))
    return found


def _refuse_pairs(why: dict[str, str], source: str) -> None:
    reasons = "; ".join(f"{name!r}: {reason}" for name, reason in why.items() if reason)
    raise DataError(
        "depend: --pairs must have at least two columns that vary; "
        + (f"left out: {reasons}" if reasons else f"there are {len(why)}"),
        where=source,
        remedy="Add a column; --category, --text or --number uses an identifier.",
        code="E-NO-COLUMNS",
    )


def _data(whole: Table, others: Table, target: Target | None, why: dict[str, str]) -> Section:
    data: Section = {
        "source": whole.source,
        "rows": whole.n_rows,
        "rows_used": whole.n_rows if target is None else len(target.rows),
        "columns": len(others.columns),
        "target": None,
        "unused": [{"column": name, "why": reason} for name, reason in why.items() if reason],
    }
    if target is not None:
        classes = list(target.levels)
        data["target"] = {"column": target.name, "kind": target.column.kind, "classes": classes}
    return data


def _pairs(
    table: Table, options: DependOptions, listener: Listener, executor: Executor | None
) -> PairTable:
    how = options.how
    return screen_pairs(
        [as_dependence_column(column) for column in table.columns],
        fdr=how.fdr,
        n_permutations=how.permutations,
        correction=how.correction,
        random_state=how.seed,
        progress=listener.step,
        executor=executor,
    )
