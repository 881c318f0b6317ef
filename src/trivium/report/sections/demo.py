"""The demonstration graded against the truth that was planted in its table."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Column, Section, Table
from trivium.report.fields import Limits, record, records, words
from trivium.report.numbers import count
from trivium.report.text import shown

__all__ = ["demo_section"]

_MARKS = {"found": "\u2713 found", "missed": "\u2717 missed"}


def demo_section(report: Mapping[str, Any], limits: Limits) -> Section | None:
    """Return the grades of a demonstration, `None` for a real table."""
    truth = records(record(report, "demo"), "truth")[: limits.rows]
    if not truth:
        return None
    grades = [words(item, "grade") for item in truth]
    body = tuple(
        (
            shown(item.get("what"), 120),
            shown(item.get("planted"), 300),
            shown(item.get("found"), 300),
            Markup('<span class="grade {}">{}</span>').format(
                words(item, "grade") if words(item, "grade") in _MARKS else "",
                _MARKS.get(words(item, "grade")) or shown(item.get("grade"), 40),
            ),
        )
        for item in truth
    )
    table = Table(
        "What was planted in the generated table, and what this run found.",
        (Column("effect"), Column("planted"), Column("found"), Column("grade")),
        body,
        look="prose",
    )
    answer = f"{count(grades.count('found'))} of {count(len(grades))} found"
    return Section("demo", "Was the planted truth found?", answer, (table,))
