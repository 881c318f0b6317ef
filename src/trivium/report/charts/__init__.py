"""Small hand-made SVG charts: no script, no style attribute, readable by a screen reader."""

from trivium.report.charts.cells import bar, diverging, ruler, step, whisker
from trivium.report.charts.functions import FunctionPair, Side, multiples
from trivium.report.charts.heat import shade
from trivium.report.charts.histogram import histogram
from trivium.report.charts.line import band_line
from trivium.report.charts.reliability import reliability
from trivium.report.charts.scale import Scale

__all__ = [
    "FunctionPair",
    "Scale",
    "Side",
    "band_line",
    "bar",
    "diverging",
    "histogram",
    "multiples",
    "reliability",
    "ruler",
    "shade",
    "step",
    "whisker",
]
