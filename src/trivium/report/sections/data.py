"""Warnings, and the data as they were read."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from trivium._core.counted import noun
from trivium.report.blocks import Block, Column, Missing, Paragraph, Section, Table, folded
from trivium.report.charts import bar
from trivium.report.fields import Limits, record, records, words
from trivium.report.numbers import count, counted, finite, percent
from trivium.report.text import shown

__all__ = ["data_section", "warnings_section"]

Record = Mapping[str, Any]


def warnings_section(report: Record, limits: Limits) -> Section:
    """Return everything that the run found worth a warning, checks of the data first."""
    items = records(record(report, "data"), "checks")
    seen = {_key(item) for item in items}
    items += [item for item in records(report, "warnings") if _key(item) not in seen]
    question = "What should I be warned of?"
    if not items:
        return Section("warnings", question, "Nothing", (Missing("This run has no warnings."),))
    body = tuple(
        (
            shown(item.get("where"), limits.text),
            shown(item.get("message"), 400),
            Markup("<code>{}</code>").format(shown(item.get("code"), 40)),
        )
        for item in items[: limits.rows]
    )
    rest = len(items) - len(body)
    table = Table(
        "What the run noticed.",
        (Column("where"), Column("what"), Column("code", "short")),
        body,
        "Nothing was changed silently: what was set aside or read in a special way is named.",
        note=f"{count(rest)} more are in report.json." if rest > 0 else "",
        look="prose",
    )
    noun = "warning" if len(items) == 1 else "warnings"
    return Section("warnings", question, f"{count(len(items))} {noun}", (table,))


def _key(item: Record) -> tuple[str, str, str]:
    return words(item, "code"), words(item, "where"), words(item, "message")


def data_section(report: Record, limits: Limits) -> Section:
    """Return rows, classes and columns as the run understood them."""
    question = "How were the data read?"
    data = record(report, "data")
    if not data:
        missing = Missing("This run kept no record of its data.")
        return Section("data", question, "Not recorded", (missing,))
    rows, used = finite(data.get("rows")), finite(data.get("rows_used"))
    answer = f"{counted(rows, 'row')}, {counted(data.get('columns'), 'column')}"
    text = Markup("{} holds {}").format(shown(data.get("source"), 120), answer)
    if rows is not None and used is not None:
        aside = rows - used
        apart = f", {count(aside)} set aside (see the warnings)" if aside else ""
        were = noun(used, "was", "were")
        text += Markup("; {} {} used{}.").format(counted(used, "row"), were, apart)
    else:
        text += Markup(".")
    blocks: list[Block] = [Paragraph(text)]
    classes = records(data, "classes")
    if classes:
        blocks.append(folded(_classes(data, classes, limits)))
    schema = records(data, "schema")
    described = folded(_schema(schema, rows, limits)) if schema else None
    blocks.append(described or Missing("No column was described."))
    return Section("data", question, answer, tuple(blocks))


def _classes(data: Record, classes: list[Record], limits: Limits) -> Table:
    sizes = [finite(item.get("rows")) or 0.0 for item in classes]
    total, most = sum(sizes), max([*sizes, 1.0])
    body = tuple(
        (
            shown(item.get("name"), 60),
            bar(n, most) if index < 200 else "",
            count(n),
            percent(n / total) if total else "n/a",
        )
        for index, (item, n) in enumerate(
            zip(classes[: limits.rows], sizes[: limits.rows], strict=True)
        )
    )
    rest = len(classes) - len(body)
    return Table(
        Markup("Classes of the label {}.").format(shown(data.get("label"), 60)),
        (Column("class"), Column("share", "chart"), Column("rows", "number"), Column("", "number")),
        body,
        note=f"{counted(rest, 'more class')} in report.json." if rest > 0 else "",
        look="narrow",
    )


def _schema(schema: list[Record], rows: float | None, limits: Limits) -> Table:
    body = []
    for item in schema[: limits.rows]:
        missing = finite(item.get("missing"))
        part = f" ({percent(missing / rows)})" if missing and rows else ""
        used = "yes" if item.get("used") else "no"
        why = words(item, "why")
        body.append(
            (
                shown(item.get("column"), limits.text // 2),
                shown(item.get("kind"), 16),
                count(missing) + part,
                count(item.get("distinct")),
                Markup("{}: {}").format(used, shown(why, 200)) if why else used,
            )
        )
    rest = len(schema) - len(body)
    return Table(
        "The columns.",
        (
            Column("column"),
            Column("kind", "short"),
            Column("missing", "number"),
            Column("distinct", "number"),
            Column("used"),
        ),
        tuple(body),
        "Each was read as text first and then given one kind for the whole file.",
        note=f"{counted(rest, 'more column')} in report.json." if rest > 0 else "",
        look="prose",
    )
