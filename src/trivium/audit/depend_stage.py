"""Stage "depend": which columns depend on the label, with valid p-values."""

from trivium.audit.state import AuditState, Section
from trivium.dependence import DependenceColumn, screen
from trivium.table import Column, Kind, Table

__all__ = ["as_dependence_column", "depend_stage"]

_DAY = 86_400.0


def as_dependence_column(column: Column) -> DependenceColumn:
    """Hand a column of a table to the dependence room in its own terms."""
    if column.kind in (Kind.number, Kind.integer):
        return DependenceColumn(column.name, "number", column.values)
    if column.kind is Kind.datetime and column.values is not None:
        return DependenceColumn(column.name, "date", column.values / _DAY)
    if column.kind is Kind.text:
        return DependenceColumn(column.name, "text", column.texts())
    return DependenceColumn(column.name, "category", column.codes()[0])


def screen_table(state: AuditState, table: Table) -> list[Section]:
    """Rows of the report's section `depend`."""
    target = DependenceColumn(state.label.name, "category", state.codes)
    columns = [as_dependence_column(column) for column in table.columns]
    found = screen(
        columns,
        target,
        n_permutations=state.options.permutations,
        random_state=state.options.seed,
        progress=state.listener.step,
    )
    rows = found.to_dicts()
    return sorted(rows, key=lambda row: (row["p_value"], -row["cka"]))


def depend_stage(state: AuditState) -> str:
    """Write the section `depend`; return what was done."""
    rows = state.journal("depend", lambda: screen_table(state, state.used))
    state.report["depend"] = rows
    hits = sum(row["q_value"] < 0.05 for row in rows)
    return (
        f"{hits} of {len(rows)} columns depend on {state.label.name} "
        f"(false-discovery rate 5 %, {state.options.permutations:,} permutations or more)"
    )
