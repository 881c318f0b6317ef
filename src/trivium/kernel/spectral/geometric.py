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
        half, middle = (1 - 1 / self.base) / 2, (1 + 1 / self.base) / 2
        width = sinc(r * half) * (2 * half / math.log(self.base))
        turn = r * middle
        return torch.complex(-width * turn.sin(), width * turn.cos())

    def _value(self, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
        size, scale = r.cpu().abs().numpy(), math.log(self.base)
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
