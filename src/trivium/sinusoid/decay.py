"""What a schedule of frequencies does to distance: exact, of a finite code, and where it stops."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral import Geometric, Schedule, cos_sin
from trivium.kernel.spectral.schedule import as_distances

__all__ = [
    "DecayRow",
    "decay",
    "decay_table",
    "envelope",
    "first_zero",
    "logarithmic_law",
    "noise_floor",
]

_EULER = 0.5772156649015329
_RATIO = 1.01  # between the distances at which a sign is looked for
_CHUNK = 2**14


def decay(
    x: Any,
    schedule: Schedule | None = None,
    n_frequencies: int | None = None,
    convention: str = "left",
) -> Float[Tensor, "..."]:
    r"""Return the mean cosine at distance x, the part of a position code that falls with distance.

    $\mathrm{Re}\,\kappa(x) = \int_0^1 \cos(x\,\theta(t))\,dt$, exact, or of the n frequencies of a
    code $\frac1n \sum_j \cos(x\,\theta_j)$: the inner product of two sinusoidal codes of width 2n
    over n. The sines are the imaginary part of `schedule.kernel(x)`.

    Args:
        x: Distances, a tensor or numbers, of any shape.
        schedule: The frequencies; `Geometric(10_000)` by default.
        n_frequencies: n, half the width of the code; the integral by default.
        convention: As for `Schedule.frequencies`.

    Returns:
        The decay in float64, 1 at distance zero.

    Raises:
        ArgumentError: Not a schedule, complex distances, or a number that breaks its rule.
        DataError: A distance is not finite.

    Cost:
        O(1) per distance, or O(n) for n frequencies.

    Example:
        >>> decay([1, 100, 10_000]).tolist()  # doctest: +ELLIPSIS
        [0.9739..., 0.4367..., -0.0366...]
        >>> decay([1, 100, 10_000], n_frequencies=64).tolist()  # doctest: +ELLIPSIS
        [0.970..., 0.477..., -0.027...]

    Source:
        Su, Transformer upgrade road 1 (2021), section 5, for the finite sum.
    """
    plan = _schedule("decay", schedule)
    places = as_distances("decay", x)
    if n_frequencies is None:
        return plan.cosines(places)
    theta = plan.frequencies(n_frequencies, convention)
    flat = places.reshape(-1)
    parts = [cos_sin(part, theta, torch.float64)[0].mean(-1) for part in flat.split(_CHUNK)]
    return torch.cat(parts).reshape(places.shape) if parts else flat.reshape(places.shape)


def first_zero(
    schedule: Schedule | None = None,
    n_frequencies: int | None = None,
    convention: str = "left",
    limit: float = 1e9,
) -> float | None:
    """Return the smallest distance at which the decay is zero: where decay stops.

    For a geometric schedule that is near 0.6165 B. Signs are looked at in steps of 1 %; the last
    step and the one before are searched again finely.

    Args:
        schedule: As for `decay`.
        n_frequencies: As for `decay`.
        convention: As for `decay`.
        limit: Where the search ends.

    Returns:
        The distance, or `None` when the decay is not negative up to `limit`, as a Gaussian's is.

    Raises:
        ArgumentError: As for `decay`, or a limit that is not a positive number.

    Example:
        >>> round(first_zero() / 10_000, 3)
        0.617
        >>> from trivium.kernel.spectral import Uniform
        >>> round(first_zero(Uniform()), 6)  # of sin x / x
        3.141593
    """
    plan = _schedule("first_zero", schedule)
    end = float(check_number("first_zero", "limit", limit, "positive"))

    def at(x: Tensor) -> Tensor:
        return decay(x, plan, n_frequencies, convention)

    shares = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    fastest = float(plan.quantile(shares).detach().abs().max().clamp_min(1e-30))
    start = min(0.01 / fastest, end)
    steps = math.ceil(math.log(end / start) / math.log(_RATIO)) + 1
    grid = start * _RATIO ** torch.arange(steps, dtype=torch.float64)
    for part in grid.clamp_max(end).split(_CHUNK // 8):
        found = (at(part).detach() < 0).nonzero()
        if len(found):
            high = float(part[int(found[0])])
            return _refine(at, high / _RATIO**2, high, fastest)
    return None


def _refine(at: Any, low: float, high: float, fastest: float) -> float:
    """Return the first crossing in [low, high], by looking closely and then by halving."""
    n = min(2**20, max(64, math.ceil((high - low) * fastest * 8 / math.pi)))
    grid = torch.linspace(low, high, n + 1, dtype=torch.float64)
    sign = torch.cat([at(part).detach() < 0 for part in grid.split(_CHUNK)])
    first = int(sign.nonzero()[0])
    low, high = float(grid[max(0, first - 1)]), float(grid[first])
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if float(at(middle)) < 0 else (middle, high)
    return high


def logarithmic_law(x: Any, base: float = 10_000.0) -> Float[Tensor, "..."]:
    """Return 1 − (γ + ln x)/ln B, which a geometric schedule follows for 1 ≪ x ≪ B.

    Args:
        x: Positive distances.
        base: B.

    Raises:
        ArgumentError: A base that is not above 1, or a distance that is not positive.
        DataError: A distance is not finite.

    Example:
        >>> float(logarithmic_law(100.0) - decay(100.0)) < 0.001
        True
    """
    places = _positive("logarithmic_law", x)
    return 1 - (_EULER + places.log()) / math.log(Geometric(base).base)


def envelope(x: Any, base: float = 10_000.0) -> Float[Tensor, "..."]:
    """Return B/(x ln B), which bounds a geometric schedule's decay beyond its first zero.

    Up to an error of 1/(x ln B), which comes from the fastest frequency.

    Args:
        x: Positive distances.
        base: B.

    Raises:
        ArgumentError: A base that is not above 1, or a distance that is not positive.
        DataError: A distance is not finite.
    """
    places = _positive("envelope", x)
    return Geometric(base).base / (places * math.log(base))


def noise_floor(n_frequencies: int) -> float:
    """Return 1/√d for a code of width d = 2n: the root mean square of n random cosines' mean.

    Below it the decay of a finite code is that of its phases at that distance, not a trend.

    Raises:
        ArgumentError: The number is not a positive whole number.

    Example:
        >>> noise_floor(32)
        0.125
    """
    n = check_number("noise_floor", "n_frequencies", n_frequencies, "positive", integer=True)
    return 1 / math.sqrt(2 * n)


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
        >>> rows = decay_table(Geometric(), [100, 10_000], n_frequencies=64)
        >>> [(row.distance, round(row.exact, 3), row.beyond) for row in rows]
        [(100.0, 0.437, False), (10000.0, -0.037, True)]
    """
    named = name_schedules("decay_table", schedules)
    places = as_distances("decay_table", distances).reshape(-1)
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
    several = [schedules] if isinstance(schedules, Schedule) else schedules
    pairs = (
        list(several.items())
        if isinstance(several, Mapping)
        else [(repr(each), each) for each in several]
    )
    named = {str(name): _schedule(caller, each) for name, each in pairs}
    if not named or len(named) < len(pairs):
        raise ArgumentError(
            f"{caller}: schedules must be one or more, no two alike; got {schedules!r}"
        )
    return named


def _schedule(caller: str, schedule: Schedule | None) -> Schedule:
    if schedule is None:
        return Geometric()
    if not isinstance(schedule, Schedule):
        raise ArgumentError(
            f"{caller}: schedule must be a Schedule; got {schedule!r}",
            remedy="Geometric(10_000) is the Transformer's.",
        )
    return schedule


def _positive(caller: str, x: Any) -> Tensor:
    places = as_distances(caller, x)
    if bool((places <= 0).any()):
        raise ArgumentError(f"{caller}: x must be positive; got {float(places.min())}")
    return places
