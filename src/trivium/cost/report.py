"""The report of `trivium cost`: tables, crossovers, designs, a verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trivium._core.errors import ArgumentError
from trivium.cost.compare import Comparison, compare
from trivium.cost.cost_model import CostModel
from trivium.cost.crossover import Crossover, crossover
from trivium.cost.design import Design, Fused, design_of
from trivium.cost.lengths import Lengths, Padding
from trivium.cost.machine import Machine
from trivium.cost.shape import TransformerShape
from trivium.cost.table import CostTable
from trivium.cost.text import columns, count_text
from trivium.cost.timed import Timed, time_text, time_verdict, timed
from trivium.cost.verdict import verdict
from trivium.cost.workload import Count, Mode

__all__ = ["Asked", "CostReport", "cost_report"]


@dataclass(frozen=True, slots=True)
class Asked:
    """How passes are counted.

    Args:
        mode: The pass.
        batch: Rows of a batch.
        padding: How rows get into batches.
        count: "executed" or "needed".
        itemsize: Bytes of a number.
        machine: The machine that seconds are for; `None` for counts alone.
    """

    mode: Mode = "forward"
    batch: int = 1
    padding: Padding = "batch"
    count: Count = "executed"
    itemsize: int = 4
    machine: Machine | None = None


@dataclass(frozen=True)
class CostReport:
    """What a shape costs at some lengths.

    Args:
        shape: The shape.
        tables: A table for each length, of the model's own attention.
        crossovers: Where parts cross, and where the designs cross the model's own attention.
        rows: The rows that the verdict is about.
        comparison: The designs over these rows; `None` in mode "decode".
        verdict: Sentences; none in mode "decode".
        timed: Seconds, where a machine was given.
    """

    shape: TransformerShape
    tables: tuple[CostTable, ...]
    crossovers: tuple[Crossover, ...]
    rows: Lengths
    comparison: Comparison | None
    verdict: tuple[str, ...]
    timed: Timed | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "model": self.shape.name,
            "model_type": self.shape.model_type,
            "facts": dict(self.shape.facts),
            "tables": [table.to_dict() for table in self.tables],
            "crossovers": [_crossover(found) for found in self._places()],
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
            "verdict": list(self.verdict),
            "machine": None if self.timed is None else self.timed.machine.to_dict(),
            "seconds": None if self.timed is None else [s.to_dict() for s in self.timed.seconds],
        }

    def _places(self) -> tuple[Crossover, ...]:
        return self.crossovers + (() if self.timed is None else self.timed.crossovers)

    def __str__(self) -> str:
        text = [_head(self), "", _shares(self.tables), ""]
        if self.timed is not None:
            text += [time_text(self.timed, _top(self.tables)), ""]
        return "\n".join([*text, *_lines(self._places())])


def cost_report(
    shape: TransformerShape,
    lengths: Sequence[int],
    attention: Sequence[Design | str] = (),
    rows: Lengths | None = None,
    asked: Asked | None = None,
) -> CostReport:
    """Return tables at some lengths, crossovers, and a verdict over rows.

    Args:
        shape: The shape.
        lengths: Tokens of a row; in mode "decode" those in the cache.
        attention: Designs to hold against eager attention.
        rows: The rows of a user; without them one row of each of `lengths`.
        asked: How the passes are counted; forward, one row a batch by default.

    Raises:
        ArgumentError: There is no length, or an argument breaks its rule.

    Cost:
        About 20 ms for each crossover.

    Example:
        >>> shape = TransformerShape.from_config("gpt2")
        >>> print(cost_report(shape, [256, 1024]).crossovers[0])
        ffn = attention at n = 1,536
    """
    asked = asked or Asked()
    wanted = list(lengths) or ([shape.tokens] if shape.tokens is not None else [])
    if not wanted:
        raise ArgumentError("cost: lengths must hold at least one length; got none")
    own = design_of("eager")
    designs = [design_of(each) for each in attention]
    rivals = list(dict.fromkeys(design for design in designs if design != own))
    tables = tuple(_table(shape, n, own, asked) for n in wanted)
    seconds = None
    if asked.machine is not None:
        seconds = timed(shape, tables, rivals, asked.mode, asked.batch, asked.machine)
    if shape.tokens is not None:
        return CostReport(shape, tables, (), Lengths(tuple(wanted)), None, (), seconds)
    pairs: list[tuple[Any, Any]] = [("ffn", "attention"), ("quadratic", "rest")]
    pairs += [(own, design) for design in rivals if not isinstance(design, Fused)]
    found = tuple(crossover(shape, a, b, mode=asked.mode, batch=asked.batch) for a, b in pairs)
    data = rows or Lengths(tuple(wanted))
    if asked.mode == "decode":
        return CostReport(shape, tables, found, data, None, (), seconds)
    comparison = compare(
        (shape, [own, *rivals]),
        data,
        asked.batch,
        # Rows that were only asked for stand each for itself: nothing pads them.
        padding=asked.padding if rows is not None else "none",
        mode=asked.mode,
        itemsize=asked.itemsize,
        clock=None if asked.machine is None else CostModel(shape, asked.machine),
    )
    whose = "your" if rows is not None else "these"
    words = verdict(shape, data, comparison, own, whose=whose)
    if seconds is not None:
        words = [*words[:-1], *time_verdict(shape, data, comparison, seconds, whose=whose)]
    return CostReport(shape, tables, found, data, comparison, tuple(words), seconds)


def _table(shape: TransformerShape, n: int, design: Design, asked: Asked) -> CostTable:
    decode = asked.mode == "decode"
    return shape.table(
        1 if decode else n,
        asked.batch,
        asked.mode,
        n if decode else None,
        asked.count,
        design,
        itemsize=asked.itemsize,
    )


def _crossover(found: Crossover) -> dict[str, Any]:
    crossings = [
        asdict(point)
        | {
            "low": float(point.low),
            "high": float(point.high),
            "exact": str(point.low) if point.exact else None,
            "estimate": None if point.estimate is None else float(point.estimate),
        }
        for point in found.crossings
    ]
    return {
        "a": found.a,
        "b": found.b,
        "by": found.by,
        "smaller": found.smaller,
        "crossings": crossings,
    }


def _head(report: CostReport) -> str:
    facts = ", ".join(f"{name} {value:,}" for name, value in report.shape.facts)
    work = report.tables[0].work
    rows = "1 row" if work.batch == 1 else f"{work.batch:,} rows"
    return (
        f"{report.shape.name} ({report.shape.model_type}): {facts}\n"
        f"{work.mode}, {rows}, {report.tables[0].design} attention, FLOPs {work.count}"
    )


def _shares(tables: tuple[CostTable, ...]) -> str:
    """Return the components in rows, and FLOPs with their shares for each length."""
    first = tables[0]
    stacks = len({row.stack for row in first.rows}) > 1
    top = _top(tables)
    lines = [["component", "layers", "GEMM", *(cell for each in top for cell in (each, ""))]]
    for i, row in enumerate(first.rows):
        if not row.gemm:
            continue
        cells = [f"{row.stack}: {row.name}" if stacks else row.name, str(row.layers), row.gemm]
        for table in tables:
            flops = table.rows[i].flops
            cells += [count_text(flops), f"{100 * flops / table.flops:.1f} %"]
        lines.append(cells)
    kept = "saved" if first.work.mode == "train" else "cache"
    sums = [("FLOPs", "flops"), ("bytes moved", "bytes"), ("activations", "activations")]
    sums += [("kept for backward" if kept == "saved" else "cache", kept)]
    for name, quantity in sums:
        totals = [table.total(quantity) for table in tables]
        if any(totals):
            lines.append([name, "", "", *(c for t in totals for c in (count_text(t), ""))])
    return columns(lines, left=(0, 2))


def _top(tables: tuple[CostTable, ...]) -> list[str]:
    name = "context" if tables[0].work.mode == "decode" else "n"
    return [f"{name} = {_length(table):,}" for table in tables]


def _length(table: CostTable) -> int:
    work = table.work
    return work.past if work.mode == "decode" else work.n


def _lines(crossovers: tuple[Crossover, ...]) -> list[str]:
    """Return a line for each pair: in FLOPs, and beside it in time."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for found in crossovers:
        named = {"flops": "FLOPs", "time": "time"}[found.by]
        under = f" ({found.attention})" if found.attention not in ("", "eager") else ""
        places = lines.setdefault((found.a, found.b, found.attention), [])
        text = str(found) if not places else _places(found)
        places.append(f"In {named}{under}: {text}" if not places else f"in {named}: {text}")
    return ["; ".join(places) for places in lines.values()]


def _places(found: Crossover) -> str:
    """Return where they cross without saying again what."""
    if not found.crossings:
        return str(found)
    return "; ".join(f"n = {point}" for point in found.crossings)
