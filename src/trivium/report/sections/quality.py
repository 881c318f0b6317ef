"""Where the predictions go wrong: confusion, scores by class, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Block, Column, Figure, Table, folded
from trivium.report.charts import reliability, shade
from trivium.report.fields import Limits, listed, record, records, words
from trivium.report.numbers import count, counted, finite, percent
from trivium.report.text import shown

__all__ = ["calibration", "confusion", "per_class"]

Record = Mapping[str, Any]


def _classes(report: Record) -> list[str]:
    return [words(item, "name") for item in records(record(report, "data"), "classes")]


def confusion(report: Record, scores: Record, limits: Limits) -> Block | None:
    """Return the confusion table, or for many classes the pairs most often confused."""
    rows = [row for row in listed(scores, "confusion") if isinstance(row, list | tuple)]
    if not rows:
        return None
    names = _classes(report)
    names += [f"class {index + 1}" for index in range(len(names), len(rows))]
    if len(rows) > limits.classes:
        return _most_confused(rows, names)
    columns = [Column("label in the data")]
    columns += [Column(shown(name, 20), "number") for name in names[: len(rows)]]
    body = []
    for index, row in enumerate(rows):
        known = [finite(value) or 0.0 for value in row[: len(rows)]]
        total = sum(known)
        cells: list[str | Markup] = [shown(names[index], 28)]
        for place, value in enumerate(known):
            look = shade(value / total if total else None, correct=place == index)
            cells.append(
                Markup('<span class="heat {}">{}<span class="ends">{}</span></span>').format(
                    look, count(value), percent(value / total, 0) if total else ""
                )
            )
        body.append(tuple(cells))
    return Table(
        "Confusion, closed form, leave-one-out.",
        tuple(columns),
        tuple(body),
        "Rows are the labels in the data, columns what was predicted; percentages are of the row.",
        look="confusion",
    )


def _most_confused(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> Table:
    cells = [
        (finite(value) or 0.0, index, place)
        for index, row in enumerate(rows)
        for place, value in enumerate(row[: len(rows)])
        if index != place
    ]
    top = [cell for cell in sorted(cells, key=lambda c: (-c[0], c[1], c[2]))[:20] if cell[0] > 0]
    return Table(
        "The pairs of classes most often confused.",
        (Column("label in the data"), Column("predicted"), Column("rows", "number")),
        tuple((shown(names[i], 40), shown(names[j], 40), count(n)) for n, i, j in top),
        f"Of {counted(len(rows), 'class')}; the whole table is in report.json.",
        look="narrow",
    )


def per_class(scores: Record, limits: Limits) -> Block | None:
    """Return precision, recall and F1 of each class."""
    items = records(scores, "per_class")
    if not items:
        return None
    shown_items = items[: limits.rows]
    rest = len(items) - len(shown_items)
    table = Table(
        "By class, closed form, leave-one-out.",
        (
            Column("class"),
            Column("rows", "number"),
            Column("precision", "number"),
            Column("recall", "number"),
            Column("F1", "number"),
        ),
        tuple(
            (
                shown(item.get("class"), 40),
                count(item.get("rows")),
                percent(item.get("precision")),
                percent(item.get("recall")),
                percent(item.get("f1")),
            )
            for item in shown_items
        ),
        note=f"{counted(rest, 'more class')} in report.json." if rest > 0 else "",
        look="narrow",
    )
    return folded(table)


def calibration(scores: Record, limits: Limits) -> Block | None:
    """Return the reliability diagram."""
    points = []
    for item in records(scores, "calibration")[: min(limits.rows, 50)]:
        predicted, observed, rows = (
            finite(item.get(name)) for name in ("predicted", "observed", "rows")
        )
        if predicted is not None and observed is not None:
            points.append((predicted, min(max(observed, 0.0), 1.0), rows or 0.0))
    if not points:
        return None
    return Figure(
        "Do the probabilities come true?",
        reliability(points, title="Calibration of the closed form"),
        "On the diagonal, what was predicted with 70\u202f% happens in 70\u202f% of rows. Lines "
        "are Wilson 95\u202f% intervals; dots grow with rows.",
    )
