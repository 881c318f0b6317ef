"""A signed waterfall: from the value before the training, by what moved it, to the value after."""

from collections.abc import Sequence
from typing import Any

from trivium._core.checks import require

__all__ = ["draw_waterfall"]

_UP, _DOWN, _LEVEL = "#2f5d8a", "#c0562f", "0.45"
_LONGEST = 28


def draw_waterfall(
    caller: str,
    before: float,
    moves: Sequence[tuple[str, float]],
    after: float,
    title: str,
    ax: Any = None,
) -> Any:
    """Draw bars that each begin where the one above ends.

    Args:
        caller: The public name that was called.
        before: Where the waterfall begins.
        moves: Names and signed amounts, from top to bottom.
        after: Where it must end.
        title: Above it.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        MissingExtraError: matplotlib is not installed (extra `plot`).
    """
    pyplot = require("matplotlib.pyplot", "plot", f"{caller}.plot")
    if ax is None:
        height = 1.4 + 0.3 * (len(moves) + 2)
        _, ax = pyplot.subplots(figsize=(7, height), layout="constrained")
    names = ["before training", *(_short(name) for name, _ in moves), "after training"]
    at = before
    ax.barh(0, before, color=_LEVEL, height=0.62)
    ends = [(min(0.0, before), max(0.0, before))]
    for place, (_, amount) in enumerate(moves, 1):
        ax.plot([at, at], [place - 0.69, place + 0.31], color="0.6", linewidth=0.8)
        ax.barh(place, amount, left=at, color=_UP if amount >= 0 else _DOWN, height=0.62)
        ends.append((min(at, at + amount), max(at, at + amount)))
        at += amount
    last = len(moves) + 1
    ax.plot([at, at], [last - 0.69, last + 0.31], color="0.6", linewidth=0.8)
    ax.barh(last, after, color=_LEVEL, height=0.62)
    ends.append((min(0.0, after), max(0.0, after)))
    texts = [f"{before:.3g}", *(f"{amount:+.3g}" for _, amount in moves), f"{after:.3g}"]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    for place, (text, (_, right)) in enumerate(zip(texts, ends, strict=True)):
        ax.text(right + 0.01 * (high - low), place, text, va="center", fontsize=8)
    ax.set_xlim(low - 0.03 * (high - low), high + 0.12 * (high - low))
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_title(title, fontsize=10, loc="left")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
