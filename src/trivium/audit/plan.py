"""A plan: what the later stages will do, by which road, and how much that is in counts."""

from dataclasses import dataclass

from trivium.audit.explained import explained_rows
from trivium.audit.options import AuditOptions
from trivium.audit.plan_depend import DependRows, depend_rows, depend_work
from trivium.audit.plan_fit import encode_work, explain_work, fit_work, flag_work, tune_work
from trivium.audit.plan_memory import memory_growth
from trivium.audit.plan_size import TableSize
from trivium.audit.plan_work import Work

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True)
class Plan:
    """What was chosen, and the work of each stage.

    Args:
        size: The table.
        rows: Rows that the stage depend tests.
        explained: Rows that the stage explain asks about.
        work: Work of each stage, in counts.
        growth: Bytes by which each stage raises the peak.
    """

    size: TableSize
    rows: DependRows
    explained: int
    work: dict[str, list[Work]]
    growth: dict[str, int]


def make_plan(size: TableSize, options: AuditOptions) -> Plan:
    """Choose and count: nothing here looks at a clock, so the choice is the same everywhere.

    Args:
        size: The table.
        options: What was asked, the budget among it.
    """
    rows = depend_rows(size, options.budget)
    explained = explained_rows(size.rows, min(size.rows, size.features), options.budget)
    work = {
        "depend": depend_work(size, rows),
        "encode": encode_work(size),
        "fit": fit_work(size),
        "flag": flag_work(size),
        "tune": tune_work(size, options),
        "explain": explain_work(size, explained),
    }
    return Plan(size, rows, explained, work, memory_growth(size, rows, explained))
