"""HSIC of every cyclic shift at once, from complete Gram matrices that are never stored."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium.dependence.shift import Shifts
from trivium.dependence.wrapped import WrappedGrams
from trivium.kernel import Kernel

__all__ = ["gram_shifts"]

_BUDGET = 8 * 2**20  # near the caches: a larger one is slower
_SINGLE_ROWS = 2_000  # from here on single precision: rounding is far below the null's spread
_SMALL_ROWS = 512  # up to here calls cost more than the layout of one product
_BUFFERS = 4


def gram_shifts(
    x: Shaped[Tensor, "n d"],
    kernels_x: Sequence[Kernel],
    y: Shaped[Tensor, "n e"],
    kernels_y: Sequence[Kernel],
    shifts: Shifts,
    *,
    budget: int = _BUDGET,
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "a b t"]:
    r"""Biased HSIC of x with y after every member of a group of shifts, for every pair of kernels.

    With $K_d$ the wrapped diagonal d of K and m moving rows, the inner product with L shifted by t
    is $S(t) = \sum_{ij} K_{ij} L_{i+t, j+t} = \sum_d \sum_i K_d[i] L_d[i + t]$, one inverse
    transform of $\sum_d \overline{F K_d} \, F L_d$. Diagonals d and m − d of symmetric matrices
    count alike, so half of them are made. Rows that stay in place enter by a correlation each,
    and the row sums by one.

    Args:
        x: Rows of x; those of both variables are put in the order `shifts.start()` first.
        kernels_x: Kernels of x, resolved.
        y: Rows of y.
        kernels_y: Kernels of y, resolved.
        shifts: The group, with `stride` 1.
        budget: Bytes for the diagonals at hand.
        dtype: Of kernels and transforms; by default float64 up to 2,000 rows, float32 above.
        progress: Called with the diagonals done and in all.

    Returns:
        Statistics in float64, `[..., 0]` of the rows as given.

    Cost:
        O(n² (a + b c) log n) time for c cosets, O(n a b c + budget) memory.

    Source:
        Ours, from the correlation theorem; for the exactness Koning and Hemerik, More efficient
        exact group invariance testing, Biometrika 111 (2024).
    """
    n, m = shifts.n_rows, shifts.length
    dtype = dtype or (torch.float64 if n < _SINGLE_ROWS else torch.float32)
    order = torch.from_numpy(shifts.start()).to(x.device)
    left = WrappedGrams(_cast(x[order], dtype), kernels_x, m, dtype)
    right = WrappedGrams(_cast(y[order], dtype), kernels_y, m, dtype)
    bases = (torch.from_numpy(base).to(y.device) for base in shifts.bases())
    rights = [right.permuted(base) for base in bases]
    work = _Correlation(left, rights, progress)
    per_row = dtype.itemsize * _BUFFERS * (left.n_kernels + len(kernels_y)) * m
    work.add_diagonals(max(1, budget // per_row))
    work.add_fixed(max(1, budget // (per_row * n // m)))
    return work.statistics()


def _cast(rows: Tensor, dtype: torch.dtype) -> Tensor:
    return rows.to(dtype) if rows.is_floating_point() else rows


class _Correlation:
    """Running sums: the spectrum of S(t), row sums of either side, the part that does not move."""

    def __init__(
        self,
        left: WrappedGrams,
        rights: list[WrappedGrams],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.left, self.rights, self.progress = left, rights, progress
        self.n, self.m = len(left.rows), left.moved
        a, b, c = left.n_kernels, rights[0].n_kernels, len(rights)
        zeros = partial(torch.zeros, dtype=torch.float64, device=left.rows.device)
        half = zeros(a, b, c, self.m // 2 + 1)
        self.spectrum = torch.complex(half, half)
        self.still = zeros(a, b, c)
        self.sums_x = zeros(a, self.n)
        self.sums_y = zeros(c, b, self.n)

    def add_diagonals(self, size: int) -> None:
        m = self.m
        first = self.left.main()[:, None]
        seconds = [right.main()[:, None] for right in self.rights]
        self._correlate(first[..., :m], [each[..., :m] for each in seconds], 1)
        self.sums_x += first[:, 0]
        self.sums_y += torch.stack([each[:, 0] for each in seconds])
        self._sum_still(first[..., m:], [each[..., m:] for each in seconds])
        half = (m - 1) // 2
        for low in range(1, half + 1, size):
            self._band(low, min(low + size, half + 1), 2)
            if self.progress is not None:
                self.progress(min(low + size, half + 1) - 1, half)
        if m % 2 == 0 and m > 1:
            self._band(m // 2, m // 2 + 1, 1)

    def _band(self, low: int, high: int, weight: int) -> None:
        first = self.left.diagonals(low, high)
        _add_rows(self.sums_x[:, : self.m], first, low, both=weight == 2)
        seconds = []
        for sums, right in zip(self.sums_y, self.rights, strict=True):
            second = right.diagonals(low, high)
            _add_rows(sums[:, : self.m], second, low, both=weight == 2)
            seconds.append(second)
        self._correlate(first, seconds, weight)

    def add_fixed(self, size: int) -> None:
        m = self.m
        parts = zip(
            self.left.fixed(size), *(right.fixed(size) for right in self.rights), strict=True
        )
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
