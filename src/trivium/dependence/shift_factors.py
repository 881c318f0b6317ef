"""Cross products of features after every shift at once: many columns against one target."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trivium.dependence.shift import Shifts

__all__ = ["ShiftedTarget", "cosets_together"]

# Of many cosets of a few dozen rows several are taken at once: a call costs more than they do.
_FEW_ROWS, _MANY_COSETS, _MEMBERS = 128, 128, 2048


def cosets_together(shifts: Shifts) -> int:
    """Return how many cosets are worked on at once: the members that are in memory together."""
    few = shifts.stride == 1 and shifts.moved <= _FEW_ROWS and shifts.cosets >= _MANY_COSETS
    return _MEMBERS // shifts.length if few else 1


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
        self.shifts, self._features = shifts, len(values)
        self._order = torch.from_numpy(shifts.start()).to(values.device)
        ordered = values[:, self._order]
        ordered = ordered - ordered.mean(1, keepdim=True)
        self._still, self._spectra = [], []
        bases = shifts.bases()
        while chunk := list(islice(bases, cosets_together(shifts))):
            moved = ordered[:, torch.from_numpy(np.concatenate(chunk)).to(values.device)]
            moved = moved.reshape(len(values) * len(chunk), shifts.n_rows)
            self._still.append(moved[:, shifts.moved :])
            self._spectra.append(self._spectrum(moved))

    def products(
        self, rows: Float[Tensor, "r n"], part: slice = slice(None)
    ) -> Iterator[Float[Tensor, "r s t"]]:
        r"""Yield $\sum_i (\varphi(x_i) - \bar\varphi)\, \psi(y_{i + t})^\top$, coset after coset.

        Args:
            rows: Features of one or more columns.
            part: Which features of the target.

        Returns:
            Members of one coset at a time, or of a few.

        Cost: O(r s n + r s t log t) time for each coset.
        """
        centered = rows[:, self._order] - rows.mean(1, keepdim=True)
        front = self._spectrum(centered).conj()
        still = centered[:, self.shifts.moved :]
        for back, rest in zip(self._spectra, self._still, strict=True):
            if self.shifts.stride == 1:
                both = front[:, None] * self._of(back, part)
            else:
                both = (front @ back[:, part].mT).permute(1, 2, 0).contiguous()
            series = torch.fft.irfft(both, n=self.shifts.length)
            if rest.shape[1]:
                series += (still @ self._of(rest, part).mT)[:, :, None]
            together = len(rest) // self._features
            yield series.reshape(len(rows), -1, together * self.shifts.length)

    def _of(self, values: Tensor, part: slice) -> Tensor:
        """Rows of some of the target's features; each has one for every coset at hand."""
        together = len(values) // self._features
        return values.reshape(self._features, together, -1)[part].flatten(0, 1)

    def _spectrum(self, values: Tensor) -> Tensor:
        """Transform the moving rows along the shifts: (frequency, feature, place in a block).

        Where each block is one row: (feature, frequency).
        """
        shifts = self.shifts
        if shifts.stride == 1:
            return torch.fft.rfft(values[:, : shifts.moved])
        grid = values[:, : shifts.moved].reshape(len(values), shifts.length, shifts.stride)
        return torch.fft.rfft(grid, dim=1).transpose(0, 1).contiguous()
