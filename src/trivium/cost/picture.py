"""The picture: shares, time or FLOPs, memory and the user's rows over one axis of lengths."""

from collections.abc import Iterable
from math import floor, log
from typing import Any

from trivium._core.errors import ArgumentError
from trivium.cost.component import GROUPS
from trivium.cost.cost_model import CostModel
from trivium.cost.design import Design
from trivium.cost.marks import INK, Mark, draw_marks, marks_of
from trivium.cost.measure import Clock
from trivium.cost.report import CostReport
from trivium.cost.table import CostTable

__all__ = ["draw"]

_POINTS = 60
_GROUPS = {
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
# Told apart without red and green; the style of the line says it again.
_DESIGNS = ("#1a1a1a", "#c05621", "#2b6cb0", "#805ad5", "#2f855a", "#b7791f")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_BESIDE: dict[str, Any] = {
    "loc": "upper left",
    "bbox_to_anchor": (1.01, 1.02),
    "borderaxespad": 0.0,
    "fontsize": "small",
    "frameon": False,
}


def draw(report: CostReport, clock: Clock | None = None) -> Any:
    """Draw what a shape costs over n: shares, time with its band, memory, and the rows below.

    Letters mark the crossings: a dashed line in FLOPs, a dot in its interval in seconds. A cache
    is the thin line below the memory of its design.

    Args:
        report: What to draw; of a shape that takes rows of any length.
        clock: What tells the time, by default the machine of the report; without either the
            second panel has FLOPs, and its axis says so. A design that it cannot tell the time of
            is named as not calibrated.

    Returns:
        The four axes from above to below, in an array.

    Raises:
        ArgumentError: The model fixes the length of its rows, or the clock cannot tell the time of
            the model's own attention.
        MissingExtraError: matplotlib is not installed.

    Cost:
        A table and a peak for each design and about sixty lengths.
    """
    from trivium._core.checks import require

    if report.shape.tokens is not None:
        raise ArgumentError(
            f"draw: report must be of a shape with rows of any length; "
            f"{report.shape.name} has {report.shape.tokens} patches"
        )
    pyplot = require("matplotlib.pyplot", "plot", "trivium.cost")
    if clock is None and report.timed is not None:
        clock = CostModel(report.shape, report.timed.machine)
    untold = _untold(report, clock)
    marks = marks_of(report, clock, untold)
    lengths = _grid(report, marks)
    figure, panels = pyplot.subplots(
        4, 1, figsize=(10.5, 10.0), sharex=True, height_ratios=[3, 3, 2.4, 1], layout="constrained"
    )
    axes = dict(zip(("shares", "time", "memory", "rows"), panels, strict=True))
    axes["shares"].set_xscale("log", base=2)
    axes["shares"].set_xlim(lengths[0], lengths[-1])
    tables = {design: [_table(report, design, n) for n in lengths] for design in report.designs}
    _draw_shares(axes["shares"], lengths, tables[report.designs[0]])
    _draw_costs(axes["time"], lengths, tables, clock, untold)
    _draw_memory(axes["memory"], report, lengths, tables)
    _draw_rows(axes["rows"], report)
    cached = any(table.total("cache") for own in tables.values() for table in own)
    draw_marks(axes, marks, below=0.2 if cached else 0.0)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    work = report.tables[0].work
    rows = "1 row" if work.batch == 1 else f"{work.batch:,} rows"
    figure.suptitle(f"{report.shape.name}: {work.mode}, {rows} at a time", fontsize="medium")
    return panels


def _untold(report: CostReport, clock: Clock | None) -> set[str]:
    """The designs whose time the clock cannot tell; it must tell that of the model's own.

    Raises:
        ArgumentError: It cannot.
    """
    own, *others = report.designs
    found: set[str] = set()
    if clock is not None:
        clock.seconds(_table(report, own, _length(report.tables[0])))
        for design in others:
            try:
                clock.seconds(_table(report, design, _length(report.tables[0])))
            except ArgumentError:
                found.add(str(design))
    return found


def _grid(report: CostReport, marks: Iterable[Mark]) -> list[int]:
    """Lengths evenly apart on a logarithmic axis, around all that is to be seen."""
    points = [point for mark in marks for point in (mark.flops, mark.time) if point is not None]
    places = [float(p.high if p.estimate is None else p.estimate) for p in points]
    asked = [_length(table) for table in report.tables]
    far = max([*report.rows.rows, *asked, *(place for place in places if place < 2**17), 512])
    low, high = max(1, min([*report.rows.rows, *asked, 64]) // 2), 2 * int(far)
    ratio = (high / low) ** (1 / _POINTS)
    return sorted({max(1, round(low * ratio**i)) for i in range(_POINTS + 1)})


def _length(table: CostTable) -> int:
    return table.work.past if table.work.mode == "decode" else table.work.n


def _table(report: CostReport, design: Design, n: int) -> CostTable:
    work = report.tables[0].work
    decode = work.mode == "decode"
    tokens, context = (1, n) if decode else (n, None)
    return report.shape.table(
        tokens, work.batch, work.mode, context, work.count, design, itemsize=work.itemsize
    )


def _draw_shares(axes: Any, lengths: list[int], tables: list[CostTable]) -> None:
    names = [name for name in GROUPS if any(table.total("flops", name) for table in tables)]
    shares = [[float(table.share(name)) for table in tables] for name in names]
    colors = [_GROUPS[name] for name in names]
    axes.stackplot(lengths, shares, labels=names, colors=colors, linewidth=0)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(lambda value, place: f"{100 * value:.0f} %")
    axes.set_ylabel("share of FLOPs")
    handles, labels = axes.get_legend_handles_labels()
    # From above to below, as the parts are stacked.
    own = axes.legend(handles[::-1], labels[::-1], title=f"{tables[0].design}", **_BESIDE)
    own.get_title().set_fontsize("small")
    own.set_alignment("left")


def _draw_costs(
    axes: Any,
    lengths: list[int],
    tables: dict[Design, list[CostTable]],
    clock: Clock | None,
    untold: set[str],
) -> None:
    """Draw seconds a token with their band, or without a clock FLOPs."""
    ends: list[float] = []
    for i, (design, own) in enumerate(tables.items()):
        color, style = _DESIGNS[i % len(_DESIGNS)], _STYLES[i % len(_STYLES)]
        if str(design) in untold:
            axes.plot([], [], color=color, linestyle=style, label=f"{design}: not calibrated")
            continue
        tokens = [table.work.n * table.work.batch for table in own]
        told = [clock.seconds(t) if clock else (t.flops,) * 3 for t in own]
        low, middle, high = (
            [value / count for value, count in zip(side, tokens, strict=True)]
            for side in zip(*told, strict=True)
        )
        if clock is not None:
            axes.fill_between(lengths, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(lengths, middle, color=color, linestyle=style, label=str(design))
        ends += [min(low), max(high)]
    _scaled(axes, ends, "" if clock is None else "s")
    axes.set_ylabel("FLOPs a token (no clock given)" if clock is None else "seconds a token")
    axes.legend(**_BESIDE)


def _draw_memory(
    axes: Any, report: CostReport, lengths: list[int], tables: dict[Design, list[CostTable]]
) -> None:
    """Draw the most bytes alive at once, and the cache where there is one."""
    ends: list[float] = []
    cached = False
    for i, own in enumerate(tables.values()):
        color, style = _DESIGNS[i % len(_DESIGNS)], _STYLES[i % len(_STYLES)]
        peaks = [float(_peak(report, table)) for table in own]
        axes.plot(lengths, peaks, color=color, linestyle=style)
        cache = [table.total("cache") for table in own]
        ends += [min(peaks), max(peaks)]
        if any(cache):
            label = None if cached else "cache alone"
            axes.plot(lengths, cache, color=color, linestyle=style, linewidth=0.7, label=label)
            ends.append(float(min(cache)))
            cached = True
    _scaled(axes, ends, "B")
    axes.set_ylabel("peak memory")
    if cached:
        axes.legend(**_BESIDE)


def _scaled(axes: Any, ends: list[float], unit: str) -> None:
    """Scale an axis by the range of its values, and write units at its ticks."""
    if max(ends) > 10 * min(ends):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(lambda value, place: "")
    else:
        axes.set_ylim(0, 1.05 * max(ends))
    axes.yaxis.set_major_formatter(lambda value, place: _with_unit(value, unit))


def _peak(report: CostReport, table: CostTable) -> int:
    work = table.work
    given = (work.n, work.batch, work.mode, work.context, table.design)
    return report.shape.peak(*given, itemsize=work.itemsize).total


def _with_unit(value: float, unit: str) -> str:
    """Return a number with a unit: 2 ms, 10 GB."""
    if value <= 0:
        return "0"
    place = min(max(floor(log(value, 1000) + 1e-9), -3), 8)
    name = ("n", "µ", "m", "", "k", "M", "G", "T", "P", "E", "Z", "Y")[place + 3]
    return f"{value / 1000.0**place:g} {name}{unit}".rstrip()


def _draw_rows(axes: Any, report: CostReport) -> None:
    """Draw the tokens that sit in rows of each length."""
    rows = report.rows.rows
    low, high = min(rows), max(rows)
    bins = 24
    ratio = (high + 1) / low
    edges = [low * ratio ** (i / bins) for i in range(bins + 1)]
    axes.hist(rows, bins=edges, weights=list(rows), color=INK)
    decode = report.tables[0].work.mode == "decode"
    axes.set_xlabel("tokens in the cache" if decode else "tokens of a row, n")
    axes.set_ylabel("tokens")
    axes.yaxis.set_major_locator(_few())
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=3, integer=True)
