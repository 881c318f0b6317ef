"""How the strongest columns act on the label: the leading functions of each, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from trivium.report.blocks import Figure
from trivium.report.charts import FunctionPair, Side, multiples
from trivium.report.fields import Limits, listed, record, words
from trivium.report.numbers import finite, fixed
from trivium.report.text import cut, shown

__all__ = ["shape_figure"]

Record = Mapping[str, Any]
_MOST = 6
_MOST_POINTS = 80

_WORDS = {
    "rising": "rises",
    "falling": "falls",
    "U": "high at both ends",
    "peak": "high in the middle",
    "wave": "goes up and down",
    "spread": "the spread changes",
    "levels": "differs by level",
}


def _shape_words(row: Record) -> str:
    """Return the hint on the shape of a dependence as the page says it."""
    hint = words(row, "shape")
    return _WORDS.get(hint, hint)


def shape_figure(rows: Sequence[Record], limits: Limits) -> Figure | None:
    """Return the leading functions of the strongest columns, `None` where none has any.

    Args:
        rows: The entries of `depend` that were found, the strongest first.
        limits: How much of a text is shown.
    """
    drawn = [pair for row in rows if (pair := _pair(row, limits)) is not None][:_MOST]
    if not drawn:
        return None
    return Figure(
        "How they act: the leading functions of the strongest columns.",
        multiples(drawn),
        "Left: what the column is turned into so that it goes with the label as closely as a "
        "smooth rule can; right: what it goes with there. Rows high on the left tend to be high "
        "on the right, and r is their correlation on these very rows, so it flatters. "
        "The line is the mean.",
        look="wide",
    )


def _pair(row: Record, limits: Limits) -> FunctionPair | None:
    functions = record(row, "functions")
    name = words(row, "column")
    dates = words(row, "kind") in ("date", "datetime")
    column = _side(functions, "x", "f", "f(column)", dates=dates)
    label = _side(functions, "y", "g", "g(label)")
    if column is None or label is None:
        return None
    hint = _shape_words(row)
    correlation = finite(functions.get("correlation"))
    said = [hint] if hint else []
    said += [f"r = {fixed(correlation, 2)}"] if correlation is not None else []
    return FunctionPair(
        shown(name, limits.text // 2, counted=False),
        Markup('<span class="quiet">{}</span>').format(", ".join(said)),
        f"Leading functions of {cut(name, 40)[0]} and the label",
        column,
        label,
    )


def _side(
    functions: Record, places: str, heights: str, name: str, *, dates: bool = False
) -> Side | None:
    """One function with what can be drawn of it; `None` where that is no function."""
    at, values = listed(functions, places), listed(functions, heights)
    named = any(isinstance(place, str) for place in at)
    points: list[tuple[float | str | None, float]] = []
    for place, value in zip(at, values, strict=False):
        height = finite(value)
        known = str(place) if isinstance(place, str) else finite(place)
        if height is not None and (named or known is not None):
            points.append((known, height))
    if not 2 <= len(points) <= _MOST_POINTS:
        return None
    return Side(name, tuple(p for p, _ in points), tuple(h for _, h in points), named, dates)
