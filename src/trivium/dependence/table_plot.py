"""The figure of a screen: bars over the band of chance, and how the strongest columns act."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trivium._core.checks import require
from trivium._core.counted import counted

if TYPE_CHECKING:
    from trivium.dependence.table_result import DependenceRow, DependenceTable

__all__ = ["draw_bars", "draw_table"]

_MOST_BARS = 40
_MOST_FUNCTIONS = 6
_ACROSS = 3
_NAME = 24
_LEVEL = 12
_EPOCH = np.datetime64("1970-01-01", "D")
_FOUND, _LEFT, _CHANCE, _INK = "#2b6cb0", "#ffffff", "#e2e2e2", "#555555"


def draw_table(table: "DependenceTable") -> Any:
    """Draw the bars and below them the leading functions of up to 6 columns; return the bars' axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    pyplot = require("matplotlib.pyplot", "plot", "DependenceTable.plot")
    shown = [row for row in table.ranked() if row.functions and row.q_value <= table.fdr]
    shown = shown[:_MOST_FUNCTIONS]
    lines = -(-len(shown) // _ACROSS)
    tall = 1.1 + 0.27 * min(len(table.rows), _MOST_BARS)
    figure = pyplot.figure(figsize=(9.0, tall + 1.9 * lines), layout="constrained")
    if not shown:
        axes = figure.add_subplot()
        draw_bars(table, axes)
        return axes
    above, below = figure.subfigures(2, 1, height_ratios=[tall, 1.9 * lines])
    axes = above.add_subplot()
    draw_bars(table, axes)
    cells = below.subfigures(lines, _ACROSS, squeeze=False).flat
    for cell, row in zip(cells, shown, strict=False):
        _draw_functions(cell, row, table)
    return axes


def draw_bars(table: "DependenceTable", axes: Any) -> None:
    """Draw the alignment of each column, the strongest on top, over what chance reaches.

    Args:
        table: The screen; of more than 40 columns the first 40 are drawn.
        axes: Where to.
    """
    ranked = table.ranked()
    rows = ranked[:_MOST_BARS][::-1]
    places = np.arange(len(rows))
    bands = [max(0.0, row.null_band) for row in rows]
    axes.barh(places, bands, height=0.9, color=_CHANCE, label="chance, 95 %")
    found = [row.q_value <= table.fdr for row in rows]
    axes.barh(
        places,
        [max(0.0, row.cka) for row in rows],
        height=0.45,
        color=[_FOUND if each else _LEFT for each in found],
        edgecolor=[_FOUND if each else _INK for each in found],
        linewidth=0.8,
        label=f"filled: q ≤ {table.fdr:g}",
    )
    axes.set_yticks(places, [_cut(row.name, _NAME) for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(left=0.0)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    more = (
        f", the first {len(rows)} of {counted(len(ranked), 'column')}"
        if len(ranked) > len(rows)
        else ""
    )
    axes.set_xlabel(f"debiased CKA with {_cut(table.target, _NAME)}{more}")
    if rows:
        axes.legend(loc="lower right", frameon=False, fontsize="small")


def _draw_functions(cell: Any, row: "DependenceRow", table: "DependenceTable") -> None:
    """One small multiple: the column on the left, the target on the right, one scale."""
    functions: Mapping[str, Any] = row.functions or {}
    left, right = cell.subplots(1, 2, sharey=True)
    hint = f"{row.shape}, " if row.shape else ""
    title = f"{_cut(row.name, _NAME)}: {hint}r = {functions['correlation']:.2f}"
    cell.suptitle(title, fontsize="small")
    _draw_side(left, functions["x"], functions["f"], row.kind)
    _draw_side(right, functions["y"], functions["g"], table.target_kind)
    left.set_title("f(column)", fontsize="x-small", color=_INK)
    right.set_title(f"g({_cut(table.target, _LEVEL)})", fontsize="x-small", color=_INK)
    right.tick_params(axis="y", length=0)


def _draw_side(axes: Any, places: Sequence[Any], heights: Sequence[float], kind: str) -> None:
    axes.axhline(0, color=_CHANCE, linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize="x-small")
    axes.locator_params(axis="y", nbins=4)
    if kind in ("category", "text"):
        at = np.arange(len(places))
        axes.vlines(at, 0, heights, color=_FOUND, linewidth=3)
        names = ["missing" if each in (None, -1) else _cut(str(each), _LEVEL) for each in places]
        turned = max(map(len, names)) * len(names) > _LEVEL
        side = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if turned else {}
        axes.set_xticks(at, names, **side)
        axes.set_xlim(-0.6, len(at) - 0.4)
        return
    x = np.asarray(places, dtype=np.float64)
    axes.plot(x, heights, color=_FOUND, marker=".", markersize=3, linewidth=1)
    if kind == "date":
        ends = (x[0], x[-1])
        axes.set_xticks(ends, [str(_EPOCH + int(day)) for day in ends])
    else:
        axes.locator_params(axis="x", nbins=3)


def _cut(text: str, most: int) -> str:
    """One short line without mathematics: names are data."""
    line = " ".join(text.split()).replace("$", r"\$")
    return line if len(line) <= most else line[: most - 1] + "…"
