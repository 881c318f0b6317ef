"""Which labels look wrong, and what fixing them would change."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Block, Column, Figure, Missing, Paragraph, Section, Table
from trivium.report.charts import band_line, bar, histogram
from trivium.report.fields import Limits, record, records, stage_reason, words
from trivium.report.numbers import NA, count, finite, interval, number, points, share
from trivium.report.text import pairs, shown

__all__ = ["excerpt", "fix_section", "label_section"]

Record = Mapping[str, Any]
_CHARTED = 200
_ENOUGH_FOR_HISTOGRAM = 12


def excerpt(item: Record, limits: Limits) -> Markup:
    """Return the first cells of a row as one line."""
    cells = [
        (words(cell, "column"), cell.get("value"))
        for cell in records(item, "excerpt")[: limits.excerpt]
    ]
    return pairs(cells, max(limits.text * 5 // 8, 12))


def label_section(report: Record, limits: Limits) -> Section:
    """Return the rows whose labels the rest of the data contradicts, most doubtful first."""
    question = "Which labels look wrong?"
    flags = record(report, "flags")
    items = records(flags, "items")
    expected = finite(flags.get("expected_wrong"))
    if not items:
        why = "No label is contradicted by the rest of the data."
        answer = "None" if flags else "Not looked for"
        missing = stage_reason(report, "flag", why if flags else "Labels were not looked at.")
        return Section("labels", question, answer, (Missing(missing),))
    total = int(finite(flags.get("listed")) or 0)
    total = max(total, len(items))
    answer = f"{count(total)} listed" + (
        f", about {number(expected, 2)} expected to be wrong" if expected is not None else ""
    )
    blocks: list[Block] = [Paragraph(_reading(total, expected))]
    chances = [p for item in items if (p := finite(item.get("probability"))) is not None]
    if len(chances) >= _ENOUGH_FOR_HISTOGRAM:
        blocks.append(
            Figure(
                "Flagged rows by the probability that their label is wrong.",
                histogram(chances, title="Flagged rows by the probability of a wrong label"),
                "Those at the right are worth a look first.",
                look="small",
            )
        )
    blocks.append(_flags(items, total, limits))
    return Section("labels", question, answer, tuple(blocks))


def _reading(total: int, expected: float | None) -> str:
    first = (
        "For every row, all others were asked what its label should be (exact leave-one-out: "
        "the row itself had no say). The rows below disagree with the answer"
    )
    if expected is None:
        return f"{first}."
    return (
        f"{first}; summed over all rows, the calibrated probabilities of a wrong label come to "
        f"{number(expected, 2)}. Some listed rows are rare but right: look before you change. "
        "Write corrections into fixes.csv and run \u201ctrivium whatif\u201d."
    )


def _flags(items: list[Record], total: int, limits: Limits) -> Table:
    body = []
    with_excerpt = any(records(item, "excerpt") for item in items[: limits.rows])
    for index, item in enumerate(items[: limits.rows]):
        chance = finite(item.get("probability"))
        cells = [
            Markup("<b>{}</b>").format(count(item.get("row"))),
            shown(item.get("label"), 32),
            shown(item.get("suggested"), 32),
            bar(chance, 1.0) if index < _CHARTED else "",
            share(chance),
            share(item.get("own_probability")),
        ]
        if with_excerpt:
            cells.append(excerpt(item, limits))
        body.append(tuple(cells))
    columns = [
        Column("row", "short"),
        Column("label"),
        Column("suggested"),
        Column("wrong?", "chart"),
        Column("probability wrong", "number"),
        Column("given to its label", "number"),
    ]
    if with_excerpt:
        columns.append(Column("the row"))
    note = ""
    if total > len(body):
        note = f"The first {count(len(body))} of {count(total)}; all are in fixes.csv and rows.csv."
    return Table(
        "Rows whose label the others contradict, most doubtful first.",
        tuple(columns),
        tuple(body),
        "Rows are numbered from 1 under the header. Probabilities: calibrated, exact "
        "leave-one-out.",
        note=note,
        look="flags",
    )


def fix_section(report: Record, limits: Limits) -> Section:
    """Return how accuracy changes with the number of labels fixed."""
    question = "What would fixing them change?"
    series = []
    for item in records(record(report, "flags"), "what_if")[: limits.rows]:
        fixed, change = finite(item.get("fixed")), finite(item.get("accuracy_change"))
        if fixed is not None and change is not None:
            series.append((fixed, change, finite(item.get("low")), finite(item.get("high"))))
    if not series:
        why = stage_reason(report, "flag", "There is nothing to fix, so nothing to foresee.")
        return Section("fixes", question, "Nothing to foresee", (Missing(why),))
    series.sort(key=lambda point: point[0])
    last = series[-1]
    mean, ends = interval(last[1], last[2], last[3], "points")
    answer = f"Fixing the first {count(last[0])}: "
    if last[2] is not None and last[3] is not None and last[2] <= 0 <= last[3]:
        answer += f"no clear change on the other rows ({ends} points)"
    else:
        answer += f"{mean} points of accuracy on the others" + (f" ({ends})" if ends else "")
    chart = band_line(
        series,
        title="Change of accuracy on the other rows over the number of labels fixed",
        across="labels fixed, most doubtful first",
        write=points,
    )
    caption = (
        "In percentage points, when the most doubtful labels take their suggested value, on the "
        "rows that were not touched. Exact: moments are down-dated and up-dated, nothing is "
        "refitted. Band: 95\u202f% interval."
    )
    blocks: list[Block] = [
        Figure("Change of leave-one-out accuracy on the other rows.", chart, caption)
    ]
    blocks.append(_changes(series))
    return Section("fixes", question, answer, tuple(blocks))


def _changes(series: list[tuple[float, float, float | None, float | None]]) -> Table:
    most = 10
    step = max(1, -(-len(series) // most))
    kept = [point for point in series if point[0] > 0][::step] or series
    if kept[-1] is not series[-1]:
        kept.append(series[-1])
    halves = sorted(
        (high - low) / 2 for _, _, low, high in kept if low is not None and high is not None
    )
    decimals = 2 if halves and halves[len(halves) // 2] < 0.005 else 1
    rows = []
    for fixed, change, low, high in kept:
        known = low is not None and high is not None
        ends = f"{points(low, decimals)} to {points(high, decimals)}" if known else NA
        rows.append((count(fixed), points(change, decimals), ends))
    return Table(
        "The same in numbers, percentage points.",
        (
            Column("labels fixed"),
            Column("accuracy", "number"),
            Column("95\u202f% interval", "number"),
        ),
        tuple(rows),
        look="narrow",
    )
