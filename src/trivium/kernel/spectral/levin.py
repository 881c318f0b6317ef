"""The integral of exp(i r θ(t)) over t, at a cost that does not grow with r."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

__all__: list[str] = []

_NODES = 16
_SLOW = 6.0  # radians over a panel, up to which plain quadrature is exact
_GRADE = 40  # the ends are cut where 2⁻⁴⁰ of the mass is left
_STILL = 1e-9
_STEEP = 8.0  # a panel over which θ' changes more is halved
_ROUNDS = 6
_BATCH = 4096


def fourier_integral(
    quantile: Callable[[Tensor], Tensor], r: Float[Tensor, "..."]
) -> Complex[Tensor, "..."]:
    r"""Return $\int_0^1 e^{i r \theta(t)}\,dt$ for a θ that is smooth and monotone inside (0, 1).

    Panels shrink by halves towards both ends, where θ may have a root or a pole. On a panel with
    few turns Clenshaw-Curtis quadrature is used, on one with many Levin's: find a p without
    turns with p' + i r θ' p = 1, then the integral is p exp(i r θ) between the ends.

    Cost:
        O(1) per distance: about 80 systems of 16 unknowns, more for a steep θ.

    Source:
        Levin, Procedures for computing one- and two-dimensional integrals of functions with rapid
        irregular oscillations, Mathematics of Computation 38 (1982).
    """
    slopes, weights, _ = _chebyshev()
    flat = r.reshape(-1).cpu()
    half, theta = _panels(quantile, float(flat.detach().abs().max()) if len(flat) else 0.0)
    ends = torch.stack((theta[0, 0], theta[-1, -1]))
    total = 2.0**-_GRADE * torch.exp(1j * flat[:, None] * ends).sum(1)
    turns = flat.abs()[:, None] * (theta[:, -1] - theta[:, 0]).abs()
    for which in (turns <= _SLOW).nonzero().split(_BATCH):
        at, panel = which.unbind(1)
        values = torch.exp(1j * flat[at, None] * theta[panel])
        total.index_add_(0, at, (values * weights).sum(1) * half[panel])
    for which in (turns > _SLOW).nonzero().split(_BATCH):
        at, panel = which.unbind(1)
        rate = theta[panel] @ slopes.mT
        system = slopes.to(torch.complex128) + torch.diag_embed(1j * flat[at, None] * rate)
        found = torch.linalg.solve(system, half[panel, None].to(torch.complex128).expand_as(rate))
        first = found[:, 0] * torch.exp(1j * flat[at] * theta[panel, 0])
        last = found[:, -1] * torch.exp(1j * flat[at] * theta[panel, -1])
        total.index_add_(0, at, last - first)
    return total.reshape(r.shape).to(r.device)


def _panels(quantile: Callable[[Tensor], Tensor], far: float) -> tuple[Tensor, Tensor]:
    """Return half widths and θ at the nodes of panels on which θ' changes little."""
    slopes, _, nodes = _chebyshev()
    low = torch.arange(-_GRADE, 0, dtype=torch.float64).exp2()
    edges = torch.cat((low, 1 - low[:-1].flip(0)))
    for rounds in range(_ROUNDS + 1):
        half = (edges[1:] - edges[:-1]) / 2
        theta = quantile(edges[:-1, None] + half[:, None] * (nodes + 1))
        rate = (theta @ slopes.mT).abs()
        moves = far * (theta[:, -1] - theta[:, 0]).abs() > _STILL
        steep = moves & (rate.amax(1) > _STEEP * rate.amin(1))
        if rounds == _ROUNDS or not bool(steep.any()):
            break
        edges = torch.cat((edges, (edges[:-1] + half)[steep])).sort().values
    return half, theta


@lru_cache(maxsize=1)
def _chebyshev() -> tuple[Tensor, Tensor, Tensor]:
    """Return differentiation matrix, quadrature weights and nodes on [−1, 1]."""
    n = _NODES - 1
    nodes = -np.cos(np.pi * np.arange(_NODES) / n)
    sides = np.ones(_NODES)
    sides[[0, -1]] = 2
    sides *= (-1.0) ** np.arange(_NODES)
    gaps = nodes[:, None] - nodes + np.eye(_NODES)
    slopes = np.outer(sides, 1 / sides) / gaps
    slopes -= np.diag(slopes.sum(1))
    # The weights integrate every polynomial of degree < 16 exactly.
    powers = np.polynomial.legendre.legvander(nodes, n)
    moments = np.zeros(_NODES)
    moments[0] = 2.0
    weights = np.linalg.solve(powers.T, moments)
    return torch.from_numpy(slopes), torch.from_numpy(weights), torch.from_numpy(nodes)
