"""The within-class scatter in its own eigenbasis: decomposed once, then every ridge is diagonal.

Rows are divided by a power of two (exact, so scales from 1e-300 to 1e300 neither overflow nor
underflow) and centered on the grand mean (so an offset cancels before anything is squared). With
fewer rows than columns the rows are first turned into n coordinates by a QR decomposition, which
keeps every inner product; a d × d matrix is then never formed.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.linalg import eigh_psd
from trivium.moment.products import group_sums, symmetric_product

__all__ = ["Basis", "Spectrum", "power_of_two", "spectrum_of_moments", "spectrum_of_rows"]


@dataclass(frozen=True)
class Basis:
    """Orthonormal directions Q V, never multiplied out: only a few rows are ever turned.

    Args:
        vectors: V.
        lift: Householder reflectors and their factors, which are Q; None for the identity.
    """

    vectors: Float[Tensor, "m r"]
    lift: tuple[Tensor, Tensor] | None = None

    def turn(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        """Coordinates of rows: `rows Q V`."""
        if self.lift is not None:
            rows = torch.ormqr(*self.lift, rows.mT, transpose=True)[: len(self.vectors)].mT
        return rows @ self.vectors

    def back(self, coordinates: Float[Tensor, "c r"]) -> Float[Tensor, "c d"]:
        """Rows that have these coordinates: `coordinates (Q V)ᵀ`."""
        rows = coordinates @ self.vectors.mT
        if self.lift is None:
            return rows
        full = rows.new_zeros(self.lift[0].shape[0], len(rows))
        full[: len(self.vectors)] = rows.mT
        return torch.ormqr(*self.lift, full).mT.contiguous()

    def rotated(self, turn: Float[Tensor, "r r"]) -> "Basis":
        """Return Q V times an orthonormal matrix."""
        return replace(self, vectors=self.vectors @ turn)

    def matrix(self) -> Float[Tensor, "d r"]:
        """Return Q V, multiplied out."""
        return self.back(torch.eye(self.vectors.shape[1], dtype=self.vectors.dtype)).mT


@dataclass(frozen=True)
class Spectrum:
    """Class means and within-class scatter in the eigenbasis of the scatter.

    Everything is in units of `unit`; coordinates are `x / unit - center` turned by `basis`.
    """

    center: Float[Tensor, " d"]
    unit: float
    basis: Basis
    values: Float[Tensor, " r"]
    means: Float[Tensor, "c r"]
    counts: Float[Tensor, " c"]

    @cached_property
    def total(self) -> float:
        """Total weight of the rows."""
        return float(self.counts.sum())

    @cached_property
    def present(self) -> Tensor:
        """Which classes have any row."""
        return self.counts > 0

    @cached_property
    def freedom(self) -> float:
        """Degrees of freedom of the scatter, `n - K`, at least min(n, 1)."""
        return max(self.total - int(self.present.sum()), min(self.total, 1.0))

    @cached_property
    def mean_variance(self) -> float:
        """Average variance of a column within classes; of the class means when that is nothing."""
        d = len(self.center)
        spread = float(((self.means**2) * self.counts[:, None]).sum())
        within = float(self.values.sum())
        if within > 1e-20 * spread:
            return within / (self.freedom * d)
        return spread / (self.total * d) if spread > 0 else 1.0

    def coordinates(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        """Return rows in the eigenbasis."""
        return self.basis.turn(rows / self.unit - self.center)


def power_of_two(largest: float) -> float:
    """Return the power of two just below `largest` (1 for zero)."""
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest > 0 else 1.0


def spectrum_of_rows(
    rows: Float[Tensor, "n d"],
    codes: Int[Tensor, " n"],
    weights: Float[Tensor, " n"],
    n_classes: int,
) -> tuple[Spectrum, Float[Tensor, "n r"]]:
    """Decompose the within-class scatter of labeled rows.

    Args:
        rows: Finite float64 rows.
        codes: Class of each row, in [0, n_classes).
        weights: Non-negative weights.
        n_classes: Number of classes; some may have no row.

    Returns:
        The spectrum, and the residual of each row from its class mean in the same basis.

    Cost: O(n d min(n, d)) time, three copies of the rows.
    """
    n, d = rows.shape
    unit = power_of_two(float(torch.linalg.vector_norm(rows, torch.inf)))
    rows = rows / unit
    center = weights @ rows / weights.sum()
    rows -= center
    lift = None
    if n < d:
        lift = torch.geqrf(rows.mT)
        rows = lift[0][:n].triu().mT.contiguous()
    counts = torch.zeros(n_classes, dtype=rows.dtype).index_add_(0, codes, weights)
    means = group_sums(rows, codes, weights, n_classes)
    means /= counts.clamp_min(torch.finfo(rows.dtype).tiny)[:, None]
    rows -= means[codes]
    scatter = symmetric_product(rows * weights.sqrt()[:, None])
    values, vectors = eigh_psd("closedform", scatter, lower=True)
    spectrum = Spectrum(center, unit, Basis(vectors, lift), values, means @ vectors, counts)
    return spectrum, rows @ vectors


def spectrum_of_moments(
    counts: Float[Tensor, " c"],
    means: Float[Tensor, "c d"],
    within: Float[Tensor, "d d"],
) -> Spectrum:
    """Decompose the within-class scatter of moments."""
    largest = max(float(means.abs().max()), math.sqrt(float(within.diagonal().max().clamp_min(0))))
    unit = power_of_two(largest)
    means = means / unit
    center = (means * counts[:, None]).sum(0) / counts.sum()
    centered = torch.where((counts > 0)[:, None], means - center, 0.0)
    values, vectors = eigh_psd("closedform", within / unit / unit)
    return Spectrum(center, unit, Basis(vectors), values, centered @ vectors, counts)
