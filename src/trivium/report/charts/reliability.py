"""A reliability diagram: do the stated probabilities come true?"""

import math
from collections.abc import Sequence

from markupsafe import Markup

from trivium.report.charts.svg import element

__all__ = ["reliability", "wilson"]

_LEFT, _TOP, _SIDE = 46.0, 10.0, 248.0
_WIDTH, _HEIGHT = 310.0, 304.0
_Z = 1.959963984540054


def wilson(observed: float, rows: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share observed in `rows` rows.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)

    Args:
        observed: The share, in [0, 1].
        rows: How many rows it was observed in; positive.

    Example:
        >>> tuple(round(end, 3) for end in wilson(0.5, 100))
        (0.404, 0.596)

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    squared = _Z * _Z
    center = observed + squared / (2 * rows)
    spread = observed * (1 - observed) / rows + squared / (4 * rows * rows)
    root = _Z * math.sqrt(max(spread, 0.0))
    scale = 1 + squared / rows
    return max((center - root) / scale, 0.0), min((center + root) / scale, 1.0)


def reliability(points: Sequence[tuple[float, float, float]], *, title: str) -> Markup:
    """Return observed against predicted shares, each with Wilson's interval.

    Args:
        points: `(predicted, observed, rows)`, shares in [0, 1]; the dot's area grows with rows.
        title: What is drawn.
    """
    marks = _frame()
    most = max([rows for _, _, rows in points] + [1.0])
    for predicted, observed, rows in points:
        x, y = _LEFT + _SIDE * predicted, _TOP + _SIDE * (1 - observed)
        if rows > 0:
            low, high = wilson(observed, rows)
            ends = _TOP + _SIDE * (1 - low), _TOP + _SIDE * (1 - high)
            marks.append(element("line", x1=x, x2=x, y1=ends[0], y2=ends[1], class_="whisker"))
        radius = 2.5 + 4 * math.sqrt(max(rows, 0.0) / most)
        marks.append(element("circle", cx=x, cy=y, r=radius, class_="dot main soft"))
    spoken = "; ".join(
        f"predicted {p:.2f}, observed {o:.2f} in {rows:g} rows" for p, o, rows in points
    )
    return element(
        "svg",
        element("title", title),
        element("desc", spoken),
        *marks,
        class_="chart square",
        role="img",
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        width=_WIDTH,
        height=_HEIGHT,
    )


def _frame() -> list[Markup]:
    right, floor = _LEFT + _SIDE, _TOP + _SIDE
    marks = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _LEFT + _SIDE * tick, _TOP + _SIDE * (1 - tick)
        marks.append(element("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="grid"))
        marks.append(element("line", x1=x, x2=x, y1=_TOP, y2=floor, class_="grid"))
        label = f"{100 * tick:g}"
        marks.append(element("text", label, x=_LEFT - 8, y=y + 4, class_="tick", text_anchor="end"))
        marks.append(element("text", label, x=x, y=floor + 17, class_="tick", text_anchor="middle"))
    marks.append(element("line", x1=_LEFT, x2=right, y1=floor, y2=_TOP, class_="reference dashed"))
    middle_x, middle_y = _LEFT + _SIDE / 2, _TOP + _SIDE / 2
    marks.append(
        element(
            "text",
            "predicted probability, %",
            x=middle_x,
            y=_HEIGHT - 6,
            class_="axis",
            text_anchor="middle",
        )
    )
    marks.append(
        element(
            "text",
            "observed share, %",
            x=0,
            y=0,
            class_="axis",
            text_anchor="middle",
            transform=f"translate(12 {middle_y:g}) rotate(-90)",
        )
    )
    return marks
