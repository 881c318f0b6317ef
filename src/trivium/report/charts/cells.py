"""Charts that are one cell of a table: bar with null band, dot with whiskers, signed bar.

The number stands in the next cell, so these are hidden from screen readers.
"""

from collections.abc import Callable

from markupsafe import Markup

from trivium.report.charts.scale import Scale
from trivium.report.charts.svg import element, percent_of

__all__ = ["bar", "diverging", "ruler", "step", "whisker"]

_HEIGHT = 22
_MIDDLE = _HEIGHT / 2


def _cell(*children: Markup) -> Markup:
    return element(
        "svg", *children, class_="cell", width="100%", height=_HEIGHT, aria_hidden="true"
    )


def _grid(scale: Scale) -> list[Markup]:
    lines = []
    for tick in scale.ticks:
        x = percent_of(scale.place(tick))
        lines.append(element("line", x1=x, x2=x, y1=0, y2="100%", class_="grid"))
    return lines


def bar(value: float | None, limit: float, band: float | None = None) -> Markup:
    """Return a bar from 0, over the band that chance alone would reach.

    Args:
        value: Its length; a bar inside the band is drawn hollow.
        limit: The length of a full cell.
        band: Upper end of the null band.
    """
    marks = []
    if band is not None and band > 0:
        width = percent_of(band / limit)
        marks.append(element("rect", x=0, y=1, width=width, height=_HEIGHT - 2, class_="null"))
        marks.append(element("line", x1=width, x2=width, y1=1, y2=_HEIGHT - 1, class_="null-edge"))
    if value is not None:
        look = "bar weak" if band is not None and value <= band else "bar"
        width = percent_of(max(value, 0.0) / limit)
        marks.append(element("rect", x=0, y=6, width=width, height=10, rx=1, class_=look))
    return _cell(*marks)


def whisker(
    scale: Scale,
    mean: float | None,
    low: float | None,
    high: float | None,
    *,
    main: bool = False,
    reference: float | None = None,
) -> Markup:
    """Return a dot with its interval on the axis of the column.

    Args:
        scale: The axis.
        mean: The dot.
        low: Lower end of the interval.
        high: Upper end.
        main: Whether it is the one to look at: filled rather than hollow.
        reference: A place marked by a vertical line, for example no difference.
    """
    marks = _grid(scale)
    if reference is not None:
        x = percent_of(scale.place(reference))
        marks.append(element("line", x1=x, x2=x, y1=0, y2="100%", class_="reference"))
    if mean is not None and not scale.low <= mean <= scale.high:
        marks.append(_beyond(mean < scale.low))
        return _cell(*marks)
    if low is not None and high is not None:
        x1, x2 = percent_of(scale.place(low)), percent_of(scale.place(high))
        marks.append(element("line", x1=x1, x2=x2, y1=_MIDDLE, y2=_MIDDLE, class_="whisker"))
        for x in (x1, x2):
            marks.append(
                element("line", x1=x, x2=x, y1=_MIDDLE - 4, y2=_MIDDLE + 4, class_="whisker")
            )
    if mean is not None:
        look = "dot main" if main else "dot"
        marks.append(
            element("circle", cx=percent_of(scale.place(mean)), cy=_MIDDLE, r=4.5, class_=look)
        )
    return _cell(*marks)


def _beyond(left: bool) -> Markup:
    """Return the arrow of a dot that lies off the axis."""
    return element(
        "text",
        "\u25c2" if left else "\u25b8",
        x="0%" if left else "100%",
        y=_MIDDLE + 5,
        class_="arrow",
        text_anchor="start" if left else "end",
    )


def ruler(scale: Scale, write: Callable[[float], str]) -> Markup:
    """Return the axis that stands in the heading of a column of whiskers.

    Args:
        scale: The axis.
        write: How a tick is written.
    """
    ticks = scale.ticks if len(scale.ticks) <= 5 else scale.ticks[:: (len(scale.ticks) + 3) // 4]
    marks = [
        element(
            "text",
            write(tick),
            x=percent_of(scale.place(tick)),
            y=11,
            class_="tick",
            text_anchor="middle",
        )
        for tick in ticks
    ]
    return element("svg", *marks, class_="cell", width="100%", height=14, aria_hidden="true")


def step(scale: Scale, start: float | None, end: float | None) -> Markup:
    """Return one step of a waterfall: a bar from where the last one ended.

    Args:
        scale: The axis, with 0 on it.
        start: Where the step begins.
        end: Where it ends; a step to the left is drawn as opposition.
    """
    zero = percent_of(scale.place(0.0))
    marks = [element("line", x1=zero, x2=zero, y1=0, y2="100%", class_="reference")]
    if start is not None and end is not None:
        left, right = sorted((scale.place(start), scale.place(end)))
        marks.append(
            element(
                "rect",
                x=percent_of(left),
                y=6,
                width=percent_of(right - left),
                height=10,
                rx=1.5,
                class_="bar" if end >= start else "bar against",
            )
        )
    return _cell(*marks)


def diverging(value: float | None, limit: float) -> Markup:
    """Return a bar to the right of the middle for support, to the left for opposition.

    Args:
        value: Its signed length.
        limit: The length of half a cell.
    """
    marks = [element("line", x1="50%", x2="50%", y1=0, y2="100%", class_="reference")]
    if value is not None and limit > 0:
        half = min(abs(value) / limit, 1.0) / 2
        start = 0.5 if value >= 0 else 0.5 - half
        marks.append(
            element(
                "rect",
                x=percent_of(start),
                y=6,
                width=percent_of(half),
                height=10,
                rx=1.5,
                class_="bar" if value >= 0 else "bar against",
            )
        )
    return _cell(*marks)
