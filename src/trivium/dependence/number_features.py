"""Numbers as features: a Gaussian on the column's own spread, many columns in one batch.

The general kernels of `trivium.kernel` serve one column at a time; a wide table has thousands of
short ones, so the same incomplete Cholesky runs here over a batch of single columns.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

__all__ = [
    "HEAVY_TAIL",
    "NumberColumns",
    "gaussian_features",
    "median_distance",
    "number_features",
]

HEAVY_TAIL = 20.0
_MAX_RANK = 50
_SAMPLE = 256
Scale = tuple[float, bool]


@dataclass(frozen=True)
class NumberColumns:
    """Numeric columns made ready for their kernels; what is not finite is a level of its own.

    Args:
        values: Columns as rows, NaN for missing; infinities are levels too.

    Attributes:
        scaled: Shifted and scaled into [-1, 1].
        unit: What one of that is in the column's own unit.
        observed: Which values are finite.
        scales: Median distance of each scaled column, and whether the median itself is zero.
        heavy: Which columns have a kurtosis above 20: they are compared by ranks too.
        ranks: Ranks of these, from 0 to 1.
        rank_scales: As `scales`, of the ranks.
        levels: Masks of the missing and of the infinities, where any column has such.
    """

    values: Float[Tensor, "k n"]
    scaled: Float[Tensor, "k n"] = field(init=False)
    unit: Float[Tensor, " k"] = field(init=False)
    observed: Bool[Tensor, "k n"] = field(init=False)
    scales: list[Scale] = field(init=False)
    heavy: Bool[Tensor, " k"] = field(init=False)
    ranks: Float[Tensor, "h n"] = field(init=False)
    rank_scales: list[Scale] = field(init=False)
    levels: list[Bool[Tensor, "k n"]] = field(init=False)

    def __post_init__(self) -> None:
        values = self.values
        observed = torch.isfinite(values)
        scaled, unit = _scaled(values, observed)
        heavy = _kurtosis(scaled, observed) > HEAVY_TAIL
        ranks = _ranks(scaled[heavy], observed[heavy])
        levels = [torch.isnan(values), values == torch.inf, values == -torch.inf]
        found = {
            "scaled": scaled,
            "unit": unit,
            "observed": observed,
            "scales": _scales(scaled, observed),
            "heavy": heavy,
            "ranks": ranks,
            "rank_scales": _scales(ranks, observed[heavy]),
            "levels": [level for level in levels if bool(level.any())],
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)


def number_features(
    columns: NumberColumns, tol: float | None = None
) -> tuple[Float[Tensor, "k r n"], list[str], Float[Tensor, " k"]]:
    """Features of numeric columns; what is not finite becomes a level of its own.

    A column whose kurtosis is above 20 is compared both as it is and by ranks: the average of two
    Gaussian kernels.

    Args:
        columns: The columns.
        tol: As for `gaussian_features`.

    Returns:
        Features, the kernel of each column in words, and the share of the trace left out.

    Cost: O(k n r²) time, O(k n r) memory, r at most about 100.
    """
    heavy, observed = columns.heavy, columns.observed
    features, residual = gaussian_features(
        columns.scaled, observed, _lengths(columns.scales), tol=tol
    )
    units = columns.unit.tolist()
    names = [_name(s * u, zero) for (s, zero), u in zip(columns.scales, units, strict=True)]
    if bool(heavy.any()):
        lengths = _lengths(columns.rank_scales)
        more, more_residual = gaussian_features(columns.ranks, observed[heavy], lengths, tol=tol)
        wide = features.new_zeros(len(features), more.shape[1], features.shape[2])
        wide[heavy] = more * 0.5**0.5
        features[heavy] *= 0.5**0.5
        features = torch.cat([features, wide], 1)
        residual[heavy] = (residual[heavy] + more_residual) / 2
        places = heavy.nonzero()[:, 0].tolist()
        for place, (s, zero) in zip(places, columns.rank_scales, strict=True):
            names[place] += " + ranks, " + _name(s, zero)
    if columns.levels:
        seen = torch.stack(columns.levels, 1)
        features = torch.cat([features, seen.to(features.dtype)], 1)
        for place in seen.any(1).any(1).nonzero()[:, 0].tolist():
            names[place] += " + indicator"
    return features, names, residual


def _scales(values: Tensor, observed: Tensor) -> list[Scale]:
    return [median_distance(v[o].numpy()) for v, o in zip(values, observed, strict=True)]


def _lengths(scales: list[Scale]) -> Float[Tensor, " k"]:
    return torch.tensor([scale for scale, _ in scales], dtype=torch.float64)


def gaussian_features(
    values: Float[Tensor, "k n"],
    observed: Bool[Tensor, "k n"],
    lengthscales: Float[Tensor, " k"],
    rank: int = _MAX_RANK,
    tol: float | None = None,
) -> tuple[Float[Tensor, "k r n"], Float[Tensor, " k"]]:
    """Incomplete Cholesky of Gaussian kernels on single columns, all columns at once.

    Rows that are not observed get zero features.

    Args:
        values: Columns as rows.
        observed: Which values count.
        lengthscales: One for each column.
        rank: Most features.
        tol: Share of the trace that may be left out, by default 1e-3/n; more is, where the most
            features hold less.

    Returns:
        Features, and the share of the trace left out.
    """
    k, n = values.shape
    x = torch.where(observed, values, 0.0) / lengthscales[:, None]
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
    return factor[:, :steps], left.sum(1) / trace


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


def median_distance(values: NDArray[np.float64]) -> Scale:
    """Return the median distance of numbers, or of those that differ when it is zero.

    Args:
        values: The numbers; of more than 256, evenly spaced order statistics stand for all.

    Returns:
        The distance, 1 where none differ; and whether the median itself is zero.
    """
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
