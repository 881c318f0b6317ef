"""What matters in the texts: which words, in which order, how far apart."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Column, Table
from trivium.report.fields import Limits, records, words
from trivium.report.numbers import p_value
from trivium.report.text import shown

__all__ = ["text_table"]

Record = Mapping[str, Any]
_QUESTIONS = {
    "presence": "which words are there",
    "order": "order, beyond which words",
    "distance": "distance, beyond order",
}


def text_table(rows: Sequence[Record], limits: Limits) -> Table | None:
    """Return the three nested tests of every text column, `None` where there is no text."""
    body = []
    methods = []
    for row in rows[: limits.rows]:
        for item in records(row, "aspects"):
            aspect, evidence = words(item, "aspect"), words(item, "evidence")
            if method := words(item, "method"):
                methods.append((aspect, method))
            body.append(
                (
                    shown(words(row, "column"), limits.text // 2),
                    _QUESTIONS.get(aspect) or shown(aspect, 40),
                    p_value(item.get("p_value")),
                    p_value(item.get("q_value")),
                    shown(evidence, 2 * limits.text) if evidence else "",
                )
            )
    if not body:
        return None
    return Table(
        "What matters in the texts.",
        (
            Column("column"),
            Column("does it matter:"),
            Column("p", "number"),
            Column("q", "number"),
            Column("strongest"),
        ),
        tuple(body),
        _caption(methods),
        look="prose",
    )


def _caption(methods: Sequence[tuple[str, str]]) -> Markup:
    """Say what each test permutes; one sentence for each aspect."""
    text = Markup(
        "Each question beyond the one before: order is tested among texts that have the same "
        "words, distance among texts with the same order. q holds the share of false findings "
        "within each question, over the text columns."
    )
    for aspect, method in dict(reversed(methods)).items():
        text += Markup(" {}: {}.").format(
            aspect.capitalize() if aspect in _QUESTIONS else shown(aspect, 20),
            shown(method.rstrip("."), 240),
        )
    return text
