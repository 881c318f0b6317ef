"""Two functions side by side: how a column is read, f(x), and what that says of the label, g(y).

Both are standardized, so their axes need no numbers: a line marks zero, the mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from unicodedata import east_asian_width

from markupsafe import Markup

from trivium.report.charts.svg import chart, element, percent_of
from trivium.report.numbers import number
from trivium.report.text import cut

__all__ = ["FunctionPair", "Side", "function_pair", "multiples"]

_TOP, _FLOOR, _HEIGHT, _LINE = 18.0, 96.0, 116.0, 14.0
_LEFT = (0.0, 0.55)
_RIGHT = (0.63, 0.37)
_PIXELS = 250.0  # narrowest chart of the page; labels that do not fit there are left out
_LETTER = 6.8
_MOST_LETTERS = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Place = float | str | None
Point = tuple[float, float]
_Down = Callable[[float], float]


@dataclass(frozen=True)
class Side:
    """One function: where it was evaluated and what it is there, at least at two places.

    Args:
        name: What is written above it.
        places: Numbers in rising order, or names of levels (`None` for missing).
        heights: The function's values, finite.
        levels: Whether the places are names of levels.
        dates: Whether they are days since 1970-01-01.
    """

    name: str
    places: Sequence[Place]
    heights: Sequence[float]
    levels: bool = False
    dates: bool = False


@dataclass(frozen=True)
class FunctionPair:
    """A column's leading pair of functions, with the words above it."""

    name: Markup
    hint: Markup
    title: str
    column: Side
    label: Side


def multiples(pairs: Sequence[FunctionPair]) -> Markup:
    """Return one small chart for each column, in as many columns as there is room for."""
    cells = [
        element(
            "div",
            element("p", element("b", pair.name), " ", pair.hint),
            function_pair(pair),
            class_="multiple",
        )
        for pair in pairs
    ]
    return element("div", *cells, class_="multiples")


def function_pair(pair: FunctionPair) -> Markup:
    """Return f(x) on the left and g(y) on the right, on one vertical axis each."""
    sides = ((pair.column, *_LEFT), (pair.label, *_RIGHT))
    marks = [mark for side in sides for mark in _panel(*side)]
    two_lines = any(_lines(side, width) > 1 for side, _, width in sides)
    spoken = f"{_spoken(pair.column)} {_spoken(pair.label)}"
    height = _HEIGHT + _LINE * two_lines
    return chart(*marks, title=pair.title, description=spoken, height=height, look="functions")


def _panel(side: Side, left: float, width: float) -> list[Markup]:
    low, high = min([*side.heights, 0.0]), max([*side.heights, 0.0])
    span = high - low if high > low else 1.0

    def down(height: float) -> float:
        return _FLOOR - (_FLOOR - _TOP) * (height - low) / span

    x1, x2 = percent_of(left), percent_of(left + width)
    zero = down(0.0)
    marks = [
        element("line", x1=x1, x2=x2, y1=zero, y2=zero, class_="reference"),
        element("text", side.name, x=x1, y=11, class_="axis"),
    ]
    if side.levels:
        return marks + _stems(side, left, width, zero, down)
    return [*marks, _curve(side, left, width, down), *_ends(side, left, width)]


def _stems(side: Side, left: float, width: float, zero: float, down: _Down) -> list[Markup]:
    """One stem with a dot for each level; names where they fit, else those of the extremes."""
    n = len(side.places)
    marks = []
    for index, height in enumerate(side.heights):
        x = percent_of(left + width * (index + 0.5) / n)
        y = down(height)
        marks.append(element("line", x1=x, x2=x, y1=zero, y2=y, class_="whisker"))
        marks.append(element("circle", cx=x, cy=y, r=3 if n > 12 else 4, class_="dot main"))
    names, lines = _names(side), _lines(side, width)
    chosen = list(range(n))
    if lines > 2:
        chosen = sorted(chosen, key=lambda index: side.heights[index])
        chosen = sorted([chosen[0], chosen[-1]])
    for turn, index in enumerate(chosen):
        drop = _LINE * (turn % min(lines, 2))
        marks.append(_label(names[index], left, width, (index + 0.5) / n, drop))
    return marks


def _names(side: Side) -> list[str]:
    return ["missing" if p is None else cut(p, _MOST_LETTERS)[0] for p in side.places]


def _letters(text: str) -> int:
    """Width of a text in letters; a Chinese character is as wide as two."""
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def _lines(side: Side, width: float) -> int:
    """How many lines its names take so that none touches the next: 1, 2, or 3 for too many."""
    if not side.levels:
        return 1
    room = _PIXELS * width / len(side.places) / _LETTER
    longest = max(map(_letters, _names(side)))
    return 1 if longest < room else 2 if longest < 2 * room else 3


def _label(text: str, left: float, width: float, part: float, drop: float) -> Markup:
    anchor, x = "middle", part
    half = _letters(text) * _LETTER / 2 / (_PIXELS * width)
    if part - half < 0:
        anchor, x = "start", 0.0
    elif part + half > 1:
        anchor, x = "end", 1.0
    return element(
        "text",
        text,
        x=percent_of(left + width * x),
        y=_HEIGHT - 5 + drop,
        class_="tick",
        text_anchor=anchor,
    )


def _curve(side: Side, left: float, width: float, down: _Down) -> Markup:
    """Return the curve, drawn in a box of 100 units across that is stretched to the panel."""
    points = _points(side)
    low, high = points[0][0], points[-1][0]
    span = high - low if high > low else 1.0
    path = " ".join(f"{100 * (x - low) / span:.1f},{down(y):.1f}" for x, y in points)
    return element(
        "svg",
        element("polyline", points=path, class_="curve", vector_effect="non-scaling-stroke"),
        x=percent_of(left),
        y=0,
        width=percent_of(width),
        height=_HEIGHT,
        viewBox=f"0 0 100 {_HEIGHT:g}",
        preserveAspectRatio="none",
        overflow="visible",
    )


def _points(side: Side) -> list[Point]:
    return [
        (float(x), y)
        for x, y in zip(side.places, side.heights, strict=True)
        if isinstance(x, int | float)
    ]


def _ends(side: Side, left: float, width: float) -> list[Markup]:
    """The first and the last place of a curve, in words."""
    points = _points(side)
    marks = []
    for (x, _), part, anchor in ((points[0], 0.0, "start"), (points[-1], 1.0, "end")):
        marks.append(
            element(
                "text",
                _written(x, side.dates),
                x=percent_of(left + width * part),
                y=_HEIGHT - 5,
                class_="tick",
                text_anchor=anchor,
            )
        )
    return marks


def _written(place: float, dates: bool) -> str:
    if dates:
        try:
            return (_EPOCH + timedelta(days=place)).strftime("%Y-%m-%d")
        except (OverflowError, ValueError):
            pass
    return number(place, 3)


def _spoken(side: Side) -> str:
    """Where the function is lowest and highest, for a screen reader."""
    least = min(range(len(side.heights)), key=lambda index: side.heights[index])
    most = max(range(len(side.heights)), key=lambda index: side.heights[index])
    return f"{side.name} is lowest at {_at(side, least)} and highest at {_at(side, most)}."


def _at(side: Side, index: int) -> str:
    place = side.places[index]
    return _names(side)[index] if side.levels else _written(float(place or 0), side.dates)
