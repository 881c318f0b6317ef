"""Decay of several schedules at several distances, as rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.kernel.spectral import Schedule
from trivium.kernel.spectral.schedule import as_distances
from trivium.sinusoid.decay import as_schedule, decay, first_zero, noise_floor

__all__ = ["DecayRow", "decay_table"]


@dataclass(frozen=True)
class DecayRow:
    """One schedule at one distance.

    Args:
        schedule: Its name.
        distance: x.
        exact: The integral.
        finite: The mean over the frequencies of a code; `None` where none was asked for.
        floor: 1/√d of that code; `None` likewise.
        first_zero: Where the integral is first zero; `None` where it never is.
    """

    schedule: str
    distance: float
    exact: float
    finite: float | None
    floor: float | None
    first_zero: float | None

    @property
    def beyond(self) -> bool:
        """Whether the distance is at or past the first zero: no decay there."""
        return self.first_zero is not None and self.distance >= self.first_zero

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and `beyond`, for JSON."""
        return {**asdict(self), "beyond": self.beyond}


def decay_table(
    schedules: Schedule | Sequence[Schedule] | Mapping[str, Schedule],
    distances: Sequence[float] | Tensor,
    n_frequencies: int | None = None,
    convention: str = "left",
) -> list[DecayRow]:
    """Return the decay of several schedules at several distances, schedule by schedule.

    Args:
        schedules: One, several, or several by name.
        distances: One axis.
        n_frequencies: As for `decay`; adds the finite code beside the integral.
        convention: As for `decay`.

    Raises:
        ArgumentError: As for `decay`, or none is given, or two have one name.
        DataError: A distance is not finite.

    Example:
        >>> from trivium.kernel.spectral import Geometric
        >>> rows = decay_table(Geometric(), [100, 10_000], n_frequencies=64)
        >>> [(row.distance, round(row.exact, 3), row.beyond) for row in rows]
        [(100.0, 0.437, False), (10000.0, -0.037, True)]
    """
    named = name_schedules("decay_table", schedules)
    places = as_distances("decay_table", distances, "distances").reshape(-1)
    floor = None if n_frequencies is None else noise_floor(n_frequencies)
    rows = []
    for name, plan in named.items():
        exact = decay(places, plan).tolist()
        finite: list[Any] = [None] * len(exact)
        if n_frequencies is not None:
            finite = decay(places, plan, n_frequencies, convention).tolist()
        zero = first_zero(plan)
        rows += [
            DecayRow(name, x, e, f, floor, zero)
            for x, e, f in zip(places.tolist(), exact, finite, strict=True)
        ]
    return rows


def name_schedules(
    caller: str, schedules: Schedule | Sequence[Schedule] | Mapping[str, Schedule]
) -> dict[str, Schedule]:
    """Return schedules by name, refusing what is none."""
    several: Any = [schedules] if isinstance(schedules, Schedule) else schedules
    if isinstance(several, str) or not isinstance(several, Iterable):
        raise ArgumentError(f"{caller}: schedules must be one or more; got {schedules!r}")
    pairs = (
        list(several.items())
        if isinstance(several, Mapping)
        else [(repr(each), each) for each in several]
    )
    named = {str(name): as_schedule(caller, each) for name, each in pairs}
    if not named or len(named) < len(pairs):
        raise ArgumentError(
            f"{caller}: schedules must be one or more, no two alike; got {schedules!r}"
        )
    return named
