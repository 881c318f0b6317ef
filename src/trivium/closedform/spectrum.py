"""The within-class scatter in its own eigenbasis: decomposed once, then every ridge is diagonal.

Rows are divided by a power of two (exact, so scales from 1e-300 to 1e300 neither overflow nor
underflow) and centered on the grand mean (so an offset cancels before anything is squared). With
fewer rows than columns the rows are first turned into n coordinates by a QR decomposition, which
keeps every inner product; a d × d matrix is then never formed.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.linalg import eigh_psd

__all__ = ["Spectrum", "power_of_two", "spectrum_of_moments", "spectrum_of_rows"]


@dataclass(frozen=True)
class Spectrum:
    """Class means and within-class scatter in the eigenbasis of the scatter.

    Everything is in units of `unit`; the coordinates of a row are `(x / unit - center) @ basis`.
    """

    center: Float[Tensor, " d"]
    unit: float
    basis: Float[Tensor, "d r"]
    values: Float[Tensor, " r"]
    means: Float[Tensor, "c r"]
    counts: Float[Tensor, " c"]

    @property
    def total(self) -> float:
        """Total weight of the rows."""
        return float(self.counts.sum())

    @property
    def present(self) -> Tensor:
        """Which classes have any row."""
        return self.counts > 0

    def freedom(self) -> float:
        """Degrees of freedom of the scatter, `n - K`, at least min(n, 1)."""
        return max(self.total - int(self.present.sum()), min(self.total, 1.0))

    def mean_variance(self) -> float:
        """Average variance of a column within classes; of the class means when that is nothing."""
        d = len(self.center)
        spread = float(((self.means**2) * self.counts[:, None]).sum())
        within = float(self.values.sum())
        if within > 1e-20 * spread:
            return within / (self.freedom() * d)
        return spread / (self.total * d) if spread > 0 else 1.0

    def coordinates(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        """Return rows in the eigenbasis."""
        return (rows / self.unit - self.center) @ self.basis


def power_of_two(largest: float) -> float:
    """Return the power of two just below `largest` (1 for zero)."""
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest > 0 else 1.0


def _class_means(
    rows: Tensor, codes: Tensor, weights: Tensor, n_classes: int
) -> tuple[Tensor, Tensor]:
    counts = torch.zeros(n_classes, dtype=rows.dtype).index_add_(0, codes, weights)
    sums = torch.zeros(n_classes, rows.shape[1], dtype=rows.dtype)
    sums.index_add_(0, codes, rows * weights[:, None])
    return sums / counts.clamp_min(torch.finfo(rows.dtype).tiny)[:, None], counts


def spectrum_of_rows(
    rows: Float[Tensor, "n d"],
    codes: Int[Tensor, " n"],
    weights: Float[Tensor, " n"],
    n_classes: int,
) -> tuple[Spectrum, Float[Tensor, "n r"]]:
    """Decompose the within-class scatter of labelled rows.

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
    unit = power_of_two(float(rows.abs().max()))
    rows = rows / unit
    center = (rows * weights[:, None]).sum(0) / weights.sum()
    rows = rows - center
    lift = None
    if n < d:
        lift, triangle = torch.linalg.qr(rows.mT)
        rows = triangle.mT.contiguous()
    means, counts = _class_means(rows, codes, weights, n_classes)
    residual = rows - means[codes]
    scatter = residual.mT @ (residual * weights[:, None])
    values, vectors = eigh_psd("closedform", scatter)
    basis = vectors if lift is None else lift @ vectors
    spectrum = Spectrum(center, unit, basis, values, means @ vectors, counts)
    return spectrum, residual @ vectors


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
    return Spectrum(center, unit, vectors, values, centered @ vectors, counts)
