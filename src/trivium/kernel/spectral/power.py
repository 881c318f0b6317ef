"""Schedules that are powers of t: uniform frequencies and their kin."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.special import gammaln
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral.schedule import Schedule
from trivium.kernel.spectral.slope import sinc, with_slope

__all__ = ["Power", "Uniform"]

_STEPS = 400


@dataclass(frozen=True)
class Power(Schedule):
    r"""Frequencies $\theta(t) = t^a$, dense near zero for a > 1.

    $\kappa(r) = {}_1F_1(s; s + 1; i r) = s z^{-s} \gamma(s, z)$ with s = 1/a and z = −i r, by its
    series near zero and by the continued fraction of the upper incomplete gamma function beyond.
    It falls as $\Gamma(1 + s)\, r^{-s}$: slowly for a large a.

    Args:
        exponent: a, from 0.02 to 50.

    Raises:
        ArgumentError: The exponent breaks its rule.

    Example:
        >>> Power(2.0).frequencies(4)
        tensor([0.0000, 0.0625, 0.2500, 0.5625], dtype=torch.float64)
        >>> Power(1.0).kernel(3.0).real  # sin 3 / 3
        tensor(0.0470, dtype=torch.float64)

    Source:
        DLMF 13.6.5, 8.7.1 and 8.9.2.
    """

    exponent: float

    def __post_init__(self) -> None:
        if not 0.02 <= check_number("Power", "exponent", self.exponent) <= 50:
            raise ArgumentError(
                f"Power: exponent must be a number from 0.02 to 50; got {self.exponent!r}"
            )

    @classmethod
    def examples(cls) -> Sequence["Power"]:
        """Return a few small instances."""
        return (cls(2.0), cls(0.5), cls(7.0))

    def quantile(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return tᵃ."""
        return t.pow(self.exponent)

    def _kernel(self, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return _of_order(1 / self.exponent, r)


@dataclass(frozen=True)
class Uniform(Schedule):
    r"""Frequencies evenly apart, $\theta(t) = l + (h - l)\,t$.

    $\kappa(r) = e^{i r (l + h)/2}\, \sin(x)/x$ with x = r (h − l)/2; the real part is sin r / r for
    l = 0, h = 1.

    Args:
        low: l, at least 0.
        high: h, above l.

    Raises:
        ArgumentError: The ends break their rule.

    Example:
        >>> Uniform().kernel(3.0).real
        tensor(0.0470, dtype=torch.float64)
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_number("Uniform", "low", self.low, "non-negative")
        if check_number("Uniform", "high", self.high) <= self.low:
            raise ArgumentError(f"Uniform: high must be above low, {self.low:g}; got {self.high!r}")

    @classmethod
    def examples(cls) -> Sequence["Uniform"]:
        """Return a few small instances."""
        return (cls(), cls(0.5, 2.0))

    def quantile(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return l + (h − l) t."""
        return self.low + (self.high - self.low) * t

    def _kernel(self, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
        width = sinc(r * ((self.high - self.low) / 2))
        turn = r * ((self.low + self.high) / 2)
        return torch.complex(width * turn.cos(), width * turn.sin())


def _of_order(s: float, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
    r"""Return ${}_1F_1(s; s + 1; i r)$, whose derivative is i s/(s + 1) times that of s + 1."""
    return with_slope(r, partial(_value, s), lambda r: 1j * s / (s + 1) * _of_order(s + 1, r))


def _value(s: float, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
    size = r.cpu().abs().numpy().reshape(-1)
    near = size <= max(4.0, s)
    found = np.empty(size.shape, dtype=np.complex128)
    found[near] = _series(s, size[near])
    found[~near] = _fraction(s, size[~near])
    values = torch.from_numpy(found).reshape(r.shape).to(r.device)
    return torch.where(r < 0, values.conj(), values).resolve_conj()


def _series(s: float, x: np.ndarray) -> np.ndarray:
    """Return exp(ix) 1F1(1; s + 1; −ix): its terms grow little while x ≤ max(4, s)."""
    term = np.ones(x.shape, dtype=np.complex128)
    total = term.copy()
    for n in range(1, _STEPS):
        term = term * (-1j * x / (s + n))
        total += term
        if not np.any(np.abs(term) > 1e-17 * np.abs(total)):
            break
    return np.exp(1j * x) * total


def _fraction(s: float, x: np.ndarray) -> np.ndarray:
    """Return s z⁻ˢ (Γ(s) − Γ(s, z)) at z = −ix, Γ(s, z) by Lentz's evaluation of its fraction."""
    z = -1j * x
    b = z + 1 - s
    c = np.full(x.shape, 1e300 + 0j)
    d = 1 / b
    h = d.copy()
    for n in range(1, _STEPS):
        a = -n * (n - s)
        b = b + 2
        d = 1 / (a * d + b)
        c = b + a / c
        h = h * (d * c)
        if not np.any(np.abs(d * c - 1) > 1e-16):
            break
    whole = np.exp(gammaln(1 + s) - s * np.log(x)) * np.exp(0.5j * np.pi * s)
    return whole - s * np.exp(-z) * h
