"""Numbers and dates: a smooth basis of the value, and waves at the calendar's frequencies."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from trivium._core.errors import DataError
from trivium.table.dates import Order
from trivium.table.encode_column import Arrays, ColumnEncoder, Facts, missing_flag, with_missing
from trivium.table.encode_curve import Curve
from trivium.table.notice import Notice
from trivium.table.table import Column

__all__ = ["DateEncoder", "NumberEncoder"]

_DAY = 86_400
_BINS = 48
# Period, its harmonics, and the shortest stretch of time (in days) that shows it.
CALENDAR = {"year": (2, 365), "week": (3, 14), "day": (2, 2)}


class NumberEncoder(ColumnEncoder):
    """The value and three curves of its rank (see `Curve`); missing is the mean, and marked.

    Args:
        curve: The basis.
        missing: Whether missing values are marked by a feature.
    """

    way = "number"

    def __init__(self, curve: Curve, missing: bool) -> None:
        self.curve = curve
        self.missing = missing

    @classmethod
    def fit(cls, column: Column, n_curves: int) -> "NumberEncoder":
        """Learn from a column of numbers."""
        values = known_values(column)
        return cls(Curve.fit(values, n_curves), missing_flag(np.isnan(values)))

    @property
    def names(self) -> tuple[str, ...]:
        """The value, its curves, and `missing`."""
        return self.curve.names + ("missing",) * self.missing

    def how(self) -> str:
        """Say in words how the column is encoded."""
        value = "normal score of the rank (heavy tails)" if self.curve.heavy else "standardized"
        n_curves = len(self.curve.means)
        curves = f", {n_curves} smooth curves of the rank" if n_curves else ""
        return value + curves + ", missing marked" * self.missing

    def block(self, column: Column) -> tuple[Float[np.ndarray, "n d"], tuple[Notice, ...]]:
        """Return value, curves and mark."""
        values = known_values(column)
        gone = np.isnan(values)
        block = with_missing(self.curve.features(values), gone, flag=self.missing)
        return block, ()

    def state(self) -> tuple[Arrays, Facts]:
        """Return the curve's arrays and whether missing is marked."""
        return vars(self.curve).copy(), {"missing": self.missing}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Any:
        """Make the encoder that `state` described."""
        return cls(Curve(**arrays), bool(facts["missing"]))


class DateEncoder(ColumnEncoder):
    """A date and time: a smooth trend, and sines and cosines at the calendar's frequencies.

    A period (year, week, day) is used when the dates span it and fall on at least three different
    parts of it; harmonic h has 1/h of the weight. The phase is the calendar's own: the fraction
    of that year, of the week from Monday, of the day (UTC).

    Args:
        trend: The basis of the time itself.
        periods: Names of the periods used.
        missing: Whether missing values are marked by a feature.
        date_order: The order that dates with slashes had.
    """

    way = "date"

    def __init__(
        self,
        trend: Curve,
        periods: tuple[str, ...],
        missing: bool,
        date_order: Order | None = None,
    ) -> None:
        self.trend = trend
        self.periods = periods
        self.missing = missing
        self.date_order = date_order

    @classmethod
    def fit(cls, column: Column, n_curves: int) -> "DateEncoder":
        """Learn from a column of dates."""
        seconds = known_values(column)
        known = seconds[~np.isnan(seconds)]
        span = float(np.ptp(known)) / _DAY if len(known) else 0.0
        periods = tuple(
            name
            for name, (_, days) in CALENDAR.items()
            if span >= days and len(np.unique(np.floor(phase(known, name) * _BINS))) >= 3
        )
        trend, flag = Curve.fit(seconds, n_curves), missing_flag(np.isnan(seconds))
        return cls(trend, periods, flag, column.date_order)

    @property
    def names(self) -> tuple[str, ...]:
        """The trend, each wave, and `missing`."""
        waves = (
            f"{name} {wave} {h}"
            for name in self.periods
            for wave in ("cos", "sin")
            for h in range(1, CALENDAR[name][0] + 1)
        )
        trend = ("trend", *self.trend.names[1:])
        return (*trend, *waves, *("missing",) * self.missing)

    def how(self) -> str:
        """Say in words how the column is encoded."""
        waves = ", ".join(f"{name} ({CALENDAR[name][0]} harmonics)" for name in self.periods)
        waves = f"; waves over the {waves}" if waves else "; no period fits in its span"
        return "smooth trend" + waves + ", missing marked" * self.missing

    def block(self, column: Column) -> tuple[Float[np.ndarray, "n d"], tuple[Notice, ...]]:
        """Return trend, waves and mark."""
        seconds = known_values(column)
        gone = np.isnan(seconds)
        parts = [self.trend.features(seconds)]
        for name in self.periods:
            orders = np.arange(1, CALENDAR[name][0] + 1)
            angles = 2 * np.pi * np.outer(phase(np.where(gone, 0.0, seconds), name), orders)
            parts += [np.cos(angles) / orders, np.sin(angles) / orders]
        block = with_missing(np.column_stack(parts), gone, flag=self.missing)
        return block, ()

    def state(self) -> tuple[Arrays, Facts]:
        """Return the trend's arrays, the periods, whether missing is marked, the order learnt."""
        facts: Facts = {"periods": list(self.periods), "missing": self.missing}
        if self.date_order is not None:
            facts["date_order"] = self.date_order
        return vars(self.trend).copy(), facts

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Any:
        """Make the encoder that `state` described."""
        periods = tuple(facts["periods"])
        if not CALENDAR.keys() >= set(periods):
            raise ValueError(f"unknown periods {periods}")
        order = facts.get("date_order")
        if order not in (None, "dmy", "mdy"):
            raise ValueError(f"unknown order of dates {order!r}")
        return cls(Curve(**arrays), periods, bool(facts["missing"]), order)


def phase(seconds: Float[np.ndarray, " n"], period: str) -> Float[np.ndarray, " n"]:
    """Return where in the calendar period each moment falls, in [0, 1).

    Example:
        >>> phase(np.array([0.0, 86_400 * 1.5]), "day")
        array([0. , 0.5])
    """
    if period == "day":
        return np.mod(seconds, _DAY) / _DAY
    if period == "week":
        return np.mod(seconds + 3 * _DAY, 7 * _DAY) / (7 * _DAY)  # 1970-01-01 was a Thursday
    moments = np.floor(seconds).astype("datetime64[s]")
    years = moments.astype("datetime64[Y]")
    start = years.astype("datetime64[s]").astype(np.float64)
    end = (years + 1).astype("datetime64[s]").astype(np.float64)
    return (seconds - start) / (end - start)


def known_values(column: Column) -> Float[np.ndarray, " n"]:
    """Return the values of a column of numbers or dates.

    Raises:
        DataError: It was read as another kind.
    """
    if column.values is None:
        raise DataError(
            f"TableEncoder: column must hold numbers or dates; got kind {column.kind}",
            where=f"column {column.name}",
        )
    return column.values
