"""How it was done: stages with their cost, features, environment and command."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Block, Column, Fold, Missing, Section, Table
from trivium.report.fields import Limits, record, records
from trivium.report.numbers import clock, count, counted, finite, size
from trivium.report.sections.learnt import in_order_table, waves_table
from trivium.report.text import shown

__all__ = ["method_section"]

Record = Mapping[str, Any]
_FOLDED = 12


def method_section(report: Record, limits: Limits) -> Section:
    """Return what each stage did, why, and what it cost."""
    stages = records(report, "stages")
    blocks: list[Block] = []
    if stages:
        blocks.append(_stages(stages, limits))
    else:
        blocks.append(Missing("This run kept no record of its stages."))
    features = records(record(report, "encode"), "columns")
    if features:
        table = _features(features, limits)
        total = counted(record(report, "encode").get("features"), "feature")
        summary = f"{counted(len(features), 'column')} as {total} for the models"
        blocks.append(Fold(summary, (table,)) if len(features) > _FOLDED else table)
    encode = record(report, "encode")
    learnt = (
        waves_table(records(encode, "waves"), limits),
        in_order_table(records(encode, "in_order"), limits),
    )
    blocks += [table for table in learnt if table is not None]
    blocks.append(_facts(report))
    done = [stage for stage in stages if not stage.get("skipped")]
    seconds = [s for stage in done if (s := finite(stage.get("seconds"))) is not None]
    answer = f"{count(len(done))} stages in {clock(sum(seconds))}" if done else "Not recorded"
    return Section("method", "How was it done?", answer, tuple(blocks))


def _stages(stages: list[Record], limits: Limits) -> Table:
    body = []
    for stage in stages[: limits.rows]:
        skipped = bool(stage.get("skipped"))
        body.append(
            (
                shown(stage.get("name"), 24),
                "skipped" if skipped else shown(stage.get("did"), 400),
                shown(stage.get("why"), 400) if stage.get("why") else "",
                "" if skipped else clock(stage.get("seconds")),
                "" if skipped else size(stage.get("bytes")),
            )
        )
    return Table(
        "The stages of this run.",
        (
            Column("stage", "short"),
            Column("did"),
            Column("why"),
            Column("time", "number"),
            Column("memory", "number"),
        ),
        tuple(body),
        "Memory is the growth of the peak during the stage.",
        look="prose",
    )


def _features(features: list[Record], limits: Limits) -> Table:
    body = tuple(
        (
            shown(item.get("column"), limits.text // 2),
            shown(item.get("kind"), 16),
            count(item.get("features")),
            shown(item.get("how"), 200),
        )
        for item in features[: limits.rows]
    )
    rest = len(features) - len(body)
    return Table(
        "Columns as features for the models.",
        (Column("column"), Column("kind", "short"), Column("features", "number"), Column("how")),
        body,
        note=f"{counted(rest, 'more column')} in report.json." if rest > 0 else "",
        look="prose",
    )


def _facts(report: Record) -> Table:
    rows: list[tuple[str | Markup, ...]] = [
        ("command", Markup("<code>{}</code>").format(shown(report.get("command"), 300))),
        ("seed", shown(report.get("seed"), 40)),
        ("trivium", shown(report.get("version"), 40)),
        ("written", shown(report.get("created"), 40)),
    ]
    rows += [
        (shown(name, 24), shown(value, 120))
        for name, value in list(record(report, "environment").items())[:20]
    ]
    return Table(
        "To repeat this run.",
        (Column("what"), Column("value")),
        tuple(rows),
        "The same command and seed give the same numbers.",
        look="narrow",
    )
