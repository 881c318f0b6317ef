"""One block of a screen: statistics, nulls, tails and functions of columns of one kind."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.errors import DataError
from trivium.dependence.columns import DependenceColumn, FeatureBlock, feature_blocks
from trivium.dependence.compression import compress
from trivium.dependence.permutation import (
    Permutations,
    exceedances,
    factor_null,
    permutation_p_value,
)
from trivium.dependence.shape import Leading, leading_functions
from trivium.dependence.sums import factor_sums
from trivium.dependence.table_result import DependenceRow
from trivium.dependence.tail import Spectrum, hsic_tails

__all__ = [
    "ScreenNull",
    "ScreenTarget",
    "block_nulls",
    "block_rows",
    "leading_of",
    "target_features",
    "tolerance",
]

_FEW = 10  # columns with fewer permuted statistics above their own get more permutations
_NULL_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ScreenTarget:
    """Features of the target: all in float64; the leading ones, centered, by row, in float32."""

    column: DependenceColumn
    values: Float[Tensor, "s n"]
    small: Float[Tensor, "n t"]
    own: float
    spectrum: Spectrum


@dataclass(frozen=True)
class ScreenNull:
    """What the permutations said about one column."""

    count: int
    permutations: int
    band: float
    score: float


def target_features(target: DependenceColumn) -> ScreenTarget:
    """Return the features of a target.

    Raises:
        DataError: It has one value only.
    """
    block = next(feature_blocks([target], rare=1))[1]
    values = block.values[0]
    small = compress(block.values, tolerance(len(target)), torch.float32)[0]
    if len(small) == 0:
        raise DataError(
            "screen: the target must have at least two values; got one",
            where=f"target {target.name!r}",
        )
    own = float(factor_sums(values, values).estimate("unbiased"))
    return ScreenTarget(target, values, small.T.contiguous(), own, _spectrum(small))


def _spectrum(features: Float[Tensor, "r n"]) -> Spectrum:
    """The spectrum of features that are centered and orthogonal already."""
    squares = features.double().square()
    return Spectrum(squares.sum(1), features.shape[1], float(squares.sum(0).square().sum()))


def leading_of(
    column: DependenceColumn, features: Tensor, target: ScreenTarget, null: ScreenNull, fdr: float
) -> Leading:
    """The functions of a column that may be found; of the others nobody asks."""
    if permutation_p_value(null.count, null.permutations) > fdr:
        return Leading("", None)
    return leading_functions(column, features, target.column, target.small.T)


def tolerance(n: int) -> float:
    """Share of a kernel's trace that the null may ignore: far below what n rows can show."""
    return 1e-2 / n


def block_nulls(
    features: list[Tensor], target: ScreenTarget, orders: Permutations, more: Permutations
) -> tuple[list[ScreenNull], Float[Tensor, " b"]]:
    """Compare each column with its permutations; return also the largest score of each order."""
    widths = [len(each) for each in features]
    null = factor_null(torch.cat(features), target.small, orders, widths=widths)
    observed, drawn = null[:, 0], null[:, 1:]
    counts = exceedances(drawn, observed)
    totals = torch.full_like(counts, orders.count)
    few = torch.nonzero((counts < _FEW) & (torch.tensor(widths) > 0))[:, 0].tolist()
    if more is not orders:
        skip = 1 if more.enumerated else orders.count + 1
        step = max(1, _NULL_BYTES // (4 * more.count))
        for low in range(0, len(few), step):
            part = few[low : low + step]
            again = factor_null(
                torch.cat([features[i] for i in part]),
                target.small,
                more,
                widths=[widths[i] for i in part],
                start=skip,
            )
            before = 0 if more.enumerated else counts[part]
            counts[part] = before + exceedances(again, observed[part])
            totals[part] = more.count
    spread = null.std(1, keepdim=True)
    scores = torch.where(spread > 0, (null - null.mean(1, keepdim=True)) / spread, -math.inf)
    bands = torch.quantile(drawn, 0.95, dim=1) - drawn.mean(1)
    return [
        ScreenNull(int(c), int(t), float(b), float(s))
        for c, t, b, s in zip(counts, totals, bands, scores[:, 0], strict=True)
    ], scores.amax(0)


def block_rows(
    block: FeatureBlock,
    features: list[Tensor],
    target: ScreenTarget,
    nulls: list[ScreenNull],
    drawn: list[Leading],
) -> list[DependenceRow]:
    """Statistics of each column, in float64 and from all features."""
    pair = factor_sums(block.values, target.values)
    own = factor_sums(block.values, block.values).estimate("unbiased")
    scale = (own * target.own).clamp_min(0).sqrt()
    biased, unbiased = pair.estimate("biased"), pair.estimate("unbiased")
    tails = hsic_tails(biased, [_spectrum(each) for each in features], target.spectrum)
    rows = []
    for i, (column, null) in enumerate(zip(block.columns, nulls, strict=True)):
        constant = math.isinf(null.score)
        size = 0.0 if constant else float(scale[i])
        rows.append(
            DependenceRow(
                name=column.name,
                kind=column.kind,
                kernel=block.kernels[i],
                n_rows=len(column),
                missing=int(column.missing.sum()),
                statistic=0.0 if constant else max(0.0, float(biased[i])),
                cka=float(unbiased[i]) / size if size > 0 else 0.0,
                p_value=permutation_p_value(null.count, null.permutations),
                q_value=1.0,
                p_adjusted=1.0,
                method="constant" if constant else "",
                n_permutations=null.permutations,
                null_band=null.band / size if size > 0 else 0.0,
                residual=block.residuals[i],
                p_tail=1.0 if constant else float(tails[i]),
                shape=drawn[i].shape,
                functions=drawn[i].functions,
            )
        )
    return rows
