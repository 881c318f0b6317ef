"""Centered kernels of many columns, compared by r × r cross products instead of Gram matrices."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_choice
from trivium._core.errors import DataError
from trivium.dependence.columns import DependenceColumn, feature_blocks
from trivium.dependence.compression import compress
from trivium.dependence.number_features import (
    NumberColumns,
    gaussian_features,
    number_features,
)

__all__ = ["ColumnProducts", "target_column", "target_features"]

_TARGETS = ("auto", "number", "category")
_FEW_LEVELS = 64
_BLOCK_BYTES = 16 * 2**20
_KEPT_BYTES = 2**30
_WIDTH = 120  # features of a number before compression: value, ranks, levels of what is missing
_TOL = 1e-8  # alignments are right to about 1e-9


@dataclass
class ColumnProducts:
    r"""Centered kernel alignments of numeric columns, missing values a level of their own.

    With $\Phi_k$ the centered features of column k, its centered Gram matrix is
    $\bar K_k = \Phi_k^\top \Phi_k$, and
    $\langle \bar K_k, \bar K_l \rangle = \lVert \Phi_k \Phi_l^\top \rVert_F^2$: no n × n matrix.
    Features are kept up to a gigabyte; those of the columns beyond it are made again when needed.

    Args:
        columns: Columns as rows, NaN for missing.
        lengthscale: Of the Gaussian kernels: `"median"`, the median distance of each column's own
            values (and ranks beside values where the kurtosis is above 20); or a number of
            standard deviations.
        tol: Share of a kernel's trace that its features may leave out, where 50 features can.

    Attributes:
        norms: Frobenius norm of each centered Gram matrix; 0 for a constant column.

    Cost: O(n d r²) time; memory of the features, O(n d r), about 14 a column, or of a gigabyte.
    """

    columns: Float[Tensor, "d n"]
    lengthscale: str | float = "median"
    tol: float = _TOL
    norms: Float[Tensor, " d"] = field(init=False)

    def __post_init__(self) -> None:
        d, n = self.columns.shape
        self._step = max(1, _BLOCK_BYTES // (8 * _WIDTH * n))
        self._kept: dict[int, tuple[Tensor, list[int]]] = {}
        norms, held = [], 0
        for part in range(-(-d // self._step)):
            stacked, widths = self._part(part)
            norms += [(each @ each.mT).square().sum().sqrt() for each in stacked.split(widths)]
            held += 8 * stacked.numel()
            if held <= _KEPT_BYTES:
                self._kept[part] = stacked, widths
        self.norms = torch.stack(norms)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def constant(self) -> Tensor:
        """Which columns do not vary."""
        return self.norms <= 0

    def features(self, place: int) -> Float[Tensor, "s n"]:
        """Return the features of one column, centered over the rows."""
        stacked, widths = self._part(place // self._step)
        return stacked.split(widths)[place % self._step]

    def alignment(self, psi: Float[Tensor, "s n"]) -> Float[Tensor, " d"]:
        """Centered kernel alignment in [0, 1] of every column with other centered features.

        Cost: O(n r s) time for r features in all, a fixed budget of memory.
        """
        sums = []
        for part in range(-(-len(self) // self._step)):
            stacked, widths = self._part(part)
            squares = (stacked @ psi.mT).square().sum(1)
            sums += [each.sum() for each in squares.split(widths)]
        scale = self.norms * (psi @ psi.mT).square().sum().sqrt()
        return torch.where(scale > 0, torch.stack(sums) / scale, 0.0)

    def column(self, place: int) -> Float[Tensor, " d"]:
        """Alignment of every column with one of them."""
        return self.alignment(self.features(place))

    def _part(self, part: int) -> tuple[Tensor, list[int]]:
        """Features of a block of columns, one column's below another's, and how many each has."""
        if part in self._kept:
            return self._kept[part]
        block = self.columns[part * self._step : (part + 1) * self._step]
        features = _features(block, self.lengthscale, self.tol)
        return torch.cat(features), [len(each) for each in features]


def _features(
    columns: Float[Tensor, "d n"], lengthscale: str | float, tol: float
) -> list[Float[Tensor, "s n"]]:
    if isinstance(lengthscale, str):
        return compress(number_features(NumberColumns(columns), tol)[0], tol)
    observed = torch.isfinite(columns)
    held = torch.where(observed, columns, 0.0)
    held = held / held.abs().amax(1, keepdim=True).clamp_min(torch.finfo(held.dtype).tiny)
    count = observed.sum(1, keepdim=True).clamp_min(1)
    apart = torch.where(observed, held - held.sum(1, keepdim=True) / count, 0.0)
    spread = (apart.square().sum(1) / count[:, 0]).sqrt()
    # A constant column has no spread; any scale gives it the same constant kernel.
    scales = torch.where(spread > 0, lengthscale * spread, 1.0)
    features = gaussian_features(apart, observed, scales, tol=tol)[0]
    missing = (~observed).to(features.dtype)[:, None]
    return compress(torch.cat([features, missing], 1), tol)


def target_features(
    target: DependenceColumn, lengthscale: str | float = "median", tol: float = _TOL
) -> Float[Tensor, "s n"]:
    """Centered features of y.

    A number has the kernel of a numeric column. Of categories, two rows of one level with m rows
    have 1/m and others 0, so that every level weighs the same.

    Args:
        target: y as a column, none missing.
        lengthscale: As for `ColumnProducts`.
        tol: The same.

    Source: Yamada et al., Neural Computation 26 (2014) 185 (the weights).
    """
    if target.kind == "number":
        return _features(torch.from_numpy(target.values)[None], lengthscale, tol)[0]
    levels = next(feature_blocks([target], rare=1))[1].values
    return compress(levels / levels.sum(-1, keepdim=True).sqrt(), tol)[0]


def target_column(caller: str, labels: NDArray[Any], kind: str) -> DependenceColumn:
    """Return y as a column of `kind`.

    Args:
        caller: The public name that was called.
        labels: One for each row, none missing.
        kind: `"number"`, `"category"` or `"auto"`: text, booleans and integers with at most 64
            levels that repeat (twice on average) are categories, everything else numbers.

    Raises:
        ArgumentError: An unknown kind.
        DataError: One value only, labels of mixed types, or text where numbers are asked for.
    """
    check_choice(caller, "target", kind, _TARGETS)
    numbers = labels.dtype.kind in "iuf"
    if kind == "number" and not numbers:
        raise DataError(f"{caller}: y must be numbers for target='number'; got {labels.dtype}")
    try:
        levels, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise DataError(f"{caller}: y must be labels of one type; {error}") from error
    if len(levels) < 2:
        raise DataError(f"{caller}: y must have at least two values; got only {levels[0]!r}")
    if kind == "auto":
        few = len(levels) <= min(_FEW_LEVELS, max(2, len(labels) // 2))
        kind = "category" if not numbers or (labels.dtype.kind in "iu" and few) else "number"
    values = codes.reshape(-1) if kind == "category" else labels.astype(np.float64)
    return DependenceColumn("y", kind, values)
