"""Dates as features: the day itself, the day of the year, the weekday, the time of day."""

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import ive
from torch import Tensor

from trivium.dependence.number_features import NumberColumns, number_features

__all__ = ["date_features", "periodic_features"]

YEAR = 365.2425
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


def date_features(
    days: Float[np.ndarray, " n"],
) -> tuple[Float[Tensor, "r n"], str, float]:
    """Average of the kernels of a date's parts, leaving out parts that do not vary.

    The parts: a Gaussian on the day with the median distance as lengthscale, a periodic kernel
    on the day of the year, the weekday as a level, a periodic kernel on the time of day.

    Args:
        days: Days since 1970-01-01, with a fraction for the time; NaN for missing.

    Returns:
        Features, the kernel in words, and the share of the trace left out.
    """
    line, names, residual = number_features(NumberColumns(torch.from_numpy(days)[None]))
    seen = np.isfinite(days)
    whole = np.floor(np.where(seen, days, 0.0))
    time = np.where(seen, days, 0.0) - whole
    weekday = ((whole.astype(np.int64) + _EPOCH_WEEKDAY) % 7).astype(np.float64)
    parts, words = [line[0]], [f"day {names[0]}"]
    if np.ptp(whole[seen]) >= YEAR / 12 if seen.any() else False:
        parts.append(periodic_features(whole / YEAR))
        words.append("day of year Periodic")
    if len(np.unique(weekday[seen])) > 1:
        parts.append(torch.from_numpy((weekday == np.arange(7.0)[:, None]).astype(np.float64)))
        words.append("weekday Delta")
    if len(np.unique(time[seen])) > 1:
        parts.append(periodic_features(time))
        words.append("time of day Periodic")
    mask = torch.from_numpy(seen)
    parts[1:] = [part * mask for part in parts[1:]]
    features = torch.cat(parts) * len(parts) ** -0.5
    return features, " + ".join(words), float(residual[0]) / len(parts)


def periodic_features(
    cycles: Float[np.ndarray, " n"], lengthscale: float = 0.5, tol: float = 1e-12
) -> Float[Tensor, "r n"]:
    r"""Features of the periodic kernel, exact to `tol`.

    $k(u, v) = \exp(-2 \sin^2(\pi (u - v)) / \ell^2) = \sum_m c_m \cos 2 \pi m (u - v)$ with
    $c_0 = e^{-z} I_0(z)$, $c_m = 2 e^{-z} I_m(z)$, $z = \ell^{-2}$.

    Args:
        cycles: Position in units of the period.
        lengthscale: In radians of the circle, about.
        tol: Coefficients below this are left out.

    Example:
        >>> import numpy as np
        >>> f = periodic_features(np.array([0.0, 0.5, 1.0]))
        >>> bool(abs(f[:, 0] @ f[:, 2] - 1) < 1e-10)
        True

    Source: MacKay, Introduction to Gaussian processes (1998); Abramowitz and Stegun 9.6.34.
    """
    z = lengthscale**-2
    order = 0
    while ive(order, z) > tol / 2:
        order += 1
    rows = [np.full(len(cycles), math.sqrt(ive(0, z)))]
    turn = 2 * np.pi * np.mod(cycles, 1.0)
    for m in range(1, order):
        weight = math.sqrt(2 * ive(m, z))
        rows += [weight * np.cos(m * turn), weight * np.sin(m * turn)]
    return torch.from_numpy(np.stack(rows))
