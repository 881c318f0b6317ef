"""Schedules from a spectral density: of a kernel, of a function, or of samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from trivium._core.checks import check_finite, check_number, check_shapes
from trivium._core.errors import ArgumentError, DataError
from trivium.kernel.gaussian import Gaussian
from trivium.kernel.spectral.schedule import Schedule
from trivium.kernel.spectral.slope import sinc
from trivium.kernel.stationary import Stationary

__all__ = ["Quantiles"]

_PANELS = 1024
_NODES = 16
_NEWTON = 40
_ROWS = 512
_REACH = 40.0  # of u in the Hilbert transform; the integrand falls as exp(−u)


@dataclass(frozen=True, eq=False)
class Quantiles(Schedule):
    r"""The quantiles of a spectral density: frequencies for the decay that one wants.

    Args:
        source: Where the density comes from:
            a stationary kernel with a number for its lengthscale (Gaussian, Laplace, Matern,
            RationalQuadratic up to α = 30), whose real κ then *is* that kernel on the line;
            a density, a function of float64 frequencies in `support`, not necessarily normalized;
            or samples, a tensor of frequencies, between whose order statistics θ is linear.
        support: Lowest and highest frequency of a density; needed for one, refused otherwise.

    Raises:
        ArgumentError: Not one of the three, a kernel without quantiles or without a number for its
            lengthscale, or a support that is not two ascending numbers, or missing.
        ShapeError: Samples without one axis.
        DataError: Fewer than two samples, or a density that is negative, not finite or zero.

    Cost:
        O(f) for n frequencies; κ takes O(640 n) values of a kernel, O(1) panels of a density or
        O(n m) for m samples.

    Example:
        >>> Quantiles(Gaussian(1.0)).frequencies(3, "midpoint")
        tensor([0.2104, 0.6745, 1.3830], dtype=torch.float64)
        >>> Quantiles(lambda w: w, support=(0.0, 2.0)).frequencies(2, "midpoint")
        tensor([1.0000, 1.7321], dtype=torch.float64)

    Source:
        Rahimi and Recht, Random Features for Large-Scale Kernel Machines (2007), theorem 1.
    """

    source: Any
    support: tuple[float, float] | None = None
    _table: "_Table | None" = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        density = callable(self.source) and not isinstance(self.source, Stationary)
        if not density and self.support is not None:
            raise ArgumentError(f"Quantiles: support is for a density; got {self.source!r}")
        if isinstance(self.source, Stationary):
            self.source.spectral_quantiles(torch.zeros(1, dtype=torch.float64))
        elif isinstance(self.source, Tensor):
            check_shapes("Quantiles", {"source": (self.source, "n")})
            check_finite("Quantiles", "source", self.source)
            if len(self.source) < 2:
                raise DataError(f"Quantiles: source must have two samples; got {self.source!r}")
            kept = self.source.detach().double().cpu().sort().values
            object.__setattr__(self, "source", kept)
        elif density:
            object.__setattr__(self, "_table", _Table.of(self.source, self.support))
        else:
            raise ArgumentError(
                "Quantiles: source must be a stationary kernel, a density or a tensor of samples; "
                f"got {self.source!r}"
            )

    @classmethod
    def examples(cls) -> Sequence["Quantiles"]:
        """Return a few small instances."""
        from trivium.kernel.laplace import Laplace
        from trivium.kernel.matern import Matern
        from trivium.kernel.rational_quadratic import RationalQuadratic

        return (
            cls(Gaussian(0.5)),
            cls(RationalQuadratic(1.0, alpha=1.5)),
            cls(Laplace(2.0)),
            cls(Matern(1.0, nu=2.5)),
            cls(torch.tensor([0.1, 0.4, 0.5, 1.0], dtype=torch.float64)),
            cls(lambda w: torch.exp(-w), support=(0.0, 30.0)),
        )

    def quantile(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the frequency below which the share t of the density lies."""
        if isinstance(self.source, Stationary):
            return self.source.spectral_quantiles(t)
        if self._table is not None:
            return self._table.quantile(t)
        place = t * (len(self.source) - 1)
        left = place.floor().long().clamp(0, len(self.source) - 2)
        return torch.lerp(self.source[left], self.source[left + 1], place - left)

    def _cosines(self, r: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if isinstance(self.source, Stationary):
            return self.source.of_differences(r.clone())
        return self._kernel(r).real

    def _kernel(self, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
        if isinstance(self.source, Stationary):
            return _of_kernel(self.source, r)
        if self._table is not None:
            return super()._kernel(r)
        middle = (self.source[1:] + self.source[:-1]).to(r.device) / 2
        width = self.source.diff().to(r.device) / 2
        flat = r.reshape(-1, 1)
        size = sinc(flat * width) / len(width)
        parts = [(size * turn).sum(1) for turn in ((flat * middle).cos(), (flat * middle).sin())]
        return torch.complex(*parts).reshape(r.shape)


def _of_kernel(kernel: Stationary, r: Tensor) -> Tensor:
    r"""Return the kernel and i times its Hilbert transform.

    The one-sided spectrum makes κ analytic, so its imaginary part at r > 0 is
    $\frac1\pi \int_0^\infty \frac{k(r e^{-u}) - k(r e^u)}{\sinh u}\,du$.
    """
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(0.0, _REACH, 41)
    half = (edges[1] - edges[0]) / 2
    u = torch.from_numpy((edges[:-1, None] + half * (points + 1)).reshape(-1))
    w = torch.from_numpy(np.tile(weights * half, len(edges) - 1)) / (torch.pi * torch.sinh(u))
    u, w = u.to(r.device), w.to(r.device)
    parts = []
    for size in r.abs().reshape(-1, 1).split(_ROWS):
        near = kernel.of_differences(size * torch.exp(-u))
        parts.append((near - kernel.of_differences(size * torch.exp(u))) @ w)
    imaginary = torch.cat(parts).reshape(r.shape) * r.sign()
    return torch.complex(kernel.of_differences(r.clone()), imaginary)


@dataclass(frozen=True, eq=False)
class _Table:
    """The distribution function of a density at the edges of panels."""

    density: Callable[[Tensor], Tensor]
    edges: Float[Tensor, " e"]
    below: Float[Tensor, " e"]
    total: float

    @classmethod
    def of(cls, density: Callable[[Tensor], Tensor], support: Any) -> "_Table":
        ends = support if isinstance(support, tuple | list) and len(support) == 2 else None
        if ends is None:
            raise ArgumentError(
                f"Quantiles: support must be (lowest, highest) frequency; got {support!r}",
                remedy="Give the ends between which all but a negligible share of it lies.",
            )
        low, high = (float(check_number("Quantiles", "support", end)) for end in ends)
        if low >= high:
            raise ArgumentError(f"Quantiles: support must ascend; got {support!r}")
        edges = torch.linspace(low, high, _PANELS + 1, dtype=torch.float64)
        mass = _gauss(density, edges[:-1], edges[1:])
        total = float(mass.sum())
        if not bool((mass >= 0).all()) or not 0 < total < float("inf"):
            raise DataError(
                "Quantiles: source must be a density, not negative and with a finite positive "
                f"integral; got {total:g} over {support!r}"
            )
        below = torch.cat((mass.new_zeros(1), mass.cumsum(0) / total))
        return cls(density, edges, below, total)

    def quantile(self, t: Tensor) -> Tensor:
        """Solve F(ω) = t inside its panel by Newton's steps, halving where they leave it."""
        flat = t.reshape(-1)
        panel = (torch.searchsorted(self.below, flat, right=True) - 1).clamp(0, _PANELS - 1)
        first, wanted = self.edges[panel], flat - self.below[panel]
        low, high = first.clone(), self.edges[panel + 1].clone()
        share = wanted / (self.below[panel + 1] - self.below[panel]).clamp_min(1e-300)
        at = torch.lerp(low, high, share.clamp(0, 1))
        for _ in range(_NEWTON):
            gap = _gauss(self.density, first, at) / self.total - wanted
            low, high = torch.where(gap < 0, at, low), torch.where(gap < 0, high, at)
            step = at - gap * self.total / self.density(at).double()
            inside = (step >= low) & (step <= high)
            moved = torch.where(inside, step, (low + high) / 2)
            if bool(((moved - at).abs() <= 1e-15 * (1 + at.abs())).all()):
                break
            at = moved
        return at.reshape(t.shape)


def _gauss(density: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    points, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(_NODES))
    half = (high - low)[:, None] / 2
    return (density(low[:, None] + half * (points + 1)).double() * weights * half).sum(1)
