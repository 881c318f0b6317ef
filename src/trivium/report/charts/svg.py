"""Writing SVG: every name ours, every value escaped, every number finite and short.

Horizontal places are percentages of the chart's width, so a chart fills a phone or a page
without scaling its text.
"""

import math

from markupsafe import Markup, escape

__all__ = ["chart", "element", "percent_of"]

Value = str | float | int | None


def _written(value: Value) -> str:
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(value):
        return "0"
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def element(name: str, *children: str | Markup, **attributes: Value) -> Markup:
    """Return one element; a trailing underscore and inner ones in names become nothing and `-`.

    Args:
        name: The element's name.
        children: Text, escaped, or markup.
        attributes: Strings are escaped, numbers rounded to two decimals.

    Example:
        >>> element("text", "<", x="10%", class_="tick")
        Markup('<text x="10%" class="tick">&lt;</text>')
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_written(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(escape(child) for child in children)
    if not inner and name not in ("svg", "text", "title", "desc"):
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{inner}</{name}>")


def chart(*children: Markup, title: str, description: str, height: float, look: str = "") -> Markup:
    """Return a whole chart with the words that a screen reader says.

    Args:
        children: The marks.
        title: What is drawn.
        description: What one sees in it, in numbers.
        height: In pixels; the width is the page's.
        look: A class of the style sheet.
    """
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        class_=f"chart {look}".strip(),
        role="img",
        width="100%",
        height=height,
    )


def percent_of(position: float) -> str:
    """Write a place in [0, 1] as a percentage of the width."""
    return f"{_written(100 * min(max(position, 0.0), 1.0))}%"
