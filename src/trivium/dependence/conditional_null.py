r"""The size of a mean of products of residuals, and its null by signs or by a weighted chi-square.

$T = \lVert \frac1n \sum_i \varepsilon_i \otimes \xi_i \otimes \chi_i \rVert^2$. Under conditional
independence with the true conditional means, n T tends to $\sum_j \lambda_j z_j^2$ with the
eigenvalues of the second moments of the products. Few rows go by their Gram matrix, many by the
leading directions of each factor.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.random import numpy_generator
from trivium.dependence.tail import chi2_mixture_tail

__all__ = ["ProductMean"]

_GRAM_ROWS = 1_500
_RANK = 10
_TILE = 2_048


@dataclass(frozen=True, eq=False)
class ProductMean:
    """Products of the rows of several factors.

    Args:
        factors: Features of each; the products are of all of them, row by row.
        residual: Largest share of a factor's sum of squares that was left out.
    """

    factors: Sequence[Float[Tensor, "n _"]]
    residual: float = 0.0

    @classmethod
    def of(cls, factors: Sequence[Float[Tensor, "n _"]]) -> "ProductMean":
        """Keep all features up to 1,500 rows, the 10 leading directions of each factor above."""
        if len(factors[0]) <= _GRAM_ROWS:
            return cls(factors)
        kept, residual = [], 0.0
        for each in factors:
            weights, directions = torch.linalg.eigh(each.mT @ each)
            kept.append(each @ directions[:, -_RANK:])
            left = float(weights[:-_RANK].clamp_min(0).sum())
            residual = max(residual, left / float(weights.sum()))
        return cls(kept, residual)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.factors[0])

    @property
    def _is_small(self) -> bool:
        return self.n_rows <= _GRAM_ROWS

    def by_tail(self) -> tuple[float, float]:
        """Return T and its p-value by the saddlepoint of the weighted chi-square.

        Cost: O(n³) time up to 1,500 rows, O(n r²) above, r at most 1,100.
        """
        n = self.n_rows
        if self._is_small:
            moments = self._gram() / n
            value = float(moments.sum())
        else:
            total, moments = self._moments()
            value = float((total / n).square().sum()) * n
            moments /= n
        weights = torch.linalg.eigvalsh(moments).clamp_min(0)
        tail = chi2_mixture_tail(torch.tensor(value, dtype=torch.float64), weights)
        return value / n, float(tail)

    def by_signs(self, count: int, seed: int) -> Float[Tensor, " b"]:
        """Return T of the rows as given, then with a random sign for each row, `count` times.

        Cost: O(n² b) time up to 1,500 rows, O(n r b) above.
        """
        n = self.n_rows
        draw = numpy_generator(seed, "dependence", "conditional", "signs")
        signs = torch.from_numpy(draw.integers(0, 2, size=(count + 1, n)) * 2.0 - 1.0)
        signs[0] = 1.0
        if self._is_small:
            return ((signs @ self._gram()) * signs).sum(1) / n**2
        total = signs.new_zeros(count + 1, self._width)
        for rows, tile in self._tiles():
            total += signs[:, rows] @ tile
        return (total / n).square().sum(1)

    @property
    def _width(self) -> int:
        return math.prod(each.shape[1] for each in self.factors)

    def _moments(self) -> tuple[Float[Tensor, " r"], Float[Tensor, "r r"]]:
        total = self.factors[0].new_zeros(self._width)
        moments = total.new_zeros(self._width, self._width)
        for _, tile in self._tiles():
            total += tile.sum(0)
            moments += tile.mT @ tile
        return total, moments

    def _gram(self) -> Float[Tensor, "n n"]:
        found = self.factors[0] @ self.factors[0].mT
        for each in self.factors[1:]:
            found *= each @ each.mT
        return found

    def _tiles(self) -> Iterator[tuple[slice, Float[Tensor, "b r"]]]:
        for low in range(0, self.n_rows, _TILE):
            rows = slice(low, low + _TILE)
            found = self.factors[0][rows]
            for each in self.factors[1:]:
                found = (found[:, :, None] * each[rows, None]).flatten(1)
            yield rows, found
