"""Numbers as features: a Gaussian on the column's own spread, many columns in one batch.

The general kernels of `trivium.kernel` serve one column at a time; a wide table has thousands of
short ones, so the same incomplete Cholesky runs here over a batch of single columns.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

__all__ = ["HEAVY_TAIL", "gaussian_features", "number_features"]

HEAVY_TAIL = 20.0
_MAX_RANK = 50
_SAMPLE = 256


def number_features(
    values: Float[Tensor, "k n"], tol: float | None = None
) -> tuple[Float[Tensor, "k r n"], list[str], Float[Tensor, " k"]]:
    """Features of numeric columns; what is not finite becomes a level of its own.

    A column whose kurtosis is above 20 is compared both as it is and by ranks: the average of two
    Gaussian kernels.

    Args:
        values: Columns as rows, NaN for missing; infinities are levels too.
        tol: As for `gaussian_features`.

    Returns:
        Features, the kernel of each column in words, and the share of the trace left out.

    Cost: O(k n r²) time, O(k n r) memory, r at most about 100.
    """
    observed = torch.isfinite(values)
    scaled, unit = _scaled(values, observed)
    heavy = _kurtosis(scaled, observed) > HEAVY_TAIL
    features, scale, residual = gaussian_features(scaled, observed, tol=tol)
    names = [_name(s * u, fallback) for (s, fallback), u in zip(scale, unit.tolist(), strict=True)]
    if bool(heavy.any()):
        ranks = _ranks(scaled[heavy], observed[heavy])
        more, more_scale, more_residual = gaussian_features(ranks, observed[heavy], tol=tol)
        wide = features.new_zeros(len(values), more.shape[1], values.shape[1])
        wide[heavy] = more * 0.5**0.5
        features[heavy] *= 0.5**0.5
        features = torch.cat([features, wide], 1)
        residual[heavy] = (residual[heavy] + more_residual) / 2
        for place, (s, fallback) in zip(heavy.nonzero()[:, 0].tolist(), more_scale, strict=True):
            names[place] += " + ranks, " + _name(s, fallback)
    levels = [torch.isnan(values), values == torch.inf, values == -torch.inf]
    seen = [level for level in levels if bool(level.any())]
    if seen:
        features = torch.cat([features, torch.stack(seen, 1).to(features.dtype)], 1)
        for place in torch.stack(seen).any(0).any(1).nonzero()[:, 0].tolist():
            names[place] += " + indicator"
    return features, names, residual


def gaussian_features(
    values: Float[Tensor, "k n"],
    observed: Bool[Tensor, "k n"],
    lengthscales: Float[Tensor, " k"] | None = None,
    rank: int = _MAX_RANK,
    tol: float | None = None,
) -> tuple[Float[Tensor, "k r n"], list[tuple[float, bool]], Float[Tensor, " k"]]:
    """Incomplete Cholesky of Gaussian kernels on single columns, all columns at once.

    Rows that are not observed get zero features.

    Args:
        values: Columns as rows.
        observed: Which values count.
        lengthscales: One for each column; by default the median distance of its own values (of
            256 evenly spaced order statistics when there are more), or, when that is zero, of
            those that differ.
        rank: Most features.
        tol: Share of the trace that may be left out, by default 1e-3/n; more is, where the most
            features hold less.

    Returns:
        Features; lengthscale of each column and whether the median was zero; share of the trace
        left out.
    """
    k, n = values.shape
    if lengthscales is None:
        scales = [_median_distance(v[o].numpy()) for v, o in zip(values, observed, strict=True)]
    else:
        scales = [(float(scale), False) for scale in lengthscales]
    units = torch.tensor([scale for scale, _ in scales], dtype=values.dtype)[:, None]
    x = torch.where(observed, values, 0.0) / units
    seen = observed.to(values.dtype)
    left, trace = seen.clone(), seen.sum(1).clamp_min(1)
    factor = values.new_zeros(k, min(rank, n), n)
    allowed = (1e-3 / n if tol is None else tol) * trace
    steps = 0
    while steps < factor.shape[1]:
        active = left.sum(1) > allowed
        if not bool(active.any()):
            break
        pivot = left.argmax(1, keepdim=True)
        root = left.gather(1, pivot)
        column = torch.exp(-0.5 * (x - x.gather(1, pivot)).square_()) * seen
        done = factor[:, :steps]
        at_pivot = done.gather(2, pivot[:, :, None].expand(k, steps, 1))
        column -= (at_pivot.mT @ done)[:, 0]
        column *= active[:, None] * root.clamp_min(1e-300).rsqrt()
        factor[:, steps] = column
        left = (left - column.square()).clamp_min_(0)
        left.scatter_(1, pivot, torch.where(active[:, None], 0.0, left.gather(1, pivot)))
        steps += 1
    return factor[:, :steps], scales, left.sum(1) / trace


def _name(scale: float, fallback: bool) -> str:
    return f"Gaussian({scale:.3g})" + (" of nonzero distances" if fallback else "")


def _scaled(values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and scale each column into [-1, 1] without overflow; return also the unit.

    p-values do not depend on it.
    """
    x = torch.where(observed, values, 0.0)
    first = _largest(x)
    x = x / first
    middle = torch.where(observed, x, torch.nan).nanmedian(1, keepdim=True).values
    x = torch.where(observed, x - torch.nan_to_num(middle), 0.0)
    second = _largest(x)
    return x / second, (first * second)[:, 0]


def _largest(x: Tensor) -> Tensor:
    largest = x.abs().amax(1, keepdim=True)
    return torch.where(largest > 0, largest, 1.0)


def _kurtosis(x: Tensor, observed: Tensor) -> Tensor:
    count = observed.sum(1, keepdim=True).clamp_min(1)
    apart = torch.where(observed, x - x.sum(1, keepdim=True) / count, 0.0)
    second = apart.square().sum(1) / count[:, 0]
    fourth = apart.square().square().sum(1) / count[:, 0]
    return torch.where(second > 0, fourth / second.square(), 0.0)


def _ranks(x: Tensor, observed: Tensor) -> Tensor:
    result = torch.zeros_like(x)
    for row, (v, o) in enumerate(zip(x, observed, strict=True)):
        result[row, o] = torch.from_numpy(rankdata(v[o].numpy()) / max(1, int(o.sum())))
    return result


def _median_distance(values: NDArray[np.float64]) -> tuple[float, bool]:
    ordered = np.sort(values)
    if len(ordered) > _SAMPLE:
        ordered = ordered[np.linspace(0, len(ordered) - 1, _SAMPLE).round().astype(np.int64)]
    i, j = _pairs(len(ordered))
    apart = ordered[j] - ordered[i]
    if not apart.any():
        return 1.0, False
    middle = float(np.median(apart))
    return (middle, False) if middle > 0 else (float(np.median(apart[apart > 0])), True)


@lru_cache(maxsize=2)
def _pairs(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.triu_indices(count, 1)
