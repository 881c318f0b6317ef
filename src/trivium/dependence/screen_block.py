"""One block of a screen: statistics, nulls, tails and functions of columns of one kind."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.errors import DataError
from trivium.dependence.aggregate import FACTORS, aggregate_null, penalties, steps_from
from trivium.dependence.column_grid import ColumnGrid, number_grids
from trivium.dependence.columns import DependenceColumn, FeatureBlock, feature_blocks
from trivium.dependence.compression import compress
from trivium.dependence.grid_null import GridTarget, Members
from trivium.dependence.shape import Leading, leading_functions
from trivium.dependence.stages import Rank, Stages
from trivium.dependence.sums import factor_sums
from trivium.dependence.table_result import DependenceRow
from trivium.dependence.tail import Spectrum, hsic_tails

__all__ = [
    "BlockFeatures",
    "ScreenNull",
    "ScreenTarget",
    "ScreenedBlock",
    "block_nulls",
    "block_rows",
    "screen_block",
]

_SEEN = 0.5  # share of the largest height over the group that the median kernels must see


@dataclass(frozen=True)
class ScreenTarget:
    """A target: all features in float64, the leading ones, and its kernels for the null."""

    column: DependenceColumn
    values: Float[Tensor, "s n"]
    small: Float[Tensor, "t n"]
    grid: ColumnGrid
    own: float
    spectrum: Spectrum

    @classmethod
    def of(cls, target: DependenceColumn) -> "ScreenTarget":
        """Take the features of a target.

        Raises:
            DataError: It has one value only.
        """
        block = next(feature_blocks([target], rare=1))[1]
        features = BlockFeatures.of(block, target=True)
        small = features.small[0]
        if not len(small):
            raise DataError(
                "screen: the target must have at least two values; got one",
                where=f"target {target.name!r}",
            )
        values = block.values[0]
        own = float(factor_sums(values, values).estimate("unbiased"))
        return cls(target, values, small, features.grids[0], own, _spectrum(small))


@dataclass(frozen=True)
class BlockFeatures:
    """Columns of one kind: the leading features of each, centered, and its kernels for the null."""

    block: FeatureBlock
    small: list[Float[Tensor, "_ n"]]
    grids: list[ColumnGrid]

    @classmethod
    def of(cls, block: FeatureBlock, *, target: bool = False) -> "BlockFeatures":
        """Numbers are given at five lengthscales, all else as it is."""
        tol = _tolerance(block.values.shape[-1])
        small = compress(block.values, tol, torch.float32)
        if block.numbers is None:
            return cls(block, small, [ColumnGrid(each) for each in small])
        return cls(block, small, number_grids(block.numbers, tol, target=target))


@dataclass(frozen=True)
class ScreenNull:
    """What the group said of one column.

    Args:
        rank: Where it stands.
        band: 95 % point of the statistic of the median kernels above its mean.
        score: Its largest statistic, in standard deviations of that over the first group.
        finer: Number of the pair of kernels that sees the dependence where the median ones hardly
            do; `None` where they do.
    """

    rank: Rank
    band: float
    score: float
    finer: int | None


def _spectrum(features: Float[Tensor, "r n"]) -> Spectrum:
    """The spectrum of features that are centered and orthogonal already."""
    squares = features.double().square()
    return Spectrum(squares.sum(1), features.shape[1], float(squares.sum(0).square().sum()))


def _tolerance(n: int) -> float:
    """Share of a kernel's trace that the null may ignore: far below what n rows can show."""
    return 1e-2 / n


@dataclass(frozen=True)
class ScreenedBlock:
    """What the screen says of the columns of one batch.

    Args:
        rows: One for each column; what needs all columns is filled in later.
        scores: Of each column, in standard deviations over the first group.
        largest: The largest score of each member of the first group.
    """

    rows: list[DependenceRow]
    scores: list[float]
    largest: Float[Tensor, " t"]


def screen_block(
    columns: Sequence[DependenceColumn], shared: tuple[ScreenTarget, Stages, float]
) -> ScreenedBlock:
    """Screen one batch of `column_batches`: what one worker does.

    Args:
        columns: The columns, at the rows that are compared.
        shared: The target, the groups and the level of the false-discovery rule.
    """
    target, stages, fdr = shared
    features = BlockFeatures.of(next(feature_blocks(columns))[1])
    nulls, largest = block_nulls(features, target, stages)
    rows = block_rows(features, target, nulls, fdr)
    return ScreenedBlock(rows, [null.score for null in nulls], largest)


def block_nulls(
    features: BlockFeatures, target: ScreenTarget, stages: Stages
) -> tuple[list[ScreenNull], Float[Tensor, " t"]]:
    """Rank each column in its groups; return also the largest score of each member of the first.

    Args:
        features: The columns.
        target: The target.
        stages: The groups.
    """
    moved = GridTarget(target.grid, stages.first)
    ranks, bands, first, finer = [], [], [], []
    largest: Tensor = torch.tensor(-torch.inf)
    for grid in features.grids:
        values = moved.null(grid)
        scores = _scores(values, grid, target.grid)
        middle = values[_middle(grid, target.grid), 1:]
        ranks.append(Rank.of(scores))
        bands.append(float(torch.quantile(middle, 0.95) - middle.mean()))
        spread = float(scores.std(correction=0))
        even = (scores - scores.mean()) / spread if spread > 0 else scores
        first.append(float(even[0]))
        finer.append(_finer(values, _middle(grid, target.grid)))
        largest = torch.maximum(largest, even)

    def again(members: Members, few: list[int]) -> list[Rank]:
        further = GridTarget(target.grid, members)
        grids = [features.grids[i] for i in few]
        return [Rank.of(_scores(further.null(grid), grid, target.grid)) for grid in grids]

    ranks = stages.follow(ranks, again, [column.name for column in features.block.columns])
    nulls = [ScreenNull(*each) for each in zip(ranks, bands, first, finer, strict=True)]
    return nulls, largest


def _scores(values: Float[Tensor, "g t"], column: ColumnGrid, target: ColumnGrid) -> Tensor:
    first, second = (steps_from(_median(len(each)), len(each)) for each in (column, target))
    return aggregate_null(values, penalties(first, second).flatten())


def _middle(column: ColumnGrid, target: ColumnGrid) -> int:
    """Number of the pair of median kernels."""
    return _median(len(column)) * len(target) + _median(len(target))


def _median(count: int) -> int:
    return FACTORS.index(1.0) if count > 1 else 0


def _finer(values: Float[Tensor, "g t"], middle: int) -> int | None:
    heights = (values[:, 0] - values.mean(1)) / values.std(1).clamp_min(1e-30)
    best = int(heights.argmax())
    return best if heights[middle] < _SEEN * heights[best] else None


def block_rows(
    features: BlockFeatures, target: ScreenTarget, nulls: list[ScreenNull], fdr: float
) -> list[DependenceRow]:
    """Statistics of each column by its median kernel, in float64 and from all features.

    Args:
        features: The columns.
        target: The target.
        nulls: What the groups said of each.
        fdr: Leading functions are of those that may be found; of the others nobody asks. They are
            those of the median kernels, or of the best where these hardly see anything.
    """
    block = features.block
    pair = factor_sums(block.values, target.values)
    own = factor_sums(block.values, block.values).estimate("unbiased")
    scale = (own * target.own).clamp_min(0).sqrt()
    biased, unbiased = pair.estimate("biased"), pair.estimate("unbiased")
    tails = hsic_tails(biased, [_spectrum(each) for each in features.small], target.spectrum)
    rows = []
    for i, (column, null) in enumerate(zip(block.columns, nulls, strict=True)):
        small = features.small[i]
        constant = not len(small)
        size = 0.0 if constant else float(scale[i])
        drawn = Leading("", None)
        if null.rank.p_value <= fdr:
            phi, psi = small, target.small
            if null.finer is not None:
                left, right = divmod(null.finer, len(target.grid))
                phi, psi = features.grids[i].features()[left], target.grid.features()[right]
            drawn = leading_functions(column, phi, target.column, psi)
        rows.append(
            DependenceRow(
                name=column.name,
                kind=column.kind,
                kernel=block.kernels[i],
                n_rows=len(column),
                missing=int(column.missing.sum()),
                statistic=0.0 if constant else max(0.0, float(biased[i])),
                cka=float(unbiased[i]) / size if size > 0 else 0.0,
                p_value=null.rank.p_value,
                q_value=1.0,
                p_adjusted=1.0,
                method="constant" if constant else "",
                n_permutations=null.rank.members,
                null_band=null.band / size if size > 0 else 0.0,
                residual=block.residuals[i],
                p_tail=1.0 if constant else float(tails[i]),
                shape=drawn.shape,
                functions=drawn.functions,
            )
        )
    return rows
