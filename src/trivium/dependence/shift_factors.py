"""Cross products of features after every shift at once: many columns against one target."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.dependence.shift import Shifts

__all__ = ["ShiftedTarget"]


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
