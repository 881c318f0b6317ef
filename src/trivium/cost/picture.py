"""The picture: shares over n, the crossings, and the lengths of the user's rows."""

from typing import Any

from trivium.cost.component import GROUPS
from trivium.cost.report import CostReport

__all__ = ["draw"]

_POINTS = 60
_COLORS = {
    "embedding": "#c9c9c9",
    "projections": "#2b6cb0",
    "quadratic": "#c05621",
    "state": "#dd9b55",
    "ffn": "#2f855a",
    "router": "#9ae6b4",
    "norm": "#e2e2e2",
    "pooler": "#b794f4",
    "head": "#805ad5",
}
_INK = "#555555"


def draw(report: CostReport) -> Any:
    """Draw the stacked shares of the groups over n with the crossings and the rows below.

    Args:
        report: What to draw; of a shape that takes rows of any length.

    Returns:
        The axes of the shares.

    Raises:
        ArgumentError: The model fixes the length of its rows.
        MissingExtraError: matplotlib is not installed.
    """
    from trivium._core.checks import require
    from trivium._core.errors import ArgumentError

    if report.shape.tokens is not None:
        raise ArgumentError(
            f"draw: report must be of a shape with rows of any length; "
            f"{report.shape.name} has {report.shape.tokens} patches"
        )
    pyplot = require("matplotlib.pyplot", "plot", "trivium.cost")
    _, (above, below) = pyplot.subplots(
        2, 1, figsize=(8.0, 5.6), sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    lengths = _grid(report)
    _draw_shares(above, report, lengths)
    _draw_rows(below, report)
    above.set_xscale("log", base=2)
    below.xaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")
    above.set_xlim(lengths[0], lengths[-1])
    return above


def _grid(report: CostReport) -> list[int]:
    """Lengths evenly apart on a logarithmic axis, around all that is to be seen."""
    marks = [float(p.high) for found in report.crossovers for p in found.crossings[:1]]
    far = max([*report.rows.rows, *(mark for mark in marks if mark < 2**17), 512])
    low, high = max(1, min(report.rows.rows) // 2), 2 * int(far)
    ratio = (high / low) ** (1 / _POINTS)
    return sorted({round(low * ratio**i) for i in range(_POINTS + 1)})


def _draw_shares(axes: Any, report: CostReport, lengths: list[int]) -> None:
    first = report.tables[0]
    work = first.work
    decode = work.mode == "decode"
    tables = [
        report.shape.table(
            1 if decode else n,
            work.batch,
            work.mode,
            n if decode else None,
            work.count,
            first.design,
        )
        for n in lengths
    ]
    names = [name for name in GROUPS if any(table.total("flops", name) for table in tables)]
    shares = [[float(table.share(name)) for table in tables] for name in names]
    colors = [_COLORS[name] for name in names]
    axes.stackplot(lengths, shares, labels=names, colors=colors, linewidth=0)
    for found in report.crossovers:
        for point in found.crossings[:1]:
            place = float(point.low + point.high) / 2
            if lengths[0] < place < lengths[-1]:
                axes.axvline(place, color="white", linewidth=1.2, linestyle="--")
                text = f"{found.a} = {found.b}: {point}"
                axes.annotate(
                    text,
                    (place, 0.02),
                    rotation=90,
                    fontsize="x-small",
                    color="white",
                    ha="right",
                    va="bottom",
                )
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of FLOPs")
    axes.set_title(f"{report.shape.name}, {work.mode}, {first.design}", fontsize="small")
    axes.legend(loc="upper left", fontsize="x-small", frameon=True)


def _draw_rows(axes: Any, report: CostReport) -> None:
    """Draw the tokens that sit in rows of each length."""
    rows = report.rows.rows
    low, high = min(rows), max(rows)
    bins = 24
    ratio = (high + 1) / low
    edges = [low * ratio ** (i / bins) for i in range(bins + 1)]
    axes.hist(rows, bins=edges, weights=list(rows), color=_INK)
    axes.set_xlabel("context" if report.tables[0].work.mode == "decode" else "tokens of a row, n")
    axes.set_ylabel("tokens")
    axes.spines[["top", "right"]].set_visible(False)
