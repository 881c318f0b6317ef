"""Texts that were read in order: what was tried, against hashed n-grams, and what was kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.report.blocks import Column, Table
from trivium.report.fields import Limits, records, words
from trivium.report.numbers import finite, fixed
from trivium.report.text import shown

__all__ = ["in_order_table"]

Record = Mapping[str, Any]


def in_order_table(items: Sequence[Record], limits: Limits) -> Table | None:
    """Return what was tried for each text whose order matters; `None` where there is none."""
    if not items:
        return None
    body = []
    for item in items[: limits.rows]:
        tried = ", ".join(shown(words(one, "encoding"), 40) for one in records(item, "tried"))
        gain, error = finite(item.get("gain")), finite(item.get("standard_error"))
        known = gain is not None and error is not None
        body.append(
            (
                shown(words(item, "column"), limits.text // 2),
                shown(words(item, "evidence"), 40),
                tried or "nothing",
                f"{fixed(gain)} ± {fixed(error)}" if known else "",
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
