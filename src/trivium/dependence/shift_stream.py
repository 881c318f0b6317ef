"""HSIC of every shift of very many rows, from features that are never stored."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from trivium.dependence.shift import Shifts
from trivium.kernel.feature_map import FeatureMap

__all__ = ["stream_shifts"]

_BUDGET = 96 * 2**20


def stream_shifts(
    x: Shaped[Tensor, "n d"],
    maps_x: Sequence[FeatureMap],
    y: Shaped[Tensor, "n e"],
    maps_y: Sequence[FeatureMap],
    shifts: Shifts,
    *,
    budget: int = _BUDGET,
    progress: Callable[[int, int], None] | None = None,
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
        progress: Called with the rows done and in all.

    Returns:
        Statistics in float64, `[..., 0]` of the rows as given.

    Cost:
        O(n r s + r s t log t) time for r and s features in all and t members; `budget` memory, and
        the cross products of one map of x for all members.

    Source: ours; for the exactness see `Shifts`.
    """
    start = torch.from_numpy(shifts.start()).to(x.device)
    bases = [start[torch.from_numpy(base).to(x.device)] for base in shifts.bases()]
    found = x.new_zeros(len(maps_x), len(maps_y), shifts.total, dtype=torch.float64)
    step = _maps_at_once(maps_x, maps_y, shifts, budget)
    for low in range(0, len(maps_x), step):
        part = maps_x[low : low + step]
        for coset, base in enumerate(bases):
            cross = _Cross(_Side(x, part, start), _Side(y, maps_y, base), shifts, budget)
            cross.run(progress)
            members = slice(coset * shifts.length, (coset + 1) * shifts.length)
            found[low : low + step, :, members] = cross.statistics()
    return found


def _maps_at_once(
    maps_x: Sequence[FeatureMap], maps_y: Sequence[FeatureMap], shifts: Shifts, budget: int
) -> int:
    """Maps of x whose cross spectra fit the budget; at least one."""
    each = 4 * (shifts.length + 2) * sum(m.n_features for m in maps_y)
    widest = max(m.n_features for m in maps_x)
    return max(1, budget // max(1, each * widest))


class _Side:
    """One variable: its features near zero mean, a few rows at a time, and their sum."""

    def __init__(
        self, rows: Shaped[Tensor, "n d"], maps: Sequence[FeatureMap], order: Tensor
    ) -> None:
        self.rows, self.maps, self.order = rows, maps, order
        self.widths = [m.n_features for m in maps]
        # A rough mean first: what is left of it is taken out exactly at the end.
        self.middle = rows.new_zeros(sum(self.widths), dtype=torch.float32)
        self.middle = self.features(order[:: -(-len(order) // 4096)]).mean(0)
        self.total = torch.zeros_like(self.middle, dtype=torch.float64)

    def features(self, places: Tensor) -> Float[Tensor, "k r"]:
        rows = self.rows[places]
        if rows.is_floating_point():
            rows = rows.float()
        found = [each.transform(rows).float() for each in self.maps]
        return (torch.cat(found, 1) if len(found) > 1 else found[0]).sub_(self.middle)

    def block(self, grid: Tensor) -> Complex[Tensor, "f w r"]:
        """Transform a block of the grid along its shifts, and add up its rows."""
        values = self.features(grid.reshape(-1))
        self.total += values.sum(0, dtype=torch.float64)
        return torch.fft.rfft(values.reshape(*grid.shape, -1), dim=0)


class _Cross:
    """Cross products of two variables for every shift, added up as a spectrum."""

    def __init__(self, left: _Side, right: _Side, shifts: Shifts, budget: int) -> None:
        self.left, self.right, self.shifts = left, right, shifts
        shape = (shifts.length // 2 + 1, sum(left.widths), sum(right.widths))
        self.spectrum = torch.zeros(shape, dtype=torch.complex64, device=left.rows.device)
        self.still = torch.zeros(shape[1:], dtype=torch.float64, device=left.rows.device)
        per_place = 24 * shifts.length * (shape[1] + shape[2])
        self.width = max(1, budget // per_place)

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        length, stride, moved = self.shifts.length, self.shifts.stride, self.shifts.moved
        grids = [side.order[:moved].reshape(length, stride) for side in (self.left, self.right)]
        for low in range(0, stride, self.width):
            front, back = (
                side.block(grid[:, low : low + self.width])
                for side, grid in zip((self.left, self.right), grids, strict=True)
            )
            self.spectrum.baddbmm_(front.mH, back)
            if progress is not None:
                progress(min(low + self.width, stride) * length, moved)
        if moved < self.shifts.n_rows:
            self._add_still(moved)

    def _add_still(self, moved: int) -> None:
        """Add the rows that stay in place."""
        front, back = (side.features(side.order[moved:]) for side in (self.left, self.right))
        self.left.total += front.sum(0, dtype=torch.float64)
        self.right.total += back.sum(0, dtype=torch.float64)
        self.still += front.mT.double() @ back.double()

    def statistics(self) -> Float[Tensor, "a b t"]:
        n = self.shifts.n_rows
        still = self.still - torch.outer(self.left.total, self.right.total) / n
        rows = []
        for top, height in _ranges(self.left.widths):
            part = self.spectrum[:, top : top + height]
            series = torch.fft.irfft(part, self.shifts.length, dim=0)
            series += still[top : top + height].float()
            squares = series.square_().sum(1)
            rows.append(
                torch.stack([squares[:, a : a + w].sum(1) for a, w in _ranges(self.right.widths)])
            )
        return torch.stack(rows).double() / n**2


def _ranges(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Place and width of each map among all features."""
    starts = [sum(widths[:place]) for place in range(len(widths))]
    return list(zip(starts, widths, strict=True))
