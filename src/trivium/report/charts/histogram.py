"""A small histogram over a fixed range."""

from collections.abc import Sequence

from markupsafe import Markup

from trivium.report.charts.svg import chart, element, percent_of

__all__ = ["histogram"]

_TOP, _FLOOR, _HEIGHT = 16.0, 96.0, 118.0


def histogram(
    values: Sequence[float],
    *,
    title: str,
    low: float = 0.0,
    high: float = 1.0,
    n_bins: int = 10,
    even: bool = False,
) -> Markup:
    """Return bars of how many `values` fall into each of `n_bins` equal bins.

    Args:
        values: Finite numbers; those outside the range go to the end bins.
        title: What is counted.
        low: Left end.
        high: Right end.
        n_bins: How many bins.
        even: Whether to mark the height at which all bins would be equal.
    """
    counts = [0] * n_bins
    for value in values:
        index = int((value - low) / (high - low) * n_bins)
        counts[min(max(index, 0), n_bins - 1)] += 1
    most = max([*counts, 1])
    unit = (_FLOOR - _TOP) / most
    marks = []
    for index, n in enumerate(counts):
        left, width = index / n_bins, 1 / n_bins
        marks.append(
            element(
                "rect",
                x=percent_of(left + 0.06 * width),
                y=_FLOOR - unit * n,
                width=percent_of(0.88 * width),
                height=unit * n,
                class_="bar",
            )
        )
        if n:
            marks.append(_label(f"{n:,}", left + width / 2, _FLOOR - unit * n - 4))
    if even and values:
        y = _FLOOR - unit * len(values) / n_bins
        marks.append(element("line", x1="0%", x2="100%", y1=y, y2=y, class_="reference dashed"))
    marks.append(element("line", x1="0%", x2="100%", y1=_FLOOR, y2=_FLOOR, class_="floor"))
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        marks.append(_label(f"{low + part * (high - low):g}", part, _HEIGHT - 6, anchor))
    step = (high - low) / n_bins
    spoken = ", ".join(
        f"{low + index * step:g} to {low + (index + 1) * step:g}: {n}"
        for index, n in enumerate(counts)
    )
    return chart(*marks, title=title, description=spoken, height=_HEIGHT, look="histogram")


def _label(words: str, place: float, y: float, anchor: str = "middle") -> Markup:
    return element("text", words, x=percent_of(place), y=y, class_="tick", text_anchor=anchor)
