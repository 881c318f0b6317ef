"""The size of a dependence for a result: statistic, unbiased, alignment; and the spectra."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.dependence.fourth import Fourth
from trivium.dependence.landmarks import landmark_maps
from trivium.dependence.moments_read import estimate
from trivium.dependence.moments_rows import add_rows
from trivium.dependence.pair import Pair
from trivium.dependence.sums import GramSums, factor_sums, gram_sums
from trivium.dependence.tail import Spectrum
from trivium.dependence.tiled import tiled_sums

__all__ = ["Sizes", "sizes_of", "spectra_of"]

_GRAM_ROWS = 1_500
_EXACT_ROWS = 20_000
_RANK = 100
_TAIL_RANK = 300
_ENOUGH = 1e-4
_LITTLE = 1e-6
_NOTHING = 1e-12

Sizes = tuple[float, float, float]


def sizes_of(pair: Pair) -> tuple[Sizes, float]:
    """Return biased and unbiased HSIC, the alignment's denominator, and the trace left out.

    Complete Gram matrices up to 1,500 rows, and up to 20,000 where features of rank 100 leave out
    more than 1e-4 of a kernel's trace. Features else, and for few rows of a column where they
    leave out nothing but rounding; above 20,000 rows they are never stored.
    """
    if pair.n_rows > _EXACT_ROWS:
        return _streamed(pair)
    small, narrow = pair.n_rows <= _GRAM_ROWS, pair.x.shape[1] == pair.y.shape[1] == 1
    residual = 1.0
    if narrow or not small:
        phi, psi, residual = _features(pair, _RANK, _NOTHING if small else _LITTLE)
        residual = residual if residual > _NOTHING else 0.0
    if small and residual:
        first = pair.kernel_x.gram(_wide(pair.x)).double()
        second = pair.kernel_y.gram(_wide(pair.y)).double()
        return _sizes(
            gram_sums(first, second), gram_sums(first, first), gram_sums(second, second)
        ), 0.0
    if residual > _ENOUGH:
        return _sizes(*tiled_sums(pair, own=True)), 0.0
    return _sizes(factor_sums(phi, psi), factor_sums(phi, phi), factor_sums(psi, psi)), residual


def _streamed(pair: Pair) -> tuple[Sizes, float]:
    (one,), left = landmark_maps(pair.x, (pair.kernel_x,), _RANK)
    (two,), right = landmark_maps(pair.y, (pair.kernel_y,), _RANK)
    nothing = Fourth.empty(one.n_features, two.n_features)
    held = add_rows("independence_test", pair.x, pair.y, (one, two), nothing)
    own = [max(0.0, estimate(held, "unbiased", side, side)) for side in (0, 1)]
    sizes = estimate(held, "biased"), estimate(held, "unbiased"), math.sqrt(own[0] * own[1])
    return sizes, max(left, right)


def spectra_of(pair: Pair) -> tuple[Sizes, tuple[Spectrum, Spectrum], float]:
    """Return sizes and spectra of the same features, and the largest share left out."""
    phi, psi, residual = _features(pair, min(_TAIL_RANK, pair.n_rows), _LITTLE)
    sizes = _sizes(factor_sums(phi, psi), factor_sums(phi, phi), factor_sums(psi, psi))
    return sizes, (Spectrum.of(phi), Spectrum.of(psi)), residual


def _features(
    pair: Pair, rank: int, tol: float
) -> tuple[Float[Tensor, "r n"], Float[Tensor, "s n"], float]:
    found = []
    residual = 0.0
    for rows, kernel in ((pair.x, pair.kernel_x), (pair.y, pair.kernel_y)):
        factor = kernel.factor(_wide(rows), rank, tol)
        residual = max(residual, factor.relative_residual)
        found.append(factor.values.double().mT.contiguous())
    return found[0], found[1], residual


def _wide(rows: Tensor) -> Tensor:
    return rows.double() if rows.is_floating_point() else rows


def _sizes(both: GramSums, own_x: GramSums, own_y: GramSums) -> Sizes:
    """Biased, unbiased, and the denominator of the debiased alignment (0 where it has none)."""
    spread = torch.stack([own_x.estimate("unbiased"), own_y.estimate("unbiased")]).clamp_min(0)
    scale = float(spread.prod().sqrt())
    return float(both.estimate("biased")), float(both.estimate("unbiased")), scale
