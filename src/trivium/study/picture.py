"""The picture of a study: who goes on, who does not, and what each has learnt to do."""

from collections.abc import Mapping
from typing import Any

from trivium.study.result import ranked
from trivium.study.tasks import TASKS

_COLORS = {"1": "#1b6ca8", "2": "#e08e1b", "4": "#b3203a"}
_CURVES = 8  # more lines in one frame cannot be told apart


def draw(figures: Mapping[str, Any]) -> Any:
    """Return a matplotlib figure of what `StudyResult.to_dict` holds."""
    from matplotlib.figure import Figure

    found = ranked(figures["encodings"])
    names = [name for name, _ in found]
    height = max(4.0, 1.6 + 0.26 * len(names))
    figure = Figure(figsize=(15, height), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(4, 4, 5))
    _losses(left, found)
    _curves(middle, found, figures["preset"]["length"])
    _tasks(figure, right, figures["encodings"], names)
    return figure


def _losses(axes: Any, found: list[tuple[str, Any]]) -> None:
    """Medians and ranges at each length, the best at twice the length on top."""
    for at, color in _COLORS.items():
        spreads = [entry["text"]["loss"][at] for _, entry in found]
        places = range(len(spreads))
        axes.hlines(
            places, [s["least"] for s in spreads], [s["most"] for s in spreads], color, lw=2
        )
        axes.plot([s["median"] for s in spreads], places, "o", color=color, ms=4, label=f"{at}×")
    axes.set_yticks(range(len(found)), [name for name, _ in found], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", lw=0.3)
    axes.set(xlabel="loss, nats a character (median, range of seeds)")
    axes.legend(title="length of\ntraining", fontsize=8, title_fontsize=8, loc="upper right")


def _curves(axes: Any, found: list[tuple[str, Any]], length: int) -> None:
    """Loss by position: of many encodings, evenly spaced in their order."""
    if len(found) > _CURVES:
        found = [found[i * (len(found) - 1) // (_CURVES - 1)] for i in range(_CURVES)]
    for name, entry in found:
        curve = entry["text"]["curve"]
        step = 4 * length / len(curve)
        axes.plot([step * (at + 0.5) for at in range(len(curve))], curve, label=name, lw=1)
    axes.axvline(length, color="0.5", lw=0.8, ls=":")
    axes.set(xlabel="position (dotted: length in training)", ylabel="loss, nats a character")
    if found:
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)


def _tasks(figure: Any, axes: Any, encodings: Mapping[str, Any], names: list[str]) -> None:
    shown = [name for name in names if "tasks" in encodings[name]]
    shown += [name for name in encodings if "tasks" in encodings[name] and name not in shown]
    if not shown:
        axes.set_axis_off()
        return
    rows = [
        [encodings[n]["tasks"]["accuracy"][t][at]["median"] for at in ("1", "2") for t in TASKS]
        for n in shown
    ]
    picture = axes.imshow(rows, vmin=0, vmax=1, aspect="auto", cmap="viridis")
    labels = [f"{task} {at}×" for at in ("1", "2") for task in TASKS]
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(shown)), shown, fontsize=8)
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            color = "black" if value > 0.6 else "white"
            axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=6, color=color)
    figure.colorbar(picture, ax=axes, label="accuracy, median")
