"""A line with its band: how a quantity moves with a count."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from trivium.report.charts.scale import Scale
from trivium.report.charts.svg import chart, element, percent_of

__all__ = ["band_line"]

_LEFT, _RIGHT = 0.105, 0.975
_TOP, _FLOOR, _HEIGHT = 12.0, 188.0, 228.0

Point = tuple[float, float, float | None, float | None]


def _across(scale: Scale, x: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * scale.place(x)


def _down(scale: Scale, y: float) -> float:
    return _FLOOR - (_FLOOR - _TOP) * scale.place(y)


def band_line(
    points: Sequence[Point],
    *,
    title: str,
    across: str,
    write: Callable[[float], str],
) -> Markup:
    """Return the line through `(x, y, low, high)` with the band from `low` to `high`.

    Args:
        points: In order of `x`, all finite but for ends of the band that are unknown.
        title: What is drawn.
        across: The name of the horizontal axis.
        write: How a tick of the vertical axis is written.
    """
    horizontal = Scale.around([p[0] for p in points], include=[0.0])
    vertical = Scale.around([v for p in points for v in p[1:]], include=[0.0], n_ticks=4)
    marks = _axes(horizontal, vertical, across, write)
    marks.append(_curves(points, horizontal, vertical))
    marks += [
        element(
            "circle",
            cx=percent_of(_across(horizontal, x)),
            cy=_down(vertical, y),
            r=3.5,
            class_="dot main",
        )
        for x, y, _, _ in points
    ]
    spoken = "; ".join(f"at {x:g}: {write(y)}" for x, y, _, _ in points)
    return chart(*marks, title=title, description=spoken, height=_HEIGHT, look="line")


def _axes(
    horizontal: Scale, vertical: Scale, across: str, write: Callable[[float], str]
) -> list[Markup]:
    left, right = percent_of(_LEFT), percent_of(_RIGHT)
    marks = []
    for tick in vertical.ticks:
        y = _down(vertical, tick)
        look = "reference" if tick == 0 else "grid"
        marks.append(element("line", x1=left, x2=right, y1=y, y2=y, class_=look))
        x = percent_of(_LEFT - 0.012)
        marks.append(element("text", write(tick), x=x, y=y + 4, class_="tick", text_anchor="end"))
    for tick in horizontal.ticks:
        x = percent_of(_across(horizontal, tick))
        marks.append(
            element("text", f"{tick:g}", x=x, y=_FLOOR + 18, class_="tick", text_anchor="middle")
        )
    middle = percent_of((_LEFT + _RIGHT) / 2)
    marks.append(
        element("text", across, x=middle, y=_HEIGHT - 4, class_="axis", text_anchor="middle")
    )
    return marks


def _curves(points: Sequence[Point], horizontal: Scale, vertical: Scale) -> Markup:
    """Return band and line, drawn in a box of 100 × 100 that is stretched to the plot."""

    def at(x: float, y: float) -> str:
        return f"{100 * horizontal.place(x):.3f},{100 - 100 * vertical.place(y):.3f}"

    marks = []
    band = [(x, low, high) for x, _, low, high in points if low is not None and high is not None]
    if len(band) > 1:
        upper = [at(x, high) for x, _, high in band]
        lower = [at(x, low) for x, low, _ in reversed(band)]
        marks.append(element("polygon", points=" ".join(upper + lower), class_="band"))
    if len(points) > 1:
        path = " ".join(at(x, y) for x, y, _, _ in points)
        marks.append(
            element("polyline", points=path, class_="curve", vector_effect="non-scaling-stroke")
        )
    return element(
        "svg",
        *marks,
        x=percent_of(_LEFT),
        y=_TOP,
        width=percent_of(_RIGHT - _LEFT),
        height=_FLOOR - _TOP,
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        overflow="visible",
    )
