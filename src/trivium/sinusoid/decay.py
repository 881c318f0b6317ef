"""What a schedule of frequencies does to distance: exact, of a finite code, and where it stops."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral import Geometric, Schedule, cos_sin
from trivium.kernel.spectral.schedule import as_distances

__all__ = ["decay", "envelope", "first_zero", "logarithmic_law", "noise_floor"]

_EULER = 0.5772156649015329
_RATIO = 1.01  # between the distances at which a sign is looked for
_CLOSE = 2**20  # most steps of 1/16 turn of the fastest frequency
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
    plan = as_schedule("decay", schedule)
    places = as_distances("decay", x, "x")
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

    For a geometric schedule that is near 0.6165 B. Signs are looked at in steps of 1 % until one
    is negative, then again from zero in steps of 1/16 turn of the fastest frequency.

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
    plan = as_schedule("first_zero", schedule)
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
            return _refine(at, float(part[int(found[0])]), fastest)
    return None


def _refine(at: Any, high: float, fastest: float) -> float:
    """Return the first crossing up to `high`, by looking closely and then by halving."""
    step = math.pi / (8 * fastest)
    # The wave of the fastest frequencies may cross earlier than a coarse look finds.
    low = max(0.0, high - _CLOSE * step)
    grid = torch.linspace(low, high, math.ceil((high - low) / step) + 1, dtype=torch.float64)
    low, first = float(grid[0]), high
    for part in grid.split(_CHUNK):
        below = (at(part).detach() < 0).nonzero()
        if len(below):
            first = float(part[int(below[0])])
            low = max(low, first - (high - float(grid[0])) / (len(grid) - 1))
            break
    for _ in range(60):
        middle = (low + first) / 2
        low, first = (low, middle) if float(at(middle).detach()) < 0 else (middle, first)
    return first


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


def as_schedule(caller: str, schedule: Schedule | None) -> Schedule:
    """Return a schedule, the default for none, refusing what is no schedule."""
    if schedule is None:
        return Geometric()
    if not isinstance(schedule, Schedule):
        raise ArgumentError(
            f"{caller}: schedule must be a Schedule; got {schedule!r}",
            remedy="Geometric(10_000) is the Transformer's.",
        )
    return schedule


def _positive(caller: str, x: Any) -> Tensor:
    places = as_distances(caller, x, "x")
    if bool((places <= 0).any()):
        raise ArgumentError(f"{caller}: x must be positive; got {float(places.min())}")
    return places
