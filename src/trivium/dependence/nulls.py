"""The statistic of two variables after every member of a group, by either road."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.dependence.aggregate import Grid
from trivium.dependence.compression import compress
from trivium.dependence.landmarks import landmark_maps
from trivium.dependence.pair import Pair
from trivium.dependence.permutation import Permutations
from trivium.dependence.permutation_null import factor_null, gram_null
from trivium.dependence.shift import Shifts
from trivium.dependence.shift_grams import gram_shifts
from trivium.dependence.shift_stream import stream_shifts
from trivium.parallel import Executor

__all__ = ["NullValues", "permutation_values", "shift_values"]

_GRAM_PAIRS = 20_000**2  # rows squared times pairs of kernels, at most: seconds, not minutes
_SINGLE_ROWS = 2_000
_SMALL_ROWS = 1_000
_EXACT = 1e-12
_RANKS = (64, 100)
_GRID_RANK = 40
_SLACK = {torch.float32: 1e-4, torch.float64: 1e-8}


@dataclass(frozen=True)
class NullValues:
    """Biased HSIC of every pair of kernels and member; the first member is the rows as given.

    Args:
        values: The statistics.
        method: The members and the road, in words.
        residual: Largest share of a kernel's trace left out.
        n_effective: Rows that may move.
        slack: Share of a score that is rounding.
    """

    values: Float[Tensor, "a b t"]
    method: str
    residual: float
    n_effective: int
    slack: float

    @property
    def n_permutations(self) -> int:
        """Members beside the rows as given."""
        return self.values.shape[-1] - 1


def shift_values(
    pair: Pair,
    grids: tuple[Grid, Grid],
    count: int,
    seed: int,
    min_lag: int | None,
    executor: Executor | None = None,
) -> NullValues:
    """Statistics of all cyclic shifts: complete Gram matrices, or features of many rows."""
    n, series = pair.n_rows, min_lag is not None
    pair = replace(pair, x=_near_zero(pair.x, grids[0]), y=_near_zero(pair.y, grids[1]))
    pairs = len(grids[0]) * len(grids[1])
    complete = n**2 * max(1, pairs // 4) <= _GRAM_PAIRS
    shifts = Shifts(n, count, seed, coarse=not (complete or series), shuffle=not series)
    if complete:
        values = gram_shifts(pair.x, grids[0], pair.y, grids[1], shifts, executor=executor)
        residual, road = 0.0, "complete Gram matrices"
    else:
        values, residual, road = _stream_shift_values(pair, grids, shifts, executor)
    words = f"{shifts.total} shifts" + (f" in {shifts.cosets} cosets" if shifts.cosets > 1 else "")
    if series:
        values, words = _lagged(values, min_lag or 1, n)
    slack = _SLACK[torch.float64 if complete and n < _SINGLE_ROWS else torch.float32]
    return NullValues(values, f"{road}, {words}", residual, shifts.moved, slack)


def _near_zero(rows: Tensor, grid: Grid) -> Tensor:
    """Move the origin where no kernel feels it: single precision would lose digits far away."""
    if rows.is_floating_point() and all(kernel.stationary for kernel in grid):
        return rows - rows.median(0).values
    return rows


def _lagged(values: Tensor, least: int, n: int) -> tuple[Tensor, str]:
    m = values.shape[-1]
    if 2 * least > m - 1:
        raise ArgumentError(
            f"independence_test: min_lag must be at most {(m - 1) // 2} for {n} rows; got {least}"
        )
    kept = torch.cat([values[..., :1], values[..., least : m - least + 1]], -1)
    return kept, (
        f"{kept.shape[-1] - 1} shifts of a series by {least} rows or more "
        "(approximate; needs a stationary series)"
    )


def _stream_shift_values(
    pair: Pair, grids: tuple[Grid, Grid], shifts: Shifts, executor: Executor | None
) -> tuple[Tensor, float, str]:
    rank = _RANKS[1] if len(grids[0]) * len(grids[1]) == 1 else _GRID_RANK
    maps_x, left = landmark_maps(pair.x, grids[0], rank)
    maps_y, right = landmark_maps(pair.y, grids[1], rank)
    values = stream_shifts(pair.x, maps_x, pair.y, maps_y, shifts, executor=executor)
    widths = (" + ".join(str(each.n_features) for each in maps) for maps in (maps_x, maps_y))
    return values, max(left, right), "features of rank {} and {}".format(*widths)


def permutation_values(
    pair: Pair,
    grids: tuple[Grid, Grid],
    orders: Permutations,
    executor: Executor | None = None,
) -> NullValues:
    """Statistics of random permutations, within groups where there are any."""
    small = pair.n_rows <= _SMALL_ROWS
    tol = _EXACT if small else 1e-2 / pair.n_rows
    rank = _RANKS[0 if small else 1]
    sides, residual = [], 0.0
    for rows, grid in ((pair.x, grids[0]), (pair.y, grids[1])):
        factors = [kernel.factor(_wide(rows), rank, tol) for kernel in grid]
        residual = max(residual, *(each.relative_residual for each in factors))
        sides.append([each.values.double().mT.contiguous() for each in factors])
    slack = _SLACK[torch.float64 if small else torch.float32]
    number = "all" if orders.enumerated else str(orders.count)
    words = f"{number} permutations" + ("" if orders.groups is None else " within groups")
    if small and residual > _EXACT:
        values = _gram_values(pair, grids, orders, executor)
        slack = _SLACK[torch.float32 if pair.n_rows > 256 else torch.float64]
        return NullValues(values, f"complete Gram matrices, {words}", 0.0, orders.movable, slack)
    phis, psis = sides
    if not small:
        phis, psis = (
            [compress(each[None], tol, torch.float32)[0] for each in side] for side in sides
        )
    widths = [len(each) for each in phis]
    both = torch.cat(phis)
    columns = [factor_null(both, psi.mT, orders, widths=widths, executor=executor) for psi in psis]
    road = f"factors of rank {_widths(phis)} and {_widths(psis)}"
    values = torch.stack(columns, 1).double()
    return NullValues(values, f"{road}, {words}", residual, orders.movable, slack)


def _gram_values(
    pair: Pair, grids: tuple[Grid, Grid], orders: Permutations, executor: Executor | None
) -> Tensor:
    firsts = torch.stack([kernel.gram(_wide(pair.x)).double() for kernel in grids[0]])
    seconds = torch.stack([kernel.gram(_wide(pair.y)).double() for kernel in grids[1]])
    return gram_null(firsts, seconds, orders, executor=executor).double()


def _widths(features: Sequence[Tensor]) -> str:
    return " + ".join(str(len(each)) for each in features)


def _wide(rows: Tensor) -> Tensor:
    return rows.double() if rows.is_floating_point() else rows
