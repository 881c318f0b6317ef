"""What two things are compared by: exact counts, or seconds by a calibrated clock."""

from collections.abc import Callable
from fractions import Fraction
from typing import Protocol, runtime_checkable

from trivium._core.errors import ArgumentError
from trivium.cost.table import CostTable

__all__ = ["BY", "Clock", "Measure", "measure_of"]

BY = ("flops", "macs", "bytes", "time")
# Lower end, middle, upper end: one number three times where the measure is exact.
Measure = Callable[[CostTable], tuple[Fraction, Fraction, Fraction]]


@runtime_checkable
class Clock(Protocol):
    """Whatever turns a table, or a part of one, into seconds with their interval."""

    def seconds(self, table: CostTable) -> tuple[float, float, float]:
        """Return the lower end, the estimate and the upper end.

        Raises:
            ArgumentError: The clock was not calibrated for such a table.
        """
        ...


def measure_of(caller: str, by: str, clock: Clock | None) -> Measure:
    """Return the measure of a name.

    Args:
        caller: Who asks, for the message.
        by: One of `BY`.
        clock: What tells the time; only for "time", and needed there.

    Raises:
        ArgumentError: The name is unknown, or the clock is missing.
    """
    if by not in BY:
        raise ArgumentError(f"{caller}: by must be one of {', '.join(BY)}; got {by!r}")
    if by != "time":

        def count(table: CostTable) -> tuple[Fraction, Fraction, Fraction]:
            total = Fraction(table.total(by))
            return total, total, total

        return count
    if not isinstance(clock, Clock):
        raise ArgumentError(
            f'{caller}: clock must be a calibrated clock for by="time"; got {clock!r}',
            remedy="Counts alone do not tell the time: a crossover in FLOPs is not one in seconds.",
        )

    def tell(table: CostTable) -> tuple[Fraction, Fraction, Fraction]:
        low, middle, high = clock.seconds(table)
        return Fraction(low), Fraction(middle), Fraction(high)

    return tell
