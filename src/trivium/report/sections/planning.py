"""What was planned: the roads chosen by counts, and predicted time and memory beside what came."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Block, Cell, Column, Missing, Section, Table
from trivium.report.fields import Limits, record, records, stage_reason, words
from trivium.report.numbers import NA, clock, finite, number, size
from trivium.report.text import shown

__all__ = ["plan_section"]

Record = Mapping[str, Any]
_QUESTION = "What was planned, and what came?"
_HAPPENED = (
    "Counts are multiply-adds of matrix products, and one for each number that a pass looks at. "
    "Memory is the growth of the peak. In a resumed run the time is without what was resumed."
)


def plan_section(report: Record, limits: Limits) -> Section:
    """Return the choices of the plan, and what each stage was to take and took."""
    plan = record(report, "plan")
    stages, choices = records(plan, "stages"), records(plan, "choice")
    if not stages and not choices:
        missing = Missing(stage_reason(report, "plan", "Nothing was planned in this run."))
        return Section("plan", _QUESTION, "Not planned", (missing,))
    blocks: list[Block] = []
    if choices:
        blocks.append(_choices(plan, choices, limits))
    if stages:
        blocks.append(_stages(plan, stages[: limits.rows]))
    return Section("plan", _QUESTION, _answer(plan), tuple(blocks))


def _answer(plan: Record) -> str:
    planned, took = clock(plan.get("predicted_seconds")), clock(plan.get("seconds"))
    if planned == NA:
        return "Counted only"
    return f"{planned} planned" + (f", {took} taken" if took != NA else "")


def _count(value: Any) -> str:
    return number(value, 2) if finite(value) is not None else ""


def _choices(plan: Record, choices: list[Record], limits: Limits) -> Table:
    body = []
    for item in choices[: limits.rows]:
        instead: Cell = ""
        if words(item, "instead"):
            instead = shown(words(item, "instead"), 80)
            if _count(item.get("instead_count")):
                instead += Markup(": {}").format(_count(item.get("instead_count")))
        body.append(
            (
                shown(item.get("stage"), 24),
                shown(item.get("what"), 160),
                shown(item.get("choice"), 120),
                _count(item.get("count")),
                instead,
                shown(item.get("why"), 300),
            )
        )
    return Table(
        "What was chosen, by counts alone.",
        (
            Column("stage", "short"),
            Column("of"),
            Column("choice"),
            Column("count", "number"),
            Column("the other road: its count"),
            Column("why"),
        ),
        tuple(body),
        Markup(
            "No clock is asked, so the choices are the same on every machine. The budget of each "
            "is {} multiply-adds."
        ).format(_count(plan.get("budget")) or NA),
        look="prose",
    )


def _between(item: Record) -> str:
    low, high = clock(item.get("predicted_low")), clock(item.get("predicted_high"))
    return "" if NA in (low, high) else f"{low} to {high}"


def _stages(plan: Record, stages: list[Record]) -> Table:
    whole = {**plan, "name": "all"}
    body = tuple(
        (
            shown(item.get("name"), 24),
            _count(item.get("count")),
            clock(item.get("predicted_seconds")),
            _between(item),
            clock(item.get("seconds")),
            size(item.get("predicted_bytes")),
            size(item.get("bytes")),
        )
        for item in (*stages, whole)
    )
    machine = record(plan, "machine")
    how = shown(words(machine, "how"), 300)
    return Table(
        "Planned, and what happened.",
        (
            Column("stage", "short"),
            Column("count", "number"),
            Column("time planned", "number"),
            Column("its interval", "number"),
            Column("time taken", "number"),
            Column("memory planned", "number"),
            Column("memory taken", "number"),
        ),
        body,
        Markup("{} Seconds by {}: {}").format(_HAPPENED, shown(words(machine, "name"), 80), how),
        total=True,
    )
