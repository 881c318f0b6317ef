"""HSIC of every shift of very many rows, from features that are never stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from trivium.dependence.shift import Shifts
from trivium.kernel.feature_map import FeatureMap
from trivium.moment import MergeTree
from trivium.parallel import Executor, SerialExecutor

__all__ = ["stream_shifts"]

_BUDGET = 96 * 2**20
_BLOCK_ROWS = 2**17  # what comes back from a block is as large as a cross spectrum
_BLOCKS = 16


def stream_shifts(
    x: Shaped[Tensor, "n d"],
    maps_x: Sequence[FeatureMap],
    y: Shaped[Tensor, "n e"],
    maps_y: Sequence[FeatureMap],
    shifts: Shifts,
    *,
    budget: int = _BUDGET,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> Float[Tensor, "a b t"]:
    r"""Biased HSIC of x with y after every member of a group of shifts, for every pair of maps.

    As `GridTarget`, but a few places of the grid of `length` by `stride` rows at a time: their
    features are made, transformed along the shifts, and added to the cross spectra.

    Args:
        x: Rows of x; those of both variables are put in the order `shifts.start()` here.
        maps_x: Fitted feature maps of x. They must not depend on how x and y are paired.
        y: Rows of y.
        maps_y: Fitted feature maps of y.
        shifts: The group.
        budget: Bytes for features and cross spectra.
        progress: Called with the rows done and in all, each as often as it is read.
        executor: Where blocks of rows are read, with one thread each: in this process by default.
            From 262,144 rows on there are several, and their sums are merged in one tree.

    Returns:
        Statistics in float64, `[..., 0]` of the rows as given.

    Cost:
        O(n r s + r s t log t) time for r and s features in all and t members; `budget` memory, and
        the cross products of one map of x for all members.

    Source: ours; for the exactness see `Shifts`.
    """
    start = torch.from_numpy(shifts.start()).to(x.device)
    bases = [start[torch.from_numpy(base).to(x.device)] for base in shifts.bases()]
    step = _maps_at_once(maps_x, maps_y, shifts, budget)
    parts = [maps_x[low : low + step] for low in range(0, len(maps_x), step)]
    lefts = [_Side.of(x, part, start) for part in parts]
    rights = [_Side.of(y, maps_y, base) for base in bases]
    rows = _row_blocks(shifts)
    blocks = list(product(range(len(parts)), range(len(bases)), rows))
    found = x.new_zeros(len(maps_x), len(maps_y), shifts.total, dtype=torch.float64)
    trees: dict[tuple[int, int], MergeTree[_Cross]] = {}
    done = 0
    for number, cross in (executor or SerialExecutor()).each(
        _crossed, blocks, shared=(lefts, rights, shifts, budget)
    ):
        part, coset, (low, high) = blocks[number]
        tree = trees.setdefault((part, coset), MergeTree())
        tree.add(number % len(rows), cross)
        if len(tree) == len(rows):
            members = slice(coset * shifts.length, (coset + 1) * shifts.length)
            sums = trees.pop((part, coset)).total()
            values = sums.statistics(shifts, lefts[part].widths, rights[coset].widths)
            found[part * step : (part + 1) * step, :, members] = values
        done += (high - low) * shifts.length
        if progress is not None:
            progress(done, shifts.moved * len(parts) * len(bases))
    return found


def _row_blocks(shifts: Shifts) -> list[tuple[int, int]]:
    """Cut the places of the grid, the same whoever works on them."""
    count = min(_BLOCKS, max(1, shifts.n_rows // _BLOCK_ROWS), shifts.stride)
    cuts = [shifts.stride * i // count for i in range(count + 1)]
    return list(pairwise(cuts))


def _maps_at_once(
    maps_x: Sequence[FeatureMap], maps_y: Sequence[FeatureMap], shifts: Shifts, budget: int
) -> int:
    """Maps of x whose cross spectra fit the budget; at least one."""
    each = 4 * (shifts.length + 2) * sum(m.n_features for m in maps_y)
    widest = max(m.n_features for m in maps_x)
    return max(1, budget // max(1, each * widest))


@dataclass(frozen=True, eq=False)
class _Side:
    """One variable in one order: its features near zero mean, a few rows at a time.

    Args:
        rows: Rows.
        maps: Feature maps.
        order: Order of the rows.
        widths: Features of each map.
        middle: A rough mean; what is left of it is taken out exactly at the end.
    """

    rows: Shaped[Tensor, "n d"]
    maps: Sequence[FeatureMap]
    order: Int64[Tensor, " n"]
    widths: tuple[int, ...]
    middle: Float[Tensor, " r"]

    @classmethod
    def of(cls, rows: Tensor, maps: Sequence[FeatureMap], order: Tensor) -> "_Side":
        widths = tuple(each.n_features for each in maps)
        zero = rows.new_zeros(sum(widths), dtype=torch.float32)
        rough = cls(rows, maps, order, widths, zero)
        middle = rough.features(order[:: -(-len(order) // 4096)]).mean(0)
        return cls(rows, maps, order, widths, middle)

    def features(self, places: Tensor) -> Float[Tensor, "k r"]:
        rows = self.rows[places]
        if rows.is_floating_point():
            rows = rows.float()
        found = [each.transform(rows).float() for each in self.maps]
        return (torch.cat(found, 1) if len(found) > 1 else found[0]).sub_(self.middle)


class _Cross:
    """Cross products of two variables for every shift, added up as a spectrum."""

    def __init__(self, length: int, left: _Side, right: _Side) -> None:
        shape = (length // 2 + 1, sum(left.widths), sum(right.widths))
        device = left.rows.device
        self.spectrum = torch.zeros(shape, dtype=torch.complex64, device=device)
        self.still = torch.zeros(shape[1:], dtype=torch.float64, device=device)
        self.left = torch.zeros(shape[1], dtype=torch.float64, device=device)
        self.right = torch.zeros(shape[2], dtype=torch.float64, device=device)

    def copy(self) -> "_Cross":
        found = object.__new__(_Cross)
        found.spectrum, found.still = self.spectrum.clone(), self.still.clone()
        found.left, found.right = self.left.clone(), self.right.clone()
        return found

    def merge(self, other: "_Cross") -> "_Cross":
        self.spectrum += other.spectrum
        self.still += other.still
        self.left += other.left
        self.right += other.right
        return self

    def add_moving(self, front: Float[Tensor, "k w r"], back: Float[Tensor, "k w s"]) -> None:
        self.left += front.flatten(0, 1).sum(0, dtype=torch.float64)
        self.right += back.flatten(0, 1).sum(0, dtype=torch.float64)
        self.spectrum.baddbmm_(torch.fft.rfft(front, dim=0).mH, torch.fft.rfft(back, dim=0))

    def add_still(self, front: Float[Tensor, "k r"], back: Float[Tensor, "k s"]) -> None:
        """Add the rows that stay in place."""
        self.left += front.sum(0, dtype=torch.float64)
        self.right += back.sum(0, dtype=torch.float64)
        self.still += front.mT.double() @ back.double()

    def statistics(
        self, shifts: Shifts, left: Sequence[int], right: Sequence[int]
    ) -> Float[Tensor, "a b t"]:
        n = shifts.n_rows
        still = self.still - torch.outer(self.left, self.right) / n
        rows = []
        for top, height in _ranges(left):
            part = self.spectrum[:, top : top + height]
            series = torch.fft.irfft(part, shifts.length, dim=0)
            series += still[top : top + height].float()
            squares = series.square_().sum(1)
            rows.append(torch.stack([squares[:, a : a + w].sum(1) for a, w in _ranges(right)]))
        return torch.stack(rows).double() / n**2


def _crossed(
    block: tuple[int, int, tuple[int, int]],
    shared: tuple[list[_Side], list[_Side], Shifts, int],
) -> _Cross:
    """Read one block of rows; the last one of its pass has the rows that stay in place too."""
    part, coset, (low, high) = block
    lefts, rights, shifts, budget = shared
    sides = lefts[part], rights[coset]
    length, stride, moved = shifts.length, shifts.stride, shifts.moved
    found = _Cross(length, *sides)
    width = max(1, budget // (24 * length * sum(sum(side.widths) for side in sides)))
    grids = [side.order[:moved].reshape(length, stride) for side in sides]
    for at in range(low, high, width):
        front, back = (
            side.features(grid[:, at : min(at + width, high)].reshape(-1)).reshape(length, -1, r)
            for side, grid, r in zip(sides, grids, map(len, (found.left, found.right)), strict=True)
        )
        found.add_moving(front, back)
    if high == stride and moved < shifts.n_rows:
        front, back = (side.features(side.order[moved:]) for side in sides)
        found.add_still(front, back)
    return found


def _ranges(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Place and width of each map among all features."""
    starts = [sum(widths[:place]) for place in range(len(widths))]
    return list(zip(starts, widths, strict=True))
