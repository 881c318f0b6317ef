"""A column with several lengthscales on one basis, so that one set of products serves them all.

The kernels of one number at five lengthscales live in nearly one space: the wide ones are smooth
and the narrow ones contain them. Values are put between at most 48 nodes, dense where rows
are dense; on the nodes all kernels are small matrices, and the leading directions of their
average are the common basis. Cross products with a target are made once, for the basis.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium.dependence.aggregate import FACTORS
from trivium.dependence.number_features import NumberColumns

__all__ = ["ColumnGrid", "number_grids"]

_NODES = 48
_RANKS = (32, 16)  # of a column, of a target
_REACH = 4.0  # median distances from the middle within which nodes are also evenly spaced
_JITTER = 1e-10
_CONSTANT = 1e-6
_TINY = 1e-300


@dataclass(frozen=True)
class ColumnGrid:
    r"""Kernels of one column, $K_g = (M_g B)^\top M_g B$.

    Args:
        basis: B, centered over rows.
        maps: M of each kernel; none for a single kernel whose features are the basis.
    """

    basis: Float[Tensor, "r n"]
    maps: tuple[Float[Tensor, "_ r"], ...] = ()

    def __len__(self) -> int:
        """Number of kernels."""
        return max(1, len(self.maps))

    def features(self) -> list[Float[Tensor, "_ n"]]:
        """Features of each kernel: the long way round, for tests."""
        return [each @ self.basis for each in self.maps] or [self.basis]


def number_grids(
    columns: NumberColumns,
    tol: float,
    *,
    target: bool = False,
    factors: Sequence[float] = FACTORS,
    dtype: torch.dtype = torch.float32,
) -> list[ColumnGrid]:
    """Numbers with Gaussian kernels at multiples of their median distance.

    Kernels are those of `number_features`, with ranks where the tails are heavy and levels for
    what is missing; at most 32 directions are kept, of a target 16.

    Args:
        columns: The columns.
        tol: Share of each kernel's trace that may be left out.
        target: Whether it is the side that moves.
        factors: Multiples of the median distance.
        dtype: Of the result.

    Cost: O(k n m²) time for k columns and m ≤ 48 nodes, O(k n m) memory.
    """
    weights, nodes, ranks = _interpolation(columns)
    kernels = _node_kernels(columns, nodes, ranks, factors)
    mean = weights.mean(1, keepdim=True)
    scatter = weights.mT @ weights - weights.shape[1] * (mean.mT @ mean)
    # What the jitter adds is multiplied out again: it only has to make the root exist.
    spread = scatter.diagonal(dim1=-2, dim2=-1).sum(-1)
    jitter = _JITTER * spread.clamp_min(1.0)
    root = torch.linalg.cholesky(scatter + jitter[:, None, None] * torch.eye(scatter.shape[-1]))
    grams = root.mT[:, None] @ kernels @ root[:, None]
    traces = grams.diagonal(dim1=-2, dim2=-1).sum(-1)
    average = (grams / traces.clamp_min(_TINY)[..., None, None]).mean(1)
    strength, directions = torch.linalg.eigh(average)
    rank = _RANKS[target]
    strength, directions = strength[:, -rank:], directions[:, :, -rank:]
    inner = directions.mT[:, None] @ grams @ directions[:, None]
    back = torch.linalg.solve_triangular(root.mT, directions, upper=True)
    basis = (weights @ back - mean @ back).mT
    found = []
    for column in range(len(basis)):
        # Of a constant column only rounding is left.
        used = (strength[column] > tol / len(factors)) & (spread[column] > _CONSTANT)
        maps = _maps(inner[column][:, used][:, :, used], tol, dtype)
        found.append(ColumnGrid(basis[column][used].to(dtype), maps))
    return found


def _maps(inner: Float[Tensor, "g r r"], tol: float, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Leading directions of each kernel in the common basis."""
    if not inner.shape[-1]:
        return tuple(inner[:, :0].to(dtype))
    values, vectors = torch.linalg.eigh(inner)
    tails = values.clamp_min(0).cumsum(-1)
    kept = tails > tol * tails[:, -1:]
    scaled = values.clamp_min(0).sqrt()[:, :, None] * vectors.mT
    return tuple(each[k].to(dtype) for each, k in zip(scaled, kept, strict=True))


def _interpolation(
    columns: NumberColumns,
) -> tuple[Float[Tensor, "k n m"], NDArray[np.float64], NDArray[np.float64]]:
    """Each value between its two nodes, by shares; a node of its own for each level."""
    k, n = columns.scaled.shape
    weights = torch.zeros(k, n, _NODES + len(columns.levels), dtype=torch.float64)
    nodes, ranks = np.zeros((k, _NODES)), np.zeros((k, _NODES))
    rank_of = dict(zip(columns.heavy.nonzero()[:, 0].tolist(), columns.ranks, strict=True))
    for column in range(k):
        seen = columns.observed[column].numpy()
        values = columns.scaled[column].numpy()[seen]
        rows = np.flatnonzero(seen)
        if not len(values):
            continue
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        at = _nodes(ordered, columns.scales[column][0])
        left = np.searchsorted(at, values, "right") - 1
        left = left.clip(0, max(0, len(at) - 2))
        right = np.minimum(left + 1, len(at) - 1)
        width = at[right] - at[left]
        share = (values - at[left]) / np.where(width > 0, width, 1.0)
        weights[column, rows, left] = torch.from_numpy(1 - share)
        weights[column, rows, right] += torch.from_numpy(share)
        nodes[column, : len(at)] = at
        if column in rank_of:
            ranks[column, : len(at)] = np.interp(at, ordered, rank_of[column].numpy()[seen][order])
    for place, level in enumerate(columns.levels):
        weights[:, :, _NODES + place] = level.double()
    return weights, nodes, ranks


def _nodes(ordered: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """The distinct values if they are few; else half by rank and half evenly near the middle."""
    distinct = np.unique(ordered)
    if len(distinct) <= _NODES:
        return distinct
    near = ((ordered - np.median(ordered)) / (_REACH * scale)).clip(-1, 1)
    height = np.linspace(0, 1, len(ordered)) + (near - near[0]) / max(near[-1] - near[0], 1e-300)
    return np.unique(np.interp(np.linspace(0, 2, _NODES), height, ordered))


def _node_kernels(
    columns: NumberColumns,
    nodes: NDArray[np.float64],
    ranks: NDArray[np.float64],
    factors: Sequence[float],
) -> Float[Tensor, "k g m m"]:
    """Every kernel between the nodes; a level is like itself only."""
    heavy = columns.heavy
    near = _gaussians(nodes, [scale for scale, _ in columns.scales], factors)
    if bool(heavy.any()):
        scales = [scale for scale, _ in columns.rank_scales]
        near[heavy] = (near[heavy] + _gaussians(ranks[heavy.numpy()], scales, factors)) / 2
    m = _NODES + len(columns.levels)
    kernels = torch.eye(m, dtype=torch.float64).repeat(len(nodes), len(factors), 1, 1)
    kernels[:, :, :_NODES, :_NODES] = near
    return kernels


def _gaussians(
    places: NDArray[np.float64], scales: Sequence[float], factors: Sequence[float]
) -> Float[Tensor, "k g m m"]:
    x = torch.from_numpy(places)
    lengths = torch.tensor(list(scales), dtype=torch.float64)[:, None] * torch.tensor(factors)
    apart = (x[:, :, None] - x[:, None]).square()[:, None]
    return torch.exp(-0.5 * apart / lengths.square()[:, :, None, None])
