"""Sums over wrapped diagonals of two Gram matrices: what the HSIC of every shift is made of."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.dependence.wrapped import WrappedGrams

__all__ = ["DiagonalSums"]

_SMALL_ROWS = 512  # up to here calls cost more than the layout of one product


class DiagonalSums:
    """Running sums: the spectrum of S(t), row sums of either side, the part that does not move.

    Sums of disjoint bands of diagonals `merge`.

    Args:
        left: Kernels of x.
        rights: Kernels of y, for each coset.
    """

    def __init__(self, left: WrappedGrams, rights: list[WrappedGrams]) -> None:
        self.n, self.m = len(left.rows), left.moved
        a, b, c = left.n_kernels, rights[0].n_kernels, len(rights)
        zeros = partial(torch.zeros, dtype=torch.float64, device=left.rows.device)
        half = zeros(a, b, c, self.m // 2 + 1)
        self.spectrum = torch.complex(half, half)
        self.still = zeros(a, b, c)
        self.sums_x = zeros(a, self.n)
        self.sums_y = zeros(c, b, self.n)

    def copy(self) -> "DiagonalSums":
        """Return the same sums, sharing nothing."""
        found = object.__new__(DiagonalSums)
        found.n, found.m = self.n, self.m
        found.spectrum, found.still = self.spectrum.clone(), self.still.clone()
        found.sums_x, found.sums_y = self.sums_x.clone(), self.sums_y.clone()
        return found

    def merge(self, other: "DiagonalSums") -> "DiagonalSums":
        """Add the sums of other diagonals in place."""
        self.spectrum += other.spectrum
        self.still += other.still
        self.sums_x += other.sums_x
        self.sums_y += other.sums_y
        return self

    def add_main(self, left: WrappedGrams, rights: list[WrappedGrams]) -> None:
        """Add the main diagonal."""
        m = self.m
        first = left.main()[:, None]
        seconds = [right.main()[:, None] for right in rights]
        self._correlate(first[..., :m], [each[..., :m] for each in seconds], 1)
        self.sums_x += first[:, 0]
        self.sums_y += torch.stack([each[:, 0] for each in seconds])
        self._sum_still(first[..., m:], [each[..., m:] for each in seconds])

    def add_band(self, left: WrappedGrams, rights: list[WrappedGrams], low: int, high: int) -> None:
        """Add diagonals low to high - 1 and those that mirror them.

        Diagonal m / 2 mirrors itself; it must be a band of its own.
        """
        weight = 1 if 2 * low == self.m else 2
        first = left.diagonals(low, high)
        _add_rows(self.sums_x[:, : self.m], first, low, both=weight == 2)
        seconds = []
        for sums, right in zip(self.sums_y, rights, strict=True):
            second = right.diagonals(low, high)
            _add_rows(sums[:, : self.m], second, low, both=weight == 2)
            seconds.append(second)
        self._correlate(first, seconds, weight)

    def add_fixed(self, left: WrappedGrams, rights: list[WrappedGrams], size: int) -> None:
        """Add the rows that stay in place, `size` of them at a time."""
        m = self.m
        parts = zip(left.fixed(size), *(right.fixed(size) for right in rights), strict=True)
        for (rows, first), *others in parts:
            seconds = [second for _, second in others]
            self.sums_x[:, rows] += first.sum(2, dtype=torch.float64) - self._main_part(first, rows)
            self.sums_x[:, :m] += first[..., :m].sum(1, dtype=torch.float64)
            for sums, second in zip(self.sums_y, seconds, strict=True):
                sums[:, rows] += second.sum(2, dtype=torch.float64) - self._main_part(second, rows)
                sums[:, :m] += second[..., :m].sum(1, dtype=torch.float64)
            self._correlate(first[..., :m], [second[..., :m] for second in seconds], 2)
            for each in (first, *seconds):  # the main diagonal is counted already
                _diagonal_of(each, rows).zero_()
            self._sum_still(first[..., m:], [second[..., m:] for second in seconds])

    def _main_part(self, block: Tensor, rows: slice) -> Tensor:
        return _diagonal_of(block, rows).double()

    def _correlate(self, first: Tensor, seconds: list[Tensor], weight: int) -> None:
        front = torch.fft.rfft(first)
        if self.n <= _SMALL_ROWS:
            back = torch.fft.rfft(torch.stack(seconds))
            self.spectrum += weight * torch.einsum("adf,cbdf->abcf", front.conj(), back)
            return
        for place, second in enumerate(seconds):
            back = torch.fft.rfft(second)
            for i, one in enumerate(front):
                for j, other in enumerate(back):
                    self.spectrum[i, j, place] += weight * torch.linalg.vecdot(one, other, dim=0)

    def _sum_still(self, first: Tensor, seconds: list[Tensor]) -> None:
        for place, second in enumerate(seconds):
            self.still[:, :, place] += torch.einsum("abn,cbn->ac", first.double(), second.double())

    def statistics(self) -> Float[Tensor, "a b t"]:
        """Biased HSIC of every pair of kernels and member, coset after coset."""
        n, m = self.n, self.m
        inner = torch.fft.irfft(self.spectrum, n=m) + self.still[..., None]
        x, y = self.sums_x, self.sums_y
        front, back = torch.fft.rfft(x[:, :m]), torch.fft.rfft(y[..., :m])
        cross = torch.fft.irfft(torch.einsum("af,cbf->abcf", front.conj(), back), n=m)
        cross += torch.einsum("an,cbn->abc", x[:, m:], y[..., m:])[..., None]
        total = torch.einsum("a,cb->abc", x.sum(1), y.sum(2))[..., None]
        values = (inner - cross * (2 / n) + total / n**2) / n**2
        return values.flatten(2)


def _diagonal_of(block: Float[Tensor, "k b n"], rows: slice) -> Float[Tensor, "k b"]:
    """View of the main diagonal in a block of rows."""
    return block[..., rows].diagonal(dim1=1, dim2=2)


def _add_rows(sums: Tensor, diagonals: Tensor, low: int, *, both: bool) -> None:
    """Add K[i, i + d] to row i, and to row i + d when the mirrored diagonal is not made."""
    sums += diagonals.sum(1, dtype=torch.float64)
    if not both:
        return
    count, m = diagonals.shape[1:]
    # Diagonal `step` is written `step` places further right, so that rows are columns.
    skewed = diagonals.new_zeros(len(diagonals), count, m + count)
    skewed.as_strided(diagonals.shape, (skewed.stride(0), m + count + 1, 1)).copy_(diagonals)
    shifted = skewed.sum(1, dtype=torch.float64)
    shifted[:, :count] += shifted[:, m:]
    sums += torch.roll(shifted[:, :m], low, dims=1)
