"""Seconds of a shape on a machine, with their interval."""

from dataclasses import asdict, dataclass
from typing import Any

from trivium._core.errors import ArgumentError
from trivium.cost.design import Design
from trivium.cost.machine import DTYPES, Machine
from trivium.cost.shape import TransformerShape
from trivium.cost.table import CostTable, Row
from trivium.cost.text import columns, seconds_text
from trivium.cost.workload import Mode

__all__ = ["CostModel", "PartSeconds", "Seconds"]


@dataclass(frozen=True, slots=True)
class PartSeconds:
    """Seconds of one component, all of its layers together.

    Args:
        stack: The stack that it belongs to.
        name: What it computes; where one kernel does several, the last of them has the seconds.
        group: Where it counts.
        low: Lower end of the interval.
        middle: The estimate.
        high: Upper end.
    """

    stack: str
    name: str
    group: str
    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Seconds:
    """Seconds of one pass.

    Args:
        low: Lower end of the interval.
        middle: The estimate.
        high: Upper end.
        parts: The components.
        outside: Kinds of operators whose calls are beyond the sizes that were fitted; the
            interval is wider for it.
        calibrated: Whether the machine was measured.
    """

    low: float
    middle: float
    high: float
    parts: tuple[PartSeconds, ...]
    outside: tuple[str, ...]
    calibrated: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the seconds as a JSON object."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [("component", "seconds", "from", "to", "share")]
        whole = self.middle or 1.0
        total = PartSeconds("", "total", "", self.low, self.middle, self.high)
        for part in (*self.parts, total):
            if part.middle:
                ends = (seconds_text(part.low), seconds_text(part.high))
                share = f"{100 * part.middle / whole:.1f} %"
                rows.append((part.name, seconds_text(part.middle), *ends, share))
        lines = [columns(rows, left=(0,))]
        if self.outside:
            lines.append(f"Beyond the sizes that were measured: {', '.join(self.outside)}.")
        if not self.calibrated:
            lines.append("By a datasheet, not measured.")
        return "\n".join(lines)


@dataclass(frozen=True)
class CostModel:
    """The clock of a shape on a machine: what `crossover` and `compare` take as `clock`.

    Args:
        shape: The shape.
        machine: The machine.

    Example:
        >>> bert = TransformerShape.from_config("bert-base-uncased")
        >>> clock = CostModel(bert, Machine.datasheet("core-avx512"))
        >>> found = clock.time(512)
        >>> found.low < found.middle < found.high
        True
    """

    shape: TransformerShape
    machine: Machine

    def __post_init__(self) -> None:
        for name, kind in (("shape", TransformerShape), ("machine", Machine)):
            if not isinstance(getattr(self, name), kind):
                raise ArgumentError(
                    f"CostModel: {name} must be a {kind.__name__}; "
                    f"got {type(getattr(self, name)).__name__}"
                )

    def time(
        self,
        n: int | None = None,
        batch: int = 1,
        mode: Mode = "forward",
        context: int | None = None,
        attention: Design | str = "eager",
        *,
        source: int | None = None,
    ) -> Seconds:
        """Return the seconds of one pass, component by component.

        Args:
            n: Tokens of each row, as in `TransformerShape.table`.
            batch: Rows.
            mode: "forward", "prefill" or "decode".
            context: Tokens of each row in the cache.
            attention: The design.
            source: Tokens of each row in the encoder.

        Raises:
            ArgumentError: An argument breaks its rule, the mode is "train", or the machine has no
                law for an operator.

        Cost:
            O(components), about a millisecond.
        """
        table = self.shape.table(
            n, batch, mode, context, attention=attention, source=source, itemsize=self.itemsize
        )
        return self.of(table)

    @property
    def itemsize(self) -> int:
        """Bytes of a number of the machine's dtype."""
        return DTYPES[self.machine.dtype]

    def of(self, table: CostTable) -> Seconds:
        """Return the seconds of a table, component by component.

        Raises:
            ArgumentError: As for `seconds`.
        """
        low, middle, high = self.seconds(table)
        parts = tuple(self._part(row) for row in table.rows)
        operations = [each for row in table.rows for each in row.operations]
        outside = self.machine.outside(operations)
        return Seconds(low, middle, high, parts, outside, self.machine.calibrated)

    def seconds(self, table: CostTable) -> tuple[float, float, float]:
        """Return the lower end, the estimate and the upper end of a table, or of a part of one.

        Raises:
            ArgumentError: The table is of mode "train", or of numbers of another size than those
                of the machine, or the machine has no law for an operator.
        """
        if table.work.mode == "train":
            raise ArgumentError(
                "CostModel: mode must be forward, prefill or decode; got 'train'",
                remedy="The backward pass is not calibrated; count it in FLOPs.",
            )
        dtype = self.machine.dtype
        if table.work.itemsize != DTYPES[dtype]:
            raise ArgumentError(
                f"CostModel: itemsize must be {DTYPES[dtype]}, for the machine is calibrated for "
                f"dtype {dtype}; got {table.work.itemsize}"
            )
        return self.machine.seconds(each for row in table.rows for each in row.operations)

    def _part(self, row: Row) -> PartSeconds:
        return PartSeconds(row.stack, row.name, row.group, *self.machine.seconds(row.operations))
