"""Centered kernels of many columns, compared by r × r cross products instead of Gram matrices."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_choice
from trivium._core.errors import DataError
from trivium.dependence.columns import DependenceColumn
from trivium.dependence.compression import compress
from trivium.dependence.number_features import gaussian_features, number_features

__all__ = ["ColumnProducts", "column_products", "target_column"]

_TARGETS = ("auto", "number", "category")
_FEW_LEVELS = 64
_MAKE_BYTES = 16 * 2**20
_COMPARE_BYTES = 16 * 2**20
_WIDTH = 120  # features of a number before compression: value, ranks, levels of what is missing
_KEEP = 1e-6


@dataclass(frozen=True)
class ColumnProducts:
    r"""Features of d columns, centered over the rows, one column's below another's.

    With $\Phi_k$ the features of column k, the centered Gram matrices are $\Phi_k^\top \Phi_k$ and
    $\langle \bar K_k, \bar K_l \rangle = \lVert \Phi_k \Phi_l^\top \rVert_F^2$: no n × n matrix.

    Args:
        values: The features.
        starts: Place of each column's first feature, and the number of all.
        norms: Frobenius norm of each centered Gram matrix; 0 for a constant column.
    """

    values: Float[Tensor, "r n"]
    starts: Int64[Tensor, " d1"]
    norms: Float[Tensor, " d"]

    @classmethod
    def of(cls, features: list[Float[Tensor, "s n"]]) -> "ColumnProducts":
        """Stack centered features; a column without any is constant."""
        widths = torch.tensor([0, *(len(each) for each in features)])
        norms = torch.stack([(each @ each.mT).square().sum().sqrt() for each in features])
        return cls(torch.cat(features), widths.cumsum(0), norms)

    def __len__(self) -> int:
        return len(self.norms)

    @property
    def constant(self) -> Tensor:
        """Which columns do not vary."""
        return self.norms <= 0

    def features(self, column: int) -> Float[Tensor, "s n"]:
        """Return the features of one column."""
        return self.values[int(self.starts[column]) : int(self.starts[column + 1])]

    def alignment(self, psi: Float[Tensor, "s n"]) -> Float[Tensor, " d"]:
        """Centered kernel alignment in [0, 1] of every column with other centered features.

        Cost: O(n r s) time for r features in all, a fixed budget of memory.
        """
        own = (psi @ psi.mT).square().sum().sqrt()
        squares = torch.cat([part.square().sum(1) for part in self._cross(psi)])
        sums = torch.cat([squares.new_zeros(1), squares.cumsum(0)])[self.starts].diff()
        scale = self.norms * own
        return torch.where(scale > 0, sums / scale, 0.0)

    def column(self, place: int) -> Float[Tensor, " d"]:
        """Alignment of every column with one of them."""
        return self.alignment(self.features(place))

    def _cross(self, psi: Tensor) -> Iterator[Tensor]:
        step = max(1, _COMPARE_BYTES // (8 * max(1, len(psi))))
        for low in range(0, max(1, len(self.values)), step):
            yield self.values[low : low + step] @ psi.mT


def column_products(
    columns: Float[Tensor, "d n"], lengthscale: str | float = "median"
) -> ColumnProducts:
    """Features of numeric columns with Gaussian kernels, missing values as a level of their own.

    Args:
        columns: Columns as rows, NaN for missing.
        lengthscale: `"median"`, the median distance of each column's own values (and ranks beside
            values where the kurtosis is above 20); or a number of standard deviations.

    Cost: O(d n r²) time, O(n r) memory for r features in all, about 12 a column.
    """
    found: list[Tensor] = []
    step = max(1, _MAKE_BYTES // (8 * _WIDTH * columns.shape[1]))
    for low in range(0, len(columns), step):
        part = columns[low : low + step]
        if lengthscale == "median":
            features = number_features(part)[0]
        else:
            features = _by_deviations(part, float(lengthscale))
        # A copy, so that the wide features of the block are not kept alive by views.
        found += [each.clone() for each in compress(features, _KEEP)]
    return ColumnProducts.of(found)


def _by_deviations(columns: Tensor, lengthscale: float) -> Tensor:
    observed = torch.isfinite(columns)
    held = torch.where(observed, columns, 0.0)
    held = held / held.abs().amax(1, keepdim=True).clamp_min(torch.finfo(held.dtype).tiny)
    count = observed.sum(1, keepdim=True).clamp_min(1)
    apart = torch.where(observed, held - held.sum(1, keepdim=True) / count, 0.0)
    spread = (apart.square().sum(1) / count[:, 0]).sqrt()
    # A constant column has no spread; any scale gives it the same constant kernel.
    scales = torch.where(spread > 0, lengthscale * spread, 1.0)
    features = gaussian_features(apart, observed, scales)[0]
    missing = (~observed).to(features.dtype)[:, None]
    return torch.cat([features, missing], 1)


def target_column(caller: str, labels: NDArray[Any], kind: str) -> DependenceColumn:
    """Return y as a column of `kind`.

    Args:
        caller: The public name that was called.
        labels: One for each row, none missing.
        kind: `"number"`, `"category"` or `"auto"`: text, booleans and whole numbers with at most 64
            levels that repeat (twice on average) are categories, everything else numbers.

    Raises:
        ArgumentError: An unknown kind.
        DataError: One value only, or text where numbers are asked for.
    """
    check_choice(caller, "target", kind, _TARGETS)
    numbers = labels.dtype.kind in "iuf"
    if kind == "number" and not numbers:
        raise DataError(f"{caller}: y must be numbers for target='number'; got {labels.dtype}")
    levels, codes = np.unique(labels, return_inverse=True)
    if len(levels) < 2:
        raise DataError(f"{caller}: y must have at least two values; got only {levels[0]!r}")
    if kind == "auto":
        few = len(levels) <= min(_FEW_LEVELS, max(2, len(labels) // 2))
        kind = "category" if not numbers or (labels.dtype.kind in "iu" and few) else "number"
    values = codes.reshape(-1) if kind == "category" else labels.astype(np.float64)
    return DependenceColumn("y", kind, values)
