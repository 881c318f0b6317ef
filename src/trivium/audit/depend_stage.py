"""Stage "depend": which columns depend on the label, with valid p-values."""

from collections.abc import Sequence
from dataclasses import replace

from trivium._core.counted import counted, noun
from trivium.audit.aspects import text_aspects
from trivium.audit.options import Screening
from trivium.audit.state import AuditState, Section
from trivium.dependence import DependenceColumn, DependenceRow, DependenceTable, screen
from trivium.parallel import BlockJournal, Executor, Progress, SerialExecutor
from trivium.table import Column, Kind

__all__ = ["as_dependence_column", "depend_stage", "screen_columns", "untested"]

_DAY = 86_400.0
_LEVEL_TEXT = 40


def as_dependence_column(column: Column) -> DependenceColumn:
    """Hand a column of a table to the dependence room in its own terms."""
    if column.kind in (Kind.number, Kind.integer):
        return DependenceColumn(column.name, "number", column.values)
    if column.kind is Kind.datetime and column.values is not None:
        return DependenceColumn(column.name, "date", column.values / _DAY)
    if column.kind is Kind.text:
        return DependenceColumn(column.name, "text", column.texts())
    return DependenceColumn(column.name, "category", column.codes()[0])


def screen_columns(
    columns: Sequence[Column],
    target: DependenceColumn,
    levels: Sequence[str],
    how: Screening,
    progress: Progress | None = None,
    executor: Executor | None = None,
    journal: BlockJournal | None = None,
) -> tuple[DependenceTable, list[Section]]:
    """Test columns against a target; return the table and the rows of the section `depend`.

    Args:
        columns: The columns, at the rows of the target.
        target: What they are tested against.
        levels: Names of its classes; none where it has no classes.
        how: Members of the null, correction, seed.
        progress: Told of columns done and in all.
        executor: Runs batches of columns, and each column of texts; here by default.
        journal: Keeps the columns of texts that are done.
    """
    ready = [as_dependence_column(column) for column in columns]
    found = screen(
        ready,
        target,
        fdr=how.fdr,
        n_permutations=how.permutations,
        correction=how.correction,
        max_rows=how.rows,
        random_state=how.seed,
        progress=progress,
        executor=executor,
    )
    left = set(found.untested)
    texts = [column for column in ready if column.kind == "text"]
    asked = [column for column in texts if column.name not in left]
    runner, others = executor or SerialExecutor(), len(texts) - len(asked)
    aspects = text_aspects(asked, target, how, runner, journal, others)
    names = {c.name: c.codes()[1] for c in columns if as_category(c) and c.name not in left}
    named = (_named(row, names.get(row.name, ()), levels) for row in found.rows)
    found = replace(found, rows=tuple(named))
    rows = found.to_dicts()
    for row in rows:
        row["aspects"] = aspects.get(row["column"], [])
    return found, sorted(rows, key=lambda row: (row["p_value"], -row["cka"]))


def as_category(column: Column) -> bool:
    """Whether the dependence room gets integer codes for it."""
    measured = (Kind.number, Kind.integer, Kind.datetime, Kind.text)
    return column.kind not in measured


def _named(row: DependenceRow, own: Sequence[str], levels: Sequence[str]) -> DependenceRow:
    """Write the names of levels where the room of dependence has their codes."""
    if row.functions is None:
        return row
    functions = dict(row.functions)
    for axis, names in (("x", own), ("y", levels)):
        if names:
            functions[axis] = [
                names[int(code)][:_LEVEL_TEXT] if code >= 0 else None for code in functions[axis]
            ]
    return replace(row, functions=functions)


def untested(n_columns: int, n_tested: int) -> Section:
    """Return the section `untested`; empty where every column was tested."""
    if n_columns == n_tested:
        return {}
    why = (
        f"of {counted(n_columns, 'column')} the {n_tested:,} that vary most with the target at a "
        "quick look "
        f"were tested; the others count as p = 1 in every q-value, so what is found holds for "
        f"all {n_columns:,}"
    )
    return {"untested": {"columns": n_columns - n_tested, "why": why}}


def _rows(state: AuditState) -> list[Section]:
    rows = state.plan.rows
    how = Screening(
        permutations=state.options.permutations,
        seed=state.options.seed,
        rows=rows.columns,
        texts=rows.texts,
    )
    target = DependenceColumn(state.label.name, "category", state.codes)
    progress, executor, journal = state.listener.step, state.executor, state.blocks("texts")
    return screen_columns(
        state.used.columns, target, state.classes, how, progress, executor, journal
    )[1]


def depend_stage(state: AuditState) -> str:
    """Write the section `depend`; return what was done."""
    rows = state.journal("depend", lambda: _rows(state))
    state.report["depend"] = rows
    all_of_them = len(state.used.columns)
    state.report |= (left := untested(all_of_them, len(rows)))
    if left:
        state.warn("W-COLUMNS", "stage depend", left["untested"]["why"])
    hits = sum(row["q_value"] < 0.05 for row in rows)
    return (
        f"{hits} of {counted(all_of_them, 'column')} {noun(hits, 'depends', 'depend')} on "
        f"{state.label.name} "
        f"(false-discovery rate 5 %, {counted(state.options.permutations, 'shift')} or more)"
    )
