"""What z explains of a variable's features, taken away by ridge regressions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from scipy.special import ndtri
from scipy.stats import rankdata
from torch import Tensor

from trivium.kernel import Gaussian, Kernel

__all__ = [
    "Basis",
    "Residual",
    "bases_of",
    "kernel_basis",
    "normal_scores",
    "residual_of",
    "share_left",
    "standardized",
    "unit_share",
]

_RANK = 250
_COLUMN_RANK = 40
_TOL = 1e-9
_SINGULAR = 1e-7  # of the largest singular value: what is below is rounding
_JOINT = (0.25, 0.5, 1.0, 2.0)  # of the median distance
_ADDITIVE = (0.5, 1.0, 2.0)  # of a column's standard deviation
_RIDGES = (1e-10, 1e-8, 1e-6, *(10.0 ** (k / 2) for k in range(-10, 3)))  # of the trace
_LEAST_GAP = 1e-9  # of 1 - h, where a row is fitted by itself alone
_SMALL = 1e-3  # of a standard deviation: below it a residual's size is taken as this
_ROUNDING = 1e-20  # share of a sum of squares that is rounding
_PARAMETERS = 4  # rows for each direction of a fit that is not cross-validated


@dataclass(frozen=True, eq=False)
class Basis:
    """Centered features of z by singular values: what one kernel's ridge regressions are made of.

    Args:
        name: The kernel in words.
        directions: Left singular vectors.
        weights: Squares of the singular values.
    """

    name: str
    directions: Float[Tensor, "n r"]
    weights: Float[Tensor, " r"]

    @classmethod
    def of(cls, name: str, features: Float[Tensor, "n r"]) -> "Basis":
        """Take the singular values of features, in O(n r²)."""
        centered = features - features.mean(0)
        directions, values, _ = torch.linalg.svd(centered, full_matrices=False)
        kept = values > _SINGULAR * values.max()
        return cls(name, directions[:, kept], values[kept].square())

    @classmethod
    def of_gram(cls, name: str, gram: Float[Tensor, "n n"]) -> "Basis":
        """Take them from a Gram matrix, in O(n³)."""
        mean = gram.mean(0)
        weights, directions = torch.linalg.eigh(gram - mean - mean[:, None] + mean.mean())
        weights, directions = weights.flip(0), directions.flip(1)
        kept = weights > _SINGULAR**2 * weights.max()
        return cls(name, directions[:, kept], weights[kept])


@dataclass(frozen=True, eq=False)
class Residual:
    """Features minus what the other rows predict of them.

    Args:
        values: Each row minus its prediction from all other rows.
        share: Their sum of squares over that of the features minus their mean.
        basis: The kernel of z that predicted best, in words.
    """

    values: Float[Tensor, "n q"]
    share: float
    basis: str


def normal_scores(rows: Shaped[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Normal quantiles of the ranks of each column, ties at their mean rank.

    Independence, given z or not, does not change when a column is replaced by an increasing
    function of it; this one has no outliers and no unit.

    Example:
        >>> normal_scores(torch.tensor([[1.0], [1e9], [7.0]])).round(decimals=2).flatten().tolist()
        [-0.67, 0.67, 0.0]
    """
    ranks = rankdata(rows.detach().cpu().numpy(), axis=0)
    return torch.from_numpy(ndtri(ranks / (len(rows) + 1))).to(rows.device)


def bases_of(scores: Float[Tensor, "n d"]) -> list[Basis]:
    """Bases of numeric z: Gaussian kernels of all columns together, and sums of one a column.

    Args:
        scores: Normal scores of z, no column constant.

    Cost: O(n r²) time for each of 4 or 7 bases.
    """
    n, d = scores.shape
    median = float(Gaussian().resolve(scores).lengthscale)
    found = []
    for factor in _JOINT:
        kernel = Gaussian(factor * median)
        found.append(kernel_basis(f"Gaussian at {factor:g} median", scores, kernel))
    if d == 1:
        return found
    for factor in _ADDITIVE:
        name, kernel = f"sum of {d} Gaussians at {factor:g}", Gaussian(factor)
        if n <= _RANK:
            grams = torch.stack([kernel.gram(column.contiguous()) for column in scores.mT])
            found.append(Basis.of_gram(name, grams.sum(0)))
        else:
            parts = [kernel.factor(column, _COLUMN_RANK, _TOL).values for column in scores.mT]
            found.append(Basis.of(name, torch.cat(parts, 1)))
    return found


def kernel_basis(name: str, rows: Shaped[Tensor, "n d"], kernel: Kernel) -> Basis:
    """Basis of one kernel, resolved; of at most 250 features."""
    if len(rows) <= _RANK:
        return Basis.of_gram(name, kernel.gram(rows).double())
    features = kernel.factor(rows, min(len(rows), _RANK), _TOL).values.double()
    return Basis.of(name, features)


def residual_of(features: Float[Tensor, "n q"], bases: Sequence[Basis]) -> Residual:
    r"""Regress features on each basis with each ridge; keep the best by leave-one-out.

    With hat matrix H, row i minus its prediction from the other rows is exactly
    $(f - H f)_i / (1 - h_{ii})$. No basis: the mean of the others.

    Args:
        features: Features of a variable.
        bases: Bases of z.

    Cost: O(n r q) time for each basis and each of 16 ridges.
    """
    n = len(features)
    centered = features - features.mean(0)
    best = Residual(centered * (n / (n - 1)), 1.0, "mean")
    least = total = float(best.values.square().sum())
    if total <= 0:
        return Residual(best.values, 0.0, "mean")
    for basis in bases:
        products = basis.directions.mT @ centered
        squares = basis.directions.square()
        for ridge in _RIDGES:
            shrink = basis.weights / (basis.weights + ridge * float(basis.weights.sum()))
            gap = (1 - 1 / n - squares @ shrink).clamp_min(_LEAST_GAP)
            left = (centered - basis.directions @ (shrink[:, None] * products)) / gap[:, None]
            error = float(left.square().sum())
            if error < least:
                least, best = error, Residual(left, error / total, basis.name)
    return best


def standardized(columns: Float[Tensor, "n d"], bases: Sequence[Basis]) -> Float[Tensor, "n d"]:
    """Take the mean given z off each column and divide by the size of what is left, given z.

    The size is the exponential of the mean logarithm; each row's mean and size come from the other
    rows. Given z, the result is one-to-one in the column.

    Args:
        columns: A variable.
        bases: Bases of z.

    Cost: As for `residual_of`, twice.
    """
    left = residual_of(columns, bases).values
    size = left.abs().clamp_min(_SMALL * left.std(0)).log()
    found = [column - residual_of(column, bases).values for column in size.split(1, 1)]
    return left / torch.cat(found, 1).exp()


def share_left(columns: Float[Tensor, "n d"], bases: Sequence[Basis]) -> float:
    """Least share of the variance that the leading n/4 directions of a basis leave, fitted freely.

    Args:
        columns: A variable.
        bases: Bases of z.
    """
    n = len(columns)
    centered = columns - columns.mean(0)
    total, least = float(centered.square().sum()), 1.0
    if total <= _ROUNDING * float(columns.square().sum()):
        return 0.0
    for basis in bases:
        directions = basis.directions[:, : max(1, n // _PARAMETERS)]
        left = centered - directions @ (directions.mT @ centered)
        least = min(least, float(left.square().sum()) / total)
    return least


def unit_share(features: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
    """Center features and give them a mean square of 1 in all; zero where they do not vary."""
    centered = features - features.mean(0)
    energy = float(centered.square().sum())
    if energy <= _ROUNDING * float(features.square().sum()):
        return torch.zeros_like(centered)
    return centered * math.sqrt(len(features) / energy)
