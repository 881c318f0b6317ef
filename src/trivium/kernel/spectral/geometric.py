"""The geometric schedule: the Transformer's and rotary's frequencies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from scipy.special import sici
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral.schedule import Schedule
from trivium.kernel.spectral.slope import sinc, with_slope

__all__ = ["Geometric"]

_TERMS = 10
_NARROW = 0.01  # of ln B: below, differences of Ci and Si have lost digits
_POWERS = 9
_SLOW = 12.0


@dataclass(frozen=True)
class Geometric(Schedule):
    r"""Frequencies $\theta(t) = B^{-t}$; left end points are $B^{-2t/D}$, t = 0 ... D/2 − 1.

    $\kappa(r) = [\mathrm{Ci}(r) - \mathrm{Ci}(r/B) + i(\mathrm{Si}(r) - \mathrm{Si}(r/B))]/\ln B$:
    about 1 − (γ + ln r)/ln B for 1 ≪ r ≪ B, zero first near 0.6165 B, and below B/(r ln B) beyond.

    Args:
        base: B, above 1.

    Raises:
        ArgumentError: The base is not a number above 1.

    Example:
        >>> Geometric(16.0).frequencies(4)
        tensor([1.0000, 0.5000, 0.2500, 0.1250], dtype=torch.float64)
        >>> Geometric().kernel(100.0).real
        tensor(0.4368, dtype=torch.float64)

    Source:
        Vaswani et al., Attention Is All You Need, NeurIPS (2017), section 3.5.
    """

    base: float = 10_000.0

    def __post_init__(self) -> None:
        if check_number("Geometric", "base", self.base) <= 1:
            raise ArgumentError(f"Geometric: base must be above 1; got {self.base!r}")

    @classmethod
    def examples(cls) -> Sequence["Geometric"]:
        """Return a few small instances."""
        return (cls(), cls(500_000.0), cls(2.0))

    def quantile(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return B⁻ᵗ."""
        return torch.exp(-math.log(self.base) * t)

    def _kernel(self, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
        return with_slope(r, self._value, self._slope)

    def _slope(self, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
        r"""Return $\kappa'(r) = (e^{i r} - e^{i r/B}) / (r \ln B)$, as a wave times its width."""
        scale = math.log(self.base)
        half = -math.expm1(-scale) / 2
        width, back = sinc(r * half) * (2 * half / scale), r * half
        # The wave of the middle, 1 − half, without rounding the product.
        cos = r.cos() * back.cos() + r.sin() * back.sin()
        sin = r.sin() * back.cos() - r.cos() * back.sin()
        return torch.complex(-width * sin, width * cos)

    def _value(self, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
        size, scale = r.cpu().abs().numpy(), math.log(self.base)
        if scale < _NARROW:
            values = torch.as_tensor(_narrow(size, scale)).to(r.device)
            return torch.where(r < 0, values.conj(), values).resolve_conj()
        near = np.asarray(size / self.base)  # of one distance NumPy would make a number
        fast, slow = sici(size), sici(near)
        with np.errstate(invalid="ignore"):  # at zero, which takes the other branch
            far = (fast[1] - slow[1]) / scale
        # The logarithms in Ci cancel; without them it is exact for near distances and any base.
        cosine = np.where(near >= 1, far, 1 - (_cin(size) - _cin(near)) / scale)
        sine = torch.as_tensor((fast[0] - slow[0]) / scale).to(r)
        return torch.complex(torch.as_tensor(cosine).to(r), sine * r.sign())


def _cin(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ∫₀ˣ (1 − cos t)/t dt = γ + ln x − Ci(x), by its series below 1."""
    small = np.minimum(x, 1.0) ** 2
    series, term = np.zeros_like(small), -np.ones_like(small)
    for k in range(1, _TERMS):
        term = term * (-small / ((2 * k - 1) * 2 * k))
        series += term / (2 * k)
    large = np.maximum(x, 1.0)
    return np.where(x < 1, series, np.euler_gamma + np.log(large) - sici(large)[1])


def _narrow(r: NDArray[np.float64], scale: float) -> NDArray[np.complex128]:
    r"""Return κ for frequencies $m + w u$, u in [−1, 1], that are nearly one.

    $\frac{w}{m \ln B} e^{i r m} \int e^{i r w u} / (1 + q u)\,du$ with q = w/m = tanh(ln B / 2).
    """
    half, ratio = -math.expm1(-scale) / 2, math.tanh(scale / 2)
    z = np.asarray(r * half)
    points, weights = np.polynomial.legendre.leggauss(32)
    slow = np.minimum(z, _SLOW)
    near = np.exp(1j * slow[..., None] * points) @ (weights / (1 + ratio * points))
    fast = np.maximum(z, _SLOW)
    moment, far = 2 * np.sin(fast) / fast + 0j, np.zeros(z.shape, dtype=np.complex128)
    for k in range(_POWERS):  # by parts: of uᵏ from that of uᵏ⁻¹
        if k:
            ends = np.exp(1j * fast) - (-1) ** k * np.exp(-1j * fast)
            moment = (ends - k * moment) / (1j * fast)
        far = far + (-ratio) ** k * moment
    # The middle is 1 − half: its wave without rounding the product.
    return np.where(z < _SLOW, near, far) * np.exp(1j * r) * np.exp(-1j * z) * (ratio / scale)
