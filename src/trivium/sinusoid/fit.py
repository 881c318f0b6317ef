"""Frequencies for a wanted decay: by Bochner quantiles, or from a curve."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls
from torch import Tensor

from trivium._core.checks import check_choice, check_number, check_shapes
from trivium._core.errors import ArgumentError, DataError
from trivium.kernel.spectral import Quantiles, Trained
from trivium.kernel.spectral.schedule import as_distances
from trivium.kernel.stationary import Stationary

__all__ = ["FittedDecay", "fit"]

_DICTIONARY = 600
Array = NDArray[np.float64]
_RIDGE = 1e-2
_REACH = 5.0  # lengthscales over which a kernel's error is told


@dataclass(frozen=True, eq=False)
class FittedDecay:
    r"""Frequencies with $\sum_j w_j \cos(x\,\theta_j)$ near a wanted decay.

    Args:
        frequencies: θ, descending, float64.
        weights: w; all alike unless free weights were asked for. A code scales its pair j by √w.
        distances: Where the fit was made or judged.
        target: The wanted decay there.
    """

    frequencies: Float[Tensor, " f"]
    weights: Float[Tensor, " f"]
    distances: Float[Tensor, " n"]
    target: Float[Tensor, " n"]

    @property
    def error(self) -> float:
        """The largest error over `distances`."""
        return float((self.decay(self.distances) - self.target).abs().max())

    @property
    def rms_error(self) -> float:
        """The root mean square of the error over `distances`."""
        return float((self.decay(self.distances) - self.target).square().mean().sqrt())

    def decay(self, x: Any) -> Float[Tensor, "..."]:
        """Return the decay that was reached, at any distances.

        Raises:
            ArgumentError: Complex distances.
            DataError: A distance is not finite.
        """
        places = as_distances("FittedDecay.decay", x, "x")
        return (places[..., None] * self.frequencies).cos() @ self.weights

    def schedule(self, trainable: bool = False) -> Trained:
        """Return the frequencies as a schedule, for a position encoding.

        Raises:
            ArgumentError: The weights differ: a schedule has none.
        """
        if bool((self.weights - self.weights[0]).abs().max() > 1e-12):
            raise ArgumentError("FittedDecay.schedule: weights must be equal; got free weights")
        return Trained(self.frequencies, trainable)


def fit(
    target: Stationary | Tensor | Callable[[Tensor], Tensor],
    n_frequencies: int,
    distances: Any = None,
    weights: str = "equal",
) -> FittedDecay:
    r"""Return frequencies whose mean cosine is a wanted decay.

    A kernel with closed spectral quantiles gives them at midpoints (Bochner). Any other curve:
    non-negative least squares over a grid of cosines finds a spectrum, its midpoint quantiles are
    the first frequencies, and Gauss-Newton steps move them, and free weights, to the least squares.

    Args:
        target: A stationary kernel with a number for its lengthscale; values at `distances`; or a
            function of distances.
        n_frequencies: How many, half the width of the code.
        distances: Where the decay is wanted; needed for values and functions. With a kernel they
            send it through the second way, which is closer at these distances.
        weights: `"equal"`, what a position encoding has, or `"free"`, not negative.

    Raises:
        ArgumentError: An argument breaks its rule, or `distances` are missing.
        ShapeError: Distances and values without one common axis.
        DataError: A value is not finite, or the curve has no positive part to fit.

    Cost:
        O(f) for quantiles; else O(n m²) for a dictionary of m = 600 cosines, then O(n f²) a step.

    Example:
        >>> from trivium.kernel import Gaussian
        >>> fit(Gaussian(8.0), 32).error < 0.014
        True
        >>> x = torch.linspace(0, 60, 200, dtype=torch.float64)
        >>> fit(lambda x: 1 / (1 + (x / 10) ** 2), 32, x, weights="free").error < 0.002
        True

    Source:
        Rahimi and Recht, Random Features for Large-Scale Kernel Machines (2007), theorem 1.
    """
    n = int(check_number("fit", "n_frequencies", n_frequencies, "positive", integer=True))
    check_choice("fit", "weights", weights, ("equal", "free"))
    if distances is None and isinstance(target, Stationary) and weights == "equal":
        theta = Quantiles(target).frequencies(n, "midpoint").flip(0)
        x = torch.linspace(0, _REACH * target._number(), 1001, dtype=torch.float64)
        wanted = target.of_differences(x.clone())
        return FittedDecay(theta, torch.full_like(theta, 1 / n), x, wanted)
    places, values = _curve(target, distances)
    starts = _starts(places, values, n, lumps=weights == "free")
    if n <= len(places):
        starts = [_refine(places, values, *start, free=weights == "free") for start in starts]
    found, mass = min(starts, key=lambda start: _cost(places, values, *start))
    order = np.argsort(-found)
    return FittedDecay(
        torch.from_numpy(found[order]),
        torch.from_numpy(mass[order]),
        torch.from_numpy(places),
        torch.from_numpy(values),
    )


def _curve(target: Any, distances: Any) -> tuple[Array, Array]:
    """Return distances and the wanted values there."""
    if distances is None:
        raise ArgumentError(
            "fit: distances must be given for values, functions and free weights; got None"
        )
    x = as_distances("fit", distances, "distances")
    if isinstance(target, Stationary):
        y = target.of_differences(x.clone())
    elif isinstance(target, Tensor):
        y = as_distances("fit", target, "target")
    elif callable(target):
        y = as_distances("fit", target(x), "target")
    else:
        raise ArgumentError(
            f"fit: target must be a stationary kernel, values or a function; got {target!r}"
        )
    size = check_shapes("fit", {"distances": (x, "n"), "target": (y, "n")})["n"]
    if size < 2 or float(x.abs().max()) == 0:
        raise DataError("fit: distances must be two or more, not all zero; got too few")
    return x.detach().abs().cpu().numpy(), y.detach().cpu().numpy()


def _importance(x: Array) -> Array:
    """Return row weights: distance zero, which fixes the mass, counts as much as all the others."""
    return np.where(x == 0, np.sqrt(len(x)), 1.0)


def _cost(x: Array, y: Array, theta: Array, weights: Array) -> float:
    left = _importance(x) * (np.cos(np.outer(x, theta)) @ weights - y)
    return float(np.square(left).sum())


def _starts(x: Array, y: Array, n: int, *, lumps: bool) -> list[tuple[Array, Array]]:
    """Return first frequencies and weights: quantiles of a spectrum, and its n largest lumps."""
    cells, mass = _spectrum(x, y)
    total = float(mass.sum())
    if total <= 0:
        raise DataError("fit: target must have a positive part that cosines explain; got none")
    below = np.concatenate(([0.0], np.cumsum(mass) / total))
    shares = (np.arange(n) + 0.5) / n
    place = np.clip(np.searchsorted(below, shares) - 1, 0, len(mass) - 1)
    part = (shares - below[place]) / np.maximum(below[place + 1] - below[place], 1e-300)
    even = cells[place] + np.clip(part, 0, 1) * (cells[place + 1] - cells[place])
    starts = [(even, np.full(n, total / n))]
    if lumps:
        lump = np.cumsum(np.diff(mass > 0, prepend=False)) * (mass > 0)
        sizes = np.bincount(lump, mass)
        middles = np.bincount(lump, mass * (cells[1:] + cells[:-1]) / 2)
        most = np.argsort(-sizes)[:n]
        most = most[sizes[most] > 0]
        theta, weights = even.copy(), np.full(n, 1e-3 * total / n)
        theta[: len(most)] = middles[most] / sizes[most]
        weights[: len(most)] = sizes[most]
        starts.append((theta, weights))
    return starts


def _spectrum(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the edges of cells of frequencies, and the mass in each that explains the curve."""
    ordered = np.unique(x)
    fastest = np.pi / np.diff(ordered).min() if len(ordered) > 1 else np.pi / ordered[0]
    slowest = np.pi / (16 * ordered[-1])
    logs = np.geomspace(slowest, max(fastest, 2 * slowest), _DICTIONARY // 2)
    grid = np.unique(np.concatenate(([0.0], logs, np.linspace(0, logs[-1], _DICTIONARY // 2))))
    rows = _importance(x)
    # A small ridge spreads the mass over neighbors and bounds the iterations.
    ridge = _RIDGE * np.sqrt(len(x)) * np.eye(len(grid))
    waves = np.vstack((np.cos(np.outer(x, grid)) * rows[:, None], ridge))
    mass, _ = nnls(waves, np.concatenate((y * rows, np.zeros(len(grid)))), maxiter=30 * len(grid))
    # An atom fills the cell around it, so that one atom gives frequencies that differ.
    return np.concatenate(([0.0], (grid[1:] + grid[:-1]) / 2, grid[-1:])), mass


def _refine(x: Array, y: Array, theta: Array, weights: Array, *, free: bool) -> tuple[Array, Array]:
    """Move frequencies, and amplitude or weights, to a least-squares minimum nearby."""
    n, rows = len(theta), _importance(x)
    scale = 1 / x.max()  # so that a unit step of every unknown means something

    def split(z: Array) -> tuple[Array, Array]:
        return z[:n] * scale, z[n:] ** 2 if free else np.full(n, z[n] ** 2 / n)

    def residual(z: Array) -> Array:
        at, w = split(z)
        return rows * (np.cos(np.outer(x, at)) @ w - y)

    def slope(z: Array) -> Array:
        at, w = split(z)
        angles = np.outer(x, at)
        waves = np.cos(angles) * w
        moved = -np.sin(angles) * x[:, None] * w * scale
        waves *= 2 / np.where(z[n:] == 0, 1.0, z[n:])  # of the squares of roots
        return rows[:, None] * np.hstack((moved, waves if free else waves.sum(1, keepdims=True)))

    roots = np.sqrt(weights if free else [weights.sum()])
    start = np.concatenate((theta / scale, roots))
    found = least_squares(residual, start, slope, method="trf", x_scale="jac", max_nfev=200)
    best = found.x if found.cost <= 0.5 * np.sum(residual(start) ** 2) else start
    at, w = split(best)
    return np.abs(at), w
