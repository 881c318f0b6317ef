"""The part of a report that is about seconds: its table, its crossovers, its verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from trivium.cost.compare import Comparison, Entry
from trivium.cost.cost_model import CostModel, Seconds
from trivium.cost.crossover import Crossover, crossover
from trivium.cost.design import Design, Eager, Fused, design_of
from trivium.cost.lengths import Lengths, Padding
from trivium.cost.machine import Machine
from trivium.cost.shape import TransformerShape
from trivium.cost.table import CostTable
from trivium.cost.text import columns, seconds_text
from trivium.cost.workload import Mode

__all__ = ["Timed", "time_text", "time_verdict", "timed"]

_FARTHEST = 2**17


@dataclass(frozen=True)
class Timed:
    """Seconds of a report.

    Args:
        machine: The machine.
        seconds: Those of each table.
        crossovers: Where parts, and designs, cross in seconds.
    """

    machine: Machine
    seconds: tuple[Seconds, ...]
    crossovers: tuple[Crossover, ...]


def timed(
    shape: TransformerShape,
    tables: Iterable[CostTable],
    rivals: Sequence[Design],
    mode: Mode,
    batch: int,
    machine: Machine,
) -> Timed:
    """Return the seconds of tables, and the crossovers in seconds.

    Args:
        shape: The shape.
        tables: Its tables under its own attention.
        rivals: Designs to hold against it; where the fused one is among them, the parts are
            compared under it as well.
        mode: The pass.
        batch: Rows.
        machine: The machine.

    Raises:
        ArgumentError: The machine has no law for an operator, or is for another size of numbers.
    """
    clock = CostModel(shape, machine)
    seconds = tuple(clock.of(table) for table in tables)
    found: list[Crossover] = []
    if shape.tokens is None:
        pairs: list[tuple[Any, Any, Design]] = []
        owns: list[Design] = [Eager()]
        owns += [rival for rival in rivals if isinstance(rival, Fused)]
        for own in owns:
            pairs += [("ffn", "attention", own), ("quadratic", "rest", own)]
        pairs += [(Eager(), rival, Eager()) for rival in rivals]
        found = [
            crossover(
                shape,
                a,
                b,
                "time",
                clock=clock,
                mode=mode,
                batch=batch,
                attention=own,
                itemsize=clock.itemsize,
                farthest=_FARTHEST,
            )
            for a, b, own in pairs
        ]
    return Timed(machine, seconds, tuple(found))


def time_text(timed: Timed, top: Sequence[str]) -> str:
    """Return the components in rows, with seconds and their share for each length.

    Args:
        timed: The seconds.
        top: What stands above each length.
    """
    first = timed.seconds[0]
    stacks = len({part.stack for part in first.parts}) > 1
    lines = [["component", *(cell for each in top for cell in (each, ""))]]
    for i, part in enumerate(first.parts):
        each = [(seconds.parts[i].middle, seconds.middle) for seconds in timed.seconds]
        if not any(middle for middle, _ in each):
            continue
        cells = [f"{part.stack}: {part.name}" if stacks else part.name]
        for middle, whole in each:
            cells += [seconds_text(middle), f"{100 * middle / whole:.1f} %"]
        lines.append(cells)
    for name, end in (("time", "middle"), ("from", "low"), ("to", "high")):
        ends = [seconds_text(getattr(seconds, end)) for seconds in timed.seconds]
        lines.append([name, *(cell for text in ends for cell in (text, ""))])
    text = columns(lines, left=(0,))
    outside = dict.fromkeys(kind for seconds in timed.seconds for kind in seconds.outside)
    if outside:
        text += f"\nBeyond the sizes that were measured: {', '.join(outside)}."
    if not timed.machine.calibrated:
        text += "\nBy a datasheet, not measured."
    return text


def time_verdict(
    shape: TransformerShape,
    lengths: Lengths,
    comparison: Comparison,
    timed: Timed,
    *,
    whose: str,
) -> list[str]:
    """Return sentences about the seconds of a shape over rows.

    Args:
        shape: The shape.
        lengths: The rows.
        comparison: The designs over the rows, with seconds; the first is that of the model.
        timed: The seconds of the report.
        whose: "your" for rows of a user, "these" for lengths that were asked for.

    Raises:
        ArgumentError: The machine has no law for an operator.
    """
    share = _quadratic(shape, lengths, comparison, CostModel(shape, timed.machine))
    most = f"replacing attention can save at most {_percent(share)} of the time"
    first = timed.crossovers[0]
    if first.crossings:
        place = first.crossings[-1]
        middle = place.high if place.estimate is None else place.estimate
        below = _percent(float(lengths.share_below(ceil(middle))))
        said = [
            f"In seconds {below} of {whose} tokens sit in rows under {float(middle):,.0f} "
            f"({float(place.low):,.0f} to {float(place.high):,.0f}), where the feed-forward layers "
            f"cost more than attention; {most}."
        ]
    else:
        said = [f"In seconds {most}."]
    base = comparison.entries[0]
    said += [_against(entry, base) for entry in comparison.entries[1:]]
    return said


def _quadratic(
    shape: TransformerShape, lengths: Lengths, comparison: Comparison, clock: CostModel
) -> float:
    """Return the share of the seconds over the rows that grows as n²."""
    padding: Padding = comparison.padding  # type: ignore[assignment]
    mode: Mode = comparison.mode  # type: ignore[assignment]
    own = design_of(comparison.entries[0].attention)
    quadratic = whole = Fraction(0)
    item = clock.itemsize
    for (n, rows), times in lengths.batches(comparison.batch, padding).items():
        table = shape.table(n, rows, mode, attention=own, itemsize=item)
        quadratic += times * Fraction(clock.seconds(table.select("quadratic"))[1])
        whole += times * Fraction(clock.seconds(table)[1])
    return float(quadratic / whole)


def _against(entry: Entry, base: Entry) -> str:
    """Say what a design saves: the fused kernel computes the same, others need their quality."""
    if entry.seconds is None or base.seconds is None:
        raise AssertionError  # pragma: no cover - a comparison with a clock has seconds
    ratio = entry.seconds[1] / base.seconds[1]
    if ratio >= 1:
        return f"{entry.name} takes {ratio:.2f} times the seconds of {base.name}."
    saved = _percent(1 - ratio)
    if isinstance(design_of(entry.attention), Fused):
        return (
            f"Use the fused path: {entry.name} computes the same as {base.name} and saves {saved}."
        )
    return f"{entry.name} saves {saved} of the seconds of {base.name}, if its quality is enough."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 or share == 0 else f"{100 * share:.1f} %"
