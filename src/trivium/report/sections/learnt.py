"""Features learnt from the label: texts read in order, dates by fitted waves; tried and kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.report.blocks import Column, Table
from trivium.report.fields import Limits, records, words
from trivium.report.numbers import finite, fixed, number
from trivium.report.text import shown

__all__ = ["in_order_table", "waves_table"]

Record = Mapping[str, Any]


def in_order_table(items: Sequence[Record], limits: Limits) -> Table | None:
    """Return what was tried for each text whose order matters; `None` where there is none."""
    if not items:
        return None
    body = []
    for item in items[: limits.rows]:
        tried = ", ".join(shown(words(one, "encoding"), 40) for one in records(item, "tried"))
        body.append(
            (
                shown(words(item, "column"), limits.text // 2),
                shown(words(item, "evidence"), 40),
                tried or "nothing",
                _gain(item),
                shown(words(item, "kept") or f"none: {words(item, 'why')}", 120),
            )
        )
    return Table(
        "Texts read in order.",
        (
            Column("column"),
            Column("what matters"),
            Column("positions tried"),
            Column("gain", "number"),
            Column("kept"),
        ),
        tuple(body),
        "A small Transformer, on the folds of the scores. The gain is in log loss (nats a row) "
        "over hashed words and word pieces, with its standard error; what gains less is not kept. "
        "The scores of a row are by a network that did not see its fold.",
        look="prose",
    )


def waves_table(items: Sequence[Record], limits: Limits) -> Table | None:
    """Return what was fitted to each column of dates; `None` where there is none."""
    if not items:
        return None
    body = []
    for item in items[: limits.rows]:
        found = item.get("periods")
        periods = [number(period, 4) for period in found] if isinstance(found, list) else []
        body.append(
            (
                shown(words(item, "column"), limits.text // 2),
                ", ".join(periods[:8]) or "none",
                _gain(item),
                "kept"
                if item.get("kept") is True
                else shown(f"not kept: {words(item, 'why')}", 120),
            )
        )
    return Table(
        "Dates by fitted waves.",
        (Column("column"), Column("periods, days"), Column("gain", "number"), Column("kept")),
        tuple(body),
        "Periods at which the classes go with the date, at a false alarm of 1 % for each column. "
        "The gain is in log loss over the waves of the calendar, with its standard error, on the "
        "folds of the scores; on each fold the periods are found again without it.",
        look="prose",
    )


def _gain(item: Record) -> str:
    gain, error = finite(item.get("gain")), finite(item.get("standard_error"))
    return "" if gain is None or error is None else f"{fixed(gain)} ± {fixed(error)}"
