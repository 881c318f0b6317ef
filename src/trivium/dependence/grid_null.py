"""Statistics of every kernel of a column after every member of a group: one set of products."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium.dependence.column_grid import ColumnGrid
from trivium.dependence.shift import Shifts
from trivium.dependence.shift_factors import ShiftedTarget, cosets_together

__all__ = ["GridTarget", "Members"]

_BYTES = 16 * 2**20
Members = Shifts | NDArray[np.int64]


class GridTarget:
    r"""A target against which columns are moved, all kernels of both sides at once.

    $T_{gh}(t) = \lVert M_g C(t) N_h^\top \rVert_F^2 / n^2$ with the cross products C of the two
    bases, $K_g = (M_g B)^\top M_g B$ and $L_h$ likewise.

    Args:
        grid: The target's kernels.
        members: The group: shifts, or every order of the rows in a list, the first the identity.
    """

    def __init__(self, grid: ColumnGrid, members: Members) -> None:
        self.grid = grid
        self.members = members
        self._shifted: ShiftedTarget | None = None
        if isinstance(members, Shifts) and len(grid.basis):
            self._shifted = ShiftedTarget(grid.basis, members)

    def null(self, column: ColumnGrid) -> Float[Tensor, "g t"]:
        """Statistics of every pair of kernels, those of the target running fastest.

        Args:
            column: The other side.

        Cost: O(r s n + r s t log t + q r s t) time for q rows of all maps, and q′ times the
        last where the target has several kernels. About 64 MB beside the arguments.
        """
        n = column.basis.shape[1]
        found = column.basis.new_zeros(len(column) * len(self.grid), self._total)
        for part in self._parts(column) if len(column.basis) else ():
            products = self._products(column.basis, part)
            found += torch.cat([self._statistics(column, series) for series in products], 1)
        return found / n**2

    @property
    def _total(self) -> int:
        return self.members.total if isinstance(self.members, Shifts) else len(self.members)

    def _parts(self, column: ColumnGrid) -> Iterator[slice]:
        """Features of the target that are taken together; all of them where kernels share them."""
        s = len(self.grid.basis)
        step = max(1, s)
        if not self.grid.maps and isinstance(self.members, Shifts):
            width = max(len(column.basis), sum(len(each) for each in column.maps))
            size = column.basis.element_size()
            at_once = self.members.length * cosets_together(self.members)
            step = max(1, _BYTES // (2 * size * width * at_once))
        for low in range(0, s, step):
            yield slice(low, low + step)

    def _products(self, rows: Tensor, part: slice) -> Iterator[Float[Tensor, "r s t"]]:
        if self._shifted is not None:
            yield from self._shifted.products(rows, part)
        elif not isinstance(self.members, Shifts):
            basis = self.grid.basis[part]
            step = max(1, _BYTES // (8 * basis.numel()))
            for low in range(0, len(self.members), step):
                orders = torch.from_numpy(self.members[low : low + step])
                moved = basis[:, orders]
                yield torch.einsum("rn,stn->rst", rows, moved)

    def _statistics(self, column: ColumnGrid, series: Float[Tensor, "r s t"]) -> Tensor:
        r, s, t = series.shape
        groups: Sequence[Tensor] = [series]
        if column.maps:
            mapped = torch.cat(column.maps) @ series.reshape(r, s * t)
            groups = mapped.reshape(-1, s, t).split([len(each) for each in column.maps])
        if not self.grid.maps:
            return torch.stack([group.square_().sum((0, 1)) for group in groups])
        return torch.cat([self._by_target(group) for group in groups])

    def _by_target(self, group: Float[Tensor, "q s t"]) -> Float[Tensor, "h t"]:
        """Sums of squares for each kernel of the target, a slice of members at a time."""
        sizes = [len(each) for each in self.grid.maps]
        maps = torch.cat(self.grid.maps)
        step = max(1, _BYTES // (4 * len(maps) * max(1, len(group))))
        found = []
        for low in range(0, group.shape[-1], step):
            squares = (maps @ group[..., low : low + step]).square_().sum(0)
            found.append(torch.stack([part.sum(0) for part in squares.split(sizes)]))
        return torch.cat(found, 1)
