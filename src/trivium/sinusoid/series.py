"""Frequencies that explain values against time: sinusoids for dates."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

from trivium._core.checks import check_choice, check_finite, check_number, check_shapes
from trivium._core.errors import ArgumentError, DataError
from trivium._core.random import RandomState, numpy_generator
from trivium.kernel.spectral import cos_sin
from trivium.sinusoid.periodogram import Periodogram

__all__ = ["FittedSeries", "fit_series"]

_LEAST = 8  # times
_CYCLES = 2048  # most cycles over the span that are searched by default
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FittedSeries:
    """Sinusoids that were found in a series, strongest first, and how sure each is.

    Args:
        frequencies: Angular, radians per unit of time.
        p_values: Of each when it was found: the share of random orders of what was left over whose
            best frequency explains as much.
        explained: Share of the variance about the trend that all of them explain together.
        coefficients: Of the constant, the slope if there is one, then of cosine and sine of each.
        origin: Time at which the angles are zero, and the trend's middle.
        next_p_value: Of the first frequency that was not taken; `None` when all asked for were.
    """

    frequencies: Float[Tensor, " f"]
    p_values: tuple[float, ...]
    explained: float
    coefficients: Float[Tensor, "k c"]
    origin: float
    next_p_value: float | None

    @property
    def periods(self) -> Float[Tensor, " f"]:
        """2π over the frequencies, in units of time."""
        return 2 * torch.pi / self.frequencies

    def features(self, times: Any) -> Float[Tensor, "n g"]:
        """Return cosine and sine of each frequency at any times: columns c₁, s₁, c₂, s₂, ...

        Raises:
            ArgumentError: Not numbers.
            DataError: A time is not finite.
        """
        places = _numbers("FittedSeries.features", "times", times)
        pairs = cos_sin(places.reshape(-1) - self.origin, self.frequencies, torch.float64)
        return torch.stack(pairs, -1).flatten(1)

    def predict(self, times: Any) -> Float[Tensor, "n c"]:
        """Return the fitted trend and sinusoids at any times.

        Raises:
            ArgumentError: Not numbers.
            DataError: A time is not finite.
        """
        waves = self.features(times)
        places = _numbers("FittedSeries.predict", "times", times).reshape(-1) - self.origin
        base = torch.stack((torch.ones_like(places), places), 1)
        used = len(self.coefficients) - waves.shape[1]
        return torch.cat((base[:, :used], waves), 1) @ self.coefficients


def fit_series(
    times: Any,
    values: Any,
    n_frequencies: int = 4,
    *,
    false_alarm: float = 0.01,
    max_frequency: float | None = None,
    trend: str = "linear",
    n_permutations: int = 199,
    random_state: RandomState = 0,
) -> FittedSeries:
    r"""Find the sinusoids that explain values at regular or irregular times.

    Orthogonal matching pursuit: the highest peak of the Lomb-Scargle periodogram of what is left
    over joins; all frequencies then move together to the least squares, between the grid's points.
    A peak that random orders of the leftovers reach too often ends the search.

    Args:
        times: (n,) numbers in any order, repeated or not.
        values: (n,) or (n, c); columns, such as the classes of a label, share the frequencies.
        n_frequencies: The most to find.
        false_alarm: Probability that values in random order, which have no time structure, yield
            any frequency. Values that drift or cluster in time are not in random order: there
            slow frequencies are found at a higher rate, and rightly so.
        max_frequency: Highest angular frequency; by default half a cycle for each distinct time on
            average, and at most 2,048 cycles over the span.
        trend: `"linear"` or `"constant"`, fitted along.
        n_permutations: Most random orders per step; the least p-value is one over them plus one. A
            step that cannot pass any more ends early.
        random_state: Seed of the orders.

    Raises:
        ArgumentError: An argument breaks its rule, or too few permutations for `false_alarm`.
        ShapeError: Times and values without one common axis.
        DataError: A number is not finite, fewer than 8 distinct times, or constant values.

    Cost:
        O(b (n + g log g)) a frequency for b orders and g cells, 64 for each cycle over the span.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> days = 730 * torch.rand(400, generator=g, dtype=torch.float64)
        >>> sales = (2 * torch.pi * days / 7).cos() + 0.5 * torch.randn(400, generator=g)
        >>> found = fit_series(days, sales)
        >>> len(found.periods), round(found.periods[0].item(), 2)
        (1, 7.0)

    Source:
        Zechmeister and Kürster, A&A 496 (2009), for the periodogram; Pati, Rezaiifar and
        Krishnaprasad, Orthogonal Matching Pursuit (1993).
    """
    caller = "fit_series"
    t, y = _series(times, values)
    most = int(check_number(caller, "n_frequencies", n_frequencies, "positive", integer=True))
    alarm = float(check_number(caller, "false_alarm", false_alarm, "in (0, 1)"))
    orders = int(check_number(caller, "n_permutations", n_permutations, "positive", integer=True))
    check_choice(caller, "trend", trend, ("linear", "constant"))
    if 1 / (orders + 1) > alarm:
        raise ArgumentError(
            f"{caller}: n_permutations must be at least 1/false_alarm - 1, "
            f"{int(np.ceil(1 / alarm - 1))}; got {orders}"
        )
    origin, span = float((t.max() + t.min()) / 2), float(np.ptp(t))
    cycles = min(len(np.unique(t)) / 2, _CYCLES)
    top = 2 * np.pi * cycles / span
    if max_frequency is not None:
        top = float(check_number(caller, "max_frequency", max_frequency, "positive"))
    grid = Periodogram(t, top)
    generator = numpy_generator(random_state, caller)
    x = (t - origin) / span
    base = np.vander(x, 2 if trend == "linear" else 1, increasing=True)
    theta, p_values, refused = np.empty(0), [], None
    rest, solved = _project(base, x, theta, y)
    still = float(np.square(rest).sum())
    while len(theta) < min(most, (len(x) - base.shape[1]) // 4):
        power = grid.power(rest[:, None])[:, 0]
        p = grid.chance(rest, float(power.max()), alarm, orders, generator)
        if p > alarm:
            refused = p
            break
        p_values.append(p)
        theta = _move(base, x, np.append(theta, grid.frequencies[power.argmax()] * span), y)
        rest, solved = _project(base, x, theta, y)
    if trend == "linear":
        solved[1] /= span
    return FittedSeries(
        torch.from_numpy(theta / span),
        tuple(p_values),
        1 - float(np.square(rest).sum()) / still,
        torch.from_numpy(solved),
        origin,
        refused,
    )


def _numbers(caller: str, name: str, value: Any) -> Float[Tensor, "..."]:
    try:
        found = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{caller}: {name} must be numbers; got {type(value).__name__}",
            remedy="Turn dates into days since some day first.",
        ) from error
    if found.is_complex():
        raise ArgumentError(f"{caller}: {name} must be real; got {found.dtype}")
    found = found.detach().double().cpu()
    check_finite(caller, name, found)
    return found


def _series(times: Any, values: Any) -> tuple[Array, Array]:
    t, y = _numbers("fit_series", "times", times), _numbers("fit_series", "values", values)
    y = y[:, None] if y.ndim == 1 else y
    check_shapes("fit_series", {"times": (t, "n"), "values": (y, "n c")})
    if len(t.unique()) < _LEAST:
        raise DataError(
            f"fit_series: times must have {_LEAST} distinct ones; got {len(t.unique())}"
        )
    if bool((y == y[0]).all()):
        raise DataError("fit_series: values must vary; got a constant")
    return t.numpy(), y.numpy()


def _columns(base: Array, x: Array, theta: Array) -> Array:
    angles = np.outer(x, theta)
    waves = np.stack((np.cos(angles), np.sin(angles)), 2).reshape(len(x), -1)
    return np.hstack((base, waves))


def _project(base: Array, x: Array, theta: Array, y: Array) -> tuple[Array, Array]:
    """Return what trend and sinusoids leave over, and their coefficients."""
    columns = _columns(base, x, theta)
    solved = np.linalg.lstsq(columns, y, rcond=1e-10)[0].astype(np.float64)
    return y - columns @ solved, solved


def _move(base: Array, x: Array, theta: Array, y: Array) -> Array:
    """Move the frequencies to the least squares near them, each within one cycle over the span."""

    def left(z: Array) -> Array:
        return _project(base, x, z, y)[0].ravel()

    def slope(z: Array) -> Array:
        # Kaufman's form of the variable projection: the waves' own slope, without what the columns
        # explain of it.
        columns = _columns(base, x, z)
        basis = np.linalg.qr(columns)[0]
        solved = np.linalg.lstsq(columns, y, rcond=1e-10)[0][base.shape[1] :]
        angles = np.outer(x, z)
        found = []
        for j in range(len(z)):
            turned = np.outer(-x * np.sin(angles[:, j]), solved[2 * j])
            turned += np.outer(x * np.cos(angles[:, j]), solved[2 * j + 1])
            found.append(-(turned - basis @ (basis.T @ turned)).ravel())
        return np.stack(found, 1)

    low, high = np.maximum(theta - np.pi, 0.1), theta + np.pi
    found = least_squares(left, theta, slope, bounds=(low, high), x_scale=1.0, max_nfev=50)
    return found.x if found.cost <= 0.5 * np.square(left(theta)).sum() else theta
