"""The geometric schedule: the Transformer's and rotary's frequencies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from scipy.special import sici
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral.schedule import Schedule

__all__ = ["Geometric"]


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
        # At distance zero the two logarithms cancel: a tiny distance has the same value.
        size = r.detach().cpu().abs().clamp_min(1e-200).numpy()
        fast, slow = sici(size), sici(size / self.base)
        sine, cosine = (torch.as_tensor(a - b).to(r) for a, b in zip(fast, slow, strict=True))
        return torch.complex(cosine, sine * r.sign()) / math.log(self.base)
