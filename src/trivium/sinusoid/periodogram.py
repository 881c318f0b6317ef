"""The share of a signal's variance that one sinusoid explains, at all frequencies of a grid."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len, rfft
from scipy.sparse import csr_array

__all__: list[str] = []

_FINE = 4  # grid frequencies per 1/T
_ROOM = 8  # cells per period of the fastest frequency
_FLAT = 0.02  # determinant below which cosine and sine are one direction
_TOGETHER = 16  # permuted signals at a time

Array = NDArray[np.float64]


class Periodogram:
    r"""Lomb-Scargle power with a floating mean, on frequencies $2\pi k / (4 T)$, k ≥ 4.

    Values are spread to a regular grid by cubic interpolation, then transformed: O(n + g log g)
    for each signal. Where sine and cosine are nearly one column, as at the Nyquist frequency of
    regular times, their common direction counts.

    Args:
        times: Distinct or not, in any order; not all alike.
        highest: Highest angular frequency.

    Source:
        Press and Rybicki, ApJ 338 (1989); Zechmeister and Kürster, A&A 496 (2009), section 2.
    """

    def __init__(self, times: Array, highest: float) -> None:
        self.span = float(np.ptp(times))
        self._last = max(_FINE + 1, int(np.floor(highest * _FINE * self.span / (2 * np.pi))))
        self.frequencies = 2 * np.pi * np.arange(_FINE, self._last + 1) / (_FINE * self.span)
        # Twice the frequency is needed for the sums of squares.
        self._cells = next_fast_len(2 * _ROOM * self._last, real=True)
        self._spread = self._spreading((times - times.min()) / (_FINE * self.span))
        n = len(times)
        once, twice = self._transform(np.full((n, 1), 1 / n), double=True)
        c, s = once[:, 0].real, once[:, 0].imag
        cc, cs = (1 + twice[:, 0].real) / 2, twice[:, 0].imag / 2
        self._mean = (c, s)
        self._squares = (cc - c * c, 1 - cc - s * s, cs - c * s)

    def _spreading(self, turns: Array) -> csr_array:
        place = turns * self._cells
        left = np.floor(place).astype(np.int64)
        u = place - left
        cubic = (
            -u * (u - 1) * (u - 2) / 6,
            (u + 1) * (u - 1) * (u - 2) / 2,
            -(u + 1) * u * (u - 2) / 2,
            (u + 1) * u * (u - 1) / 6,
        )
        rows = np.concatenate([(left + k) % self._cells for k in (-1, 0, 1, 2)])
        columns = np.tile(np.arange(len(turns)), 4)
        return csr_array((np.concatenate(cubic), (rows, columns)), (self._cells, len(turns)))

    def _transform(self, signals: Array, *, double: bool = False) -> list[NDArray]:
        """Return Σ y exp(iωt) at the grid's frequencies, and at twice them."""
        whole = rfft(self._spread @ signals, axis=0).conj()
        found = [whole[_FINE : self._last + 1]]
        return [*found, whole[2 * _FINE : 2 * self._last + 1 : 2]] if double else found

    def power(self, signals: Array) -> Array:
        """Return the share explained for each frequency and signal.

        Args:
            signals: (n, signals, columns), each with mean zero over n; the columns of one signal
                are explained by one frequency together.
        """
        n, count, columns = signals.shape
        wave = self._transform(signals.reshape(n, -1) / n)[0].reshape(-1, count, columns)
        mean = signals.mean(0)
        yc = wave.real - mean * self._mean[0][:, None, None]
        ys = wave.imag - mean * self._mean[1][:, None, None]
        cc, ss, cs = (each[:, None, None] for each in self._squares)
        determinant = cc * ss - cs * cs
        plain = (ss * yc**2 + cc * ys**2 - 2 * cs * yc * ys) / np.maximum(determinant, _FLAT)
        flat = (yc**2 + ys**2) / np.maximum(cc + ss, 1e-12)
        total = np.maximum(signals.var(0).sum(-1), 1e-300)
        share = np.where(determinant < _FLAT, flat, plain).sum(-1) / total
        return np.minimum(share, 1.0)

    def chance(
        self, signal: Array, highest: float, alarm: float, most: int, generator: np.random.Generator
    ) -> float:
        """Return the share of random orders of a signal (n, columns) whose peak is as high.

        One order more counts, the signal's own. As soon as the share of `most` orders must exceed
        `alarm`, no more are drawn.

        Source:
            Besag and Clifford, Sequential Monte Carlo p-values, Biometrika 78 (1991).
        """
        reached = done = 0
        while done < most and reached + 1 <= alarm * (most + 1):
            n = min(_TOGETHER, most - done)
            orders = np.stack([generator.permutation(len(signal)) for _ in range(n)], 1)
            peaks = self.power(signal[orders]).max(0)
            reached += int(np.sum(peaks >= highest * (1 - 1e-9)))  # ties by rounding count
            done += n
        return (reached + 1) / (done + 1)
