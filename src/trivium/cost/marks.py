"""The crossings in a picture: letters, lines in FLOPs, bars in seconds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from trivium.cost.crossover import Crossing, crossover
from trivium.cost.measure import Clock
from trivium.cost.report import CostReport

__all__ = ["INK", "Mark", "draw_marks", "marks_of"]

INK = "#555555"
# Letters nearer to each other than this share of an axis would touch.
_NEAR = 0.02
# An interval that is longer than this says nothing.
_ANYWHERE = 1000


@dataclass(frozen=True, slots=True)
class Mark:
    """A crossing with the letter that stands at it.

    Args:
        letter: The letter.
        what: What crosses, as text.
        flops: Where it crosses in FLOPs.
        time: Where it crosses in seconds.
    """

    letter: str
    what: str
    flops: Crossing | None
    time: Crossing | None

    def __str__(self) -> str:
        places = [f"n = {self.flops}"] if self.flops is not None else []
        places += [f"{self.time} in seconds"] if self.time is not None else []
        return f"{self.letter}  {self.what}:\n     {', '.join(places)}"


def marks_of(report: CostReport, clock: Clock | None, untold: Collection[str] = ()) -> list[Mark]:
    """Return the first crossing of each pair of a report, with a clock in seconds as well.

    Args:
        report: The report.
        clock: What tells the time; with it each design is held against that of the model.
        untold: Designs that it cannot tell the time of.

    Raises:
        ArgumentError: The clock cannot tell the time of a pass.
    """
    work = report.tables[0].work
    found: dict[tuple[str, str], dict[str, Crossing]] = {}
    timed = report.timed.crossovers if report.timed is not None else ()
    for each in (*report.crossovers, *timed):
        if each.attention not in ("", str(report.designs[0])):
            continue
        places = found.setdefault((each.a, each.b), {})
        if each.crossings:
            places[each.by] = each.crossings[0]
    if clock is not None:
        own, *others = map(str, report.designs)
        for a, b in dict.fromkeys([*found, *((own, other) for other in others)]):
            places = found.setdefault((a, b), {})
            if "time" in places or b in untold:
                continue
            crossed = crossover(
                report.shape,
                a,
                b,
                "time",
                clock=clock,
                mode=work.mode,
                batch=work.batch,
                itemsize=work.itemsize,
            )
            if crossed.crossings:
                places["time"] = crossed.crossings[0]
    told = [(a, b, places) for (a, b), places in found.items() if _says(places)]
    return [
        Mark(chr(ord("A") + i), f"{a} = {b}", places.get("flops"), places.get("time"))
        for i, (a, b, places) in enumerate(told)
    ]


def _says(places: dict[str, Crossing]) -> bool:
    """Whether there is a crossing in FLOPs, or one in seconds that is not just anywhere."""
    time = places.get("time")
    return "flops" in places or (time is not None and time.high < _ANYWHERE * time.low)


def draw_marks(axes: dict[str, Any], marks: Sequence[Mark], *, below: float) -> None:
    """Draw a line through the panels at each crossing in FLOPs, a dot in its bar in seconds.

    Args:
        axes: The panels "shares", "time" and "memory".
        marks: The crossings.
        below: How far below the top of the memory panel their list begins, in its height.
    """
    low, high = axes["shares"].get_xlim()
    taken: list[tuple[float, int]] = []
    for mark in marks:
        if mark.flops is not None and low < (place := float(mark.flops.low)) < high:
            for name in ("shares", "time", "memory"):
                color = "white" if name == "shares" else INK
                axes[name].axvline(place, color=color, linewidth=0.8, linestyle="--")
            spot = log(place / low) / log(high / low)
            # Letters that would stand on one another stand in steps.
            steps = [step for other, step in taken if abs(other - spot) < _NEAR]
            step = next(i for i in range(len(taken) + 1) if i not in steps)
            taken.append((spot, step))
            _letter(axes["shares"], mark.letter, place, 1.0, (0, 3 + 10 * step))
    timed = [(mark.letter, mark.time) for mark in marks if mark.time is not None]
    if timed and axes["time"].get_yscale() == "log":
        # Room for the intervals below the curves.
        bottom, top = axes["time"].get_ylim()
        axes["time"].set_ylim(bottom * (bottom / top) ** (0.1 * len(timed)), top)
    for i, (letter, time) in enumerate(timed):
        ends = [min(max(float(end), low), high) for end in (time.low, time.high)]
        if ends[0] < ends[1]:
            height = 0.06 + 0.08 * i
            over = axes["time"].get_xaxis_transform()
            axes["time"].plot(ends, [height] * 2, transform=over, color=INK, linewidth=1.0)
            middle = float(time.low if time.estimate is None else time.estimate)
            if low < middle < high:
                axes["time"].plot(middle, height, "o", transform=over, color=INK, markersize=4.0)
            _letter(axes["time"], letter, ends[1], height, (6, -3))
    axes["memory"].annotate(
        "\n".join(map(str, marks)),
        (1.01, 1.0 - below),
        xycoords="axes fraction",
        va="top",
        fontsize="small",
    )


def _letter(axes: Any, text: str, place: float, height: float, by: tuple[int, int]) -> None:
    axes.annotate(
        text,
        (place, height),
        xytext=by,
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        fontsize="small",
    )
