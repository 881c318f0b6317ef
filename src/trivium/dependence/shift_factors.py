"""HSIC of every shift at once, from features: many columns against one target."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.dependence.shift import Shifts

__all__ = ["ShiftedTarget", "factor_shifts"]

_BUDGET = 64 * 2**20


class ShiftedTarget:
    r"""A target's features, ready for their cross products with any rows after every shift.

    The rows that move are a grid of `length` by `stride`; along the first axis the cross products
    for all shifts are one transform, a product of small matrices for each frequency, and
    one transform back.

    Args:
        values: Features of the target.
        shifts: The group; the order `shifts.start()` is applied here.
    """

    def __init__(self, values: Float[Tensor, "s n"], shifts: Shifts) -> None:
        self.shifts = shifts
        self._order = torch.from_numpy(shifts.start()).to(values.device)
        ordered = values[:, self._order]
        ordered = ordered - ordered.mean(1, keepdim=True)
        bases = (torch.from_numpy(base).to(values.device) for base in shifts.bases())
        moved = [ordered[:, base] for base in bases]
        self._still = [each[:, shifts.moved :] for each in moved]
        self._spectra = [self._spectrum(each) for each in moved]

    def products(
        self, rows: Float[Tensor, "r n"], part: slice = slice(None)
    ) -> Iterator[Float[Tensor, "r s t"]]:
        r"""Yield $\sum_i (\varphi(x_i) - \bar\varphi)\, \psi(y_{i + t})^\top$, coset by coset.

        Args:
            rows: Features of one or more columns.
            part: Which features of the target.

        Cost: O(r s n + r s t log t) time for each coset.
        """
        centered = rows[:, self._order] - rows.mean(1, keepdim=True)
        front = self._spectrum(centered).conj()
        still = centered[:, self.shifts.moved :]
        for back, rest in zip(self._spectra, self._still, strict=True):
            if self.shifts.stride == 1:
                both = front[:, None] * back[part]
            else:
                both = (front @ back[:, part].mT).permute(1, 2, 0).contiguous()
            series = torch.fft.irfft(both, n=self.shifts.length)
            if rest.shape[1]:
                series += (still @ rest[part].mT)[:, :, None]
            yield series

    def _spectrum(self, values: Tensor) -> Tensor:
        """Transform the moving rows along the shifts: (frequency, feature, place in a block).

        Where each block is one row: (feature, frequency).
        """
        shifts = self.shifts
        if shifts.stride == 1:
            return torch.fft.rfft(values[:, : shifts.moved])
        grid = values[:, : shifts.moved].reshape(len(values), shifts.length, shifts.stride)
        return torch.fft.rfft(grid, dim=1).transpose(0, 1).contiguous()


def factor_shifts(
    features: Sequence[Float[Tensor, "r n"]],
    target: Float[Tensor, "s n"],
    shifts: Shifts,
    *,
    budget: int = _BUDGET,
) -> Float[Tensor, "k t"]:
    r"""Biased HSIC of several columns with the target after every member of a group of shifts.

    $T(t) = \lVert \sum_i (\varphi(x_i) - \bar\varphi)\, \psi(y_{i + t})^\top \rVert_F^2 / n^2$.
    The rank over the group stays exact whatever the features leave out.

    Args:
        features: Features of each column.
        target: Features of the target.
        shifts: The group; the order `shifts.start()` is applied here.
        budget: Bytes for the cross products of one block of features.

    Returns:
        Statistics, `[:, 0]` of the rows as given, in the dtype of the features.

    Cost:
        O(r s n + r s t log t) time for t members, O(n (r + s) + budget) memory.

    Source: ours; for the exactness see `Shifts`.
    """
    moved = ShiftedTarget(target, shifts)
    found = target.new_zeros(len(features), shifts.total)
    per_feature = 3 * 2 * target.element_size() * shifts.length * len(target)
    step = max(1, budget // per_feature)
    for rows, owners in _blocks(features, step):
        parts = [series.square_().sum(1) for series in moved.products(rows)]
        found.index_add_(0, owners.to(target.device), torch.cat(parts, 1))
    return found / shifts.n_rows**2


def _blocks(features: Sequence[Tensor], step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield at most `step` features at a time, with the number of the column of each."""
    owners = torch.repeat_interleave(
        torch.arange(len(features)), torch.tensor([len(each) for each in features])
    )
    rows = torch.cat(list(features))
    for low in range(0, len(rows), step):
        yield rows[low : low + step], owners[low : low + step]
