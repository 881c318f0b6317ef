"""Is there signal, and where: dependence of each column on the label."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trivium._core.counted import noun
from trivium.report.blocks import Block, Column, Figure, Missing, Paragraph, Section, Table
from trivium.report.charts import bar, histogram
from trivium.report.fields import Limits, record, records, stage_reason, words
from trivium.report.numbers import count, counted, finite, fixed, interval, number, p_value
from trivium.report.sections.shape import shape_figure
from trivium.report.sections.texts import text_table
from trivium.report.text import shown

__all__ = ["signal_section", "where_section"]

LEVEL = 0.05
_ENOUGH_FOR_HISTOGRAM = 8
_CHARTED = 200
_SHIFTS = re.compile(r"\d+ shifts")
Record = Mapping[str, Any]


def _found(rows: Sequence[Record]) -> list[Record]:
    return [row for row in rows if (finite(row.get("q_value")) or 0.0) < LEVEL and _tested(row)]


def _tested(row: Record) -> bool:
    return finite(row.get("q_value")) is not None


def _no_tests(report: Record) -> str:
    return stage_reason(report, "depend", "No column was tested for dependence in this run.")


def signal_section(report: Record, limits: Limits) -> Section:
    """Return whether any column carries information on the label, and how we know."""
    rows = records(report, "depend")
    tested = [row for row in rows if _tested(row)]
    blocks: list[Block] = []
    if not tested:
        answer = "Not tested"
        blocks.append(Missing(_no_tests(report)))
    else:
        found = _found(rows)
        left = record(report, "untested")
        total = len(tested) + int(finite(left.get("columns")) or 0)
        answer = _answer(len(found), total)
        blocks.append(Paragraph(_reading(len(found), total)))
        if words(left, "why"):
            blocks.append(Paragraph(Markup("Note: {}.").format(shown(words(left, "why"), 400))))
        chances = [finite(row.get("p_value")) for row in tested]
        known = [p for p in chances if p is not None]
        # Chosen ones are no sample of what chance gives.
        if len(known) >= _ENOUGH_FOR_HISTOGRAM and total == len(tested):
            blocks.append(_spread(known))
    gain = _gain(report)
    if gain is not None:
        blocks.append(gain)
    return Section("signal", "Is there signal?", answer, tuple(blocks))


def _answer(found: int, tested: int) -> str:
    if found == 0:
        return f"None seen: 0 of {counted(tested, 'column')}"
    depend = noun(found, "depends", "depend")
    return f"Yes: {count(found)} of {counted(tested, 'column')} {depend} on the label"


def _reading(found: int, tested: int) -> str:
    method = (
        "Each column was tested against the label with a kernel test of independence (HSIC), "
        "which sees dependence of any shape. Its p-value is the rank of the table as given among "
        "those with the label shifted against the rows, exact at every number of rows; "
        "q-values hold the share of false discoveries "
        f"among the columns named (Benjamini\u2013Hochberg) to {100 * LEVEL:g}\u202f%."
    )
    if found == 0:
        return (
            f"None of the {counted(tested, 'column')} depends on the label beyond what chance "
            f"gives at this number of rows. That is no proof that there is nothing. {method}"
        )
    return method


def _spread(values: list[float]) -> Block:
    return Figure(
        "p-values of all tested columns.",
        histogram(values, title="p-values of the columns, counted in tenths", even=True),
        "Columns without any dependence would fill the ten bins "
        "evenly, up to the dashed line; what rises above it on the left is signal.",
        look="small",
    )


def _gain(report: Record) -> Block | None:
    """Return the sentence on prediction against the majority class, where it was measured."""
    for item in records(record(report, "scores"), "differences"):
        if item.get("b") == "majority" and item.get("metric") == "accuracy":
            mean, ends = interval(item.get("mean"), item.get("low"), item.get("high"), "points")
            return Paragraph(
                f"Prediction agrees: against always naming the most frequent class, the closed "
                f"form gains {mean} percentage points of accuracy"
                + (f" (95\u202f% interval {ends}, same folds)." if ends else " (same folds).")
            )
    return None


def where_section(report: Record, limits: Limits) -> Section:
    """Return the table of columns by the strength of their dependence on the label."""
    rows = records(report, "depend")
    if not rows:
        return Section("where", "Where is it?", "Not tested", (Missing(_no_tests(report)),))
    found = _found(rows)
    best = Markup(", ").join(shown(row.get("column"), 40, counted=False) for row in found[:3])
    more = Markup(" and {} more").format(count(len(found) - 3)) if len(found) > 3 else ""
    answer = best + more if found else "No column stands out"
    blocks: list[Block | None] = [
        _columns(rows, limits),
        shape_figure(found, limits),
        text_table(rows, limits),
    ]
    shown_blocks = tuple(block for block in blocks if block is not None)
    return Section("where", "Where is it?", answer, shown_blocks)


def _columns(rows: Sequence[Record], limits: Limits) -> Table:
    found = {id(row) for row in _found(rows)}
    methods = {words(row, "method") for row in rows}
    # Where they differ in the number of shifts alone, a number says it.
    alike = {_SHIFTS.sub("shifts", method) for method in methods}
    counted = len(alike) == 1 < len(methods)
    methods = alike if counted else methods
    compared = {count(row.get("rows")) for row in rows}
    tails = any(finite(row.get("p_tail")) is not None for row in rows)
    strengths = [finite(row.get("cka")) or 0.0 for row in rows]
    bands = [finite(row.get("null_band")) or 0.0 for row in rows]
    limit = max([*strengths, *bands, 1e-9])
    columns = [
        Column("column"),
        Column("kind", "short"),
        Column("dependence", "chart"),
        Column("CKA", "number"),
        Column("chance, 95\u202f%", "number"),
        Column("p, exact", "number"),
        *([Column("p, tail", "number")] if tails else []),
        Column("q", "number"),
        *([Column("shape", "short")] if any(words(row, "shape") for row in rows) else []),
        *([Column("rows", "number")] if len(compared) > 1 else []),
        *([Column("shifts", "number")] if counted else []),
        *([Column("method")] if len(methods) > 1 else []),
    ]
    heads = [column.head for column in columns]
    body = []
    for index, row in enumerate(rows[: limits.rows]):
        strength, band = finite(row.get("cka")), finite(row.get("null_band"))
        # The shape of what is not there says nothing.
        shape = words(row, "shape") if id(row) in found else ""
        cells = {
            "column": shown(row.get("column"), limits.text // 2),
            "kind": shown(words(row, "kind"), 16),
            "dependence": bar(strength, limit, band) if index < _CHARTED else "",
            "CKA": fixed(strength),
            "chance, 95\u202f%": fixed(band),
            "p, exact": p_value(row.get("p_value")),
            "p, tail": number(row.get("p_tail"), 2),
            "q": p_value(row.get("q_value")),
            "shape": shown(shape, 16) if shape else "",
            "rows": count(row.get("rows")),
            "shifts": count(row.get("n_permutations")),
            "method": shown(words(row, "method"), limits.text),
        }
        body.append(tuple(cells[str(head)] for head in heads))
    return Table(
        "Dependence of each column on the label.",
        tuple(columns),
        tuple(body),
        _caption(methods, compared, tails),
        note=_left_out(len(rows), len(body)),
        look="dense",
    )


def _caption(methods: set[str], compared: set[str], tails: bool) -> Markup:
    text = Markup(
        "CKA is about 0 for independence (by chance a little below) and 1 at most; the "
        "shaded band is what chance alone reaches in 95\u202f% of the tables with the label "
        "shifted against the rows, and a hollow bar stays inside it. CKA and band are at the "
        "median lengthscale; p tries finer and wider ones for numbers, so a fine pattern "
        "can have a hollow bar and a small p."
    )
    if tails:
        text += Markup(
            " The exact p cannot be smaller than one in the number of shifts; the tail p "
            "is an approximation that can, and shows how far out the column lies."
        )
    if len(compared) == 1:
        text += Markup(" {}.").format(counted(next(iter(compared)), "row"))
    if len(methods) == 1 and (method := next(iter(methods))):
        text += Markup(" Method: {}.").format(shown(method.rstrip("."), 200))
    return text


def _left_out(total: int, shown_rows: int) -> str:
    if total <= shown_rows:
        return ""
    return f"The first {count(shown_rows)} of {counted(total, 'column')}; all are in report.json."
