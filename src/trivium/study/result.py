"""What a study found: medians and ranges over seeds, and figures of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from trivium._core.checks import require
from trivium._core.counted import counted
from trivium.study.presets import Preset
from trivium.study.tasks import TASKS

__all__ = ["StudyResult", "ranked"]

_LENGTHS = ("1", "2", "4")


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "least": min(values), "most": max(values)}


def summary_of(
    preset: Preset, text: str, seed: int, runs: Mapping[str, dict[str, Any]], total: int
) -> dict[str, Any]:
    """Return medians and ranges over the seeds of each encoding at its best rate."""
    names = dict.fromkeys(run["encoding"] for run in runs.values())
    found: dict[str, Any] = {}
    for name in names:
        entry: dict[str, Any] = {}
        for kind in ("text", "tasks"):
            mine = [r for r in runs.values() if (r["encoding"], r["kind"]) == (name, kind)]
            tried = [r for r in mine if r["seed"] == seed]
            if len(tried) < len(preset.rates):
                continue
            best = max(tried, key=lambda run: run["validation"])["rate"]
            kept = [run for run in mine if run["rate"] == best]
            entry[kind] = _of_seeds(kept) | {"rate": best, "seeds": len(kept)}
        found[name] = entry
    return {
        "preset": preset.to_dict(),
        "text": text,
        "seed": seed,
        "runs": len(runs),
        "runs_in_all": total,
        "complete": len(runs) >= total,
        "encodings": found,
        "all_runs": [runs[name] for name in sorted(runs)],
    }


def _of_seeds(kept: list[dict[str, Any]]) -> dict[str, Any]:
    about = {"n_parameters": kept[0]["n_parameters"]}
    if kept[0]["kind"] == "text":
        curves = [run["curve"] for run in kept]
        return about | {
            "loss": {at: _spread([run["loss"][at] for run in kept]) for at in _LENGTHS},
            "curve": [median(at) for at in zip(*curves, strict=True)],
        }
    accuracy = {
        task: {at: _spread([run["accuracy"][task][at] for run in kept]) for at in ("1", "2")}
        for task in TASKS
    }
    return about | {"accuracy": accuracy}


@dataclass(frozen=True)
class StudyResult:
    """The figures of a study.

    Args:
        figures: What `to_dict` returns.
    """

    figures: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return everything: sizes, medians and ranges, and every run."""
        return self.figures

    def __str__(self) -> str:
        """Return two tables: loss by length, accuracy by task."""
        found = self.figures["encodings"]
        width = max((len(name) for name in found), default=8)
        head = "  ".join(f"{f'loss at {at}x':>20}" for at in _LENGTHS)
        lines = [f"{'':{width}}  {head}  {'rate':>6}  parameters"]
        for name, entry in ranked(found):
            part = entry["text"]
            cells = "  ".join(_cell(part["loss"][at], 3) for at in _LENGTHS)
            lines.append(
                f"{name:{width}}  {cells}  {part['rate']:>6g}  {part['n_parameters']:>10,}"
            )
        lines += ["", f"{'':{width}}  " + "  ".join(f"{f'{task} 1x':>20}" for task in TASKS)]
        for name, entry in found.items():
            if "tasks" in entry:
                cells = "  ".join(_cell(entry["tasks"]["accuracy"][t]["1"], 2) for t in TASKS)
                lines.append(f"{name:{width}}  {cells}")
        lines += ["", f"{'':{width}}  " + "  ".join(f"{f'{task} 2x':>20}" for task in TASKS)]
        for name, entry in found.items():
            if "tasks" in entry:
                cells = "  ".join(_cell(entry["tasks"]["accuracy"][t]["2"], 2) for t in TASKS)
                lines.append(f"{name:{width}}  {cells}")
        runs = f"{self.figures['runs']} of {counted(self.figures['runs_in_all'], 'run')}"
        return "\n".join([*lines, "", f"Medians (least to most) over seeds; {runs}."])

    def plot(self) -> Any:
        """Return a matplotlib figure: loss at three lengths, loss by position, accuracy of tasks.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        require("matplotlib", "plot", "StudyResult.plot")
        from trivium.study.picture import draw

        return draw(self.figures)


def ranked(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the encodings with text figures, the best at twice the length first."""
    known = [(name, entry) for name, entry in found.items() if "text" in entry]
    return sorted(known, key=lambda pair: pair[1]["text"]["loss"]["2"]["median"])


def _cell(spread: Mapping[str, float], digits: int) -> str:
    middle, low, high = (f"{spread[name]:.{digits}f}" for name in ("median", "least", "most"))
    return f"{f'{middle} ({low}–{high})':>20}"
