"""The Matérn kernels with closed forms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.kernel.stationary import Stationary

__all__ = ["Matern"]

_ORDERS = (0.5, 1.5, 2.5)


@dataclass(frozen=True)
class Matern(Stationary):
    r"""Matérn kernel, with $s = \sqrt{2\nu} \lVert x - x' \rVert / \ell$.

    $e^{-s}$ for ν = ½, $(1 + s) e^{-s}$ for 3/2, $(1 + s + s^2/3) e^{-s}$ for 5/2.

    Args:
        lengthscale: ℓ, or `"median"`.
        nu: ν, one of 0.5, 1.5, 2.5: sample paths have ⌈ν⌉ − 1 derivatives.

    Raises:
        ArgumentError: The lengthscale or ν breaks its rule.

    Example:
        >>> import torch
        >>> Matern(1.0, nu=1.5).gram(torch.tensor([0.0]), torch.tensor([1.0]))
        tensor([[0.4834]])

    Source:
        Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), equation 4.17.
    """

    nu: float = 1.5

    metric = "l2"
    buffers = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nu not in _ORDERS:
            raise ArgumentError(f"Matern: nu must be one of 0.5, 1.5, 2.5; got {self.nu!r}")

    @classmethod
    def examples(cls) -> Sequence["Matern"]:
        """Return a few small instances."""
        return (cls(), cls(0.8, nu=0.5), cls(1.3, nu=2.5))

    def _profile(self, distance: Tensor) -> Tensor:
        s = distance * math.sqrt(2 * self.nu)
        decay = torch.exp(-s)
        if self.nu == _ORDERS[0]:
            return decay
        polynomial = s + 1 if self.nu == _ORDERS[1] else (s / 3 + 1) * s + 1
        return polynomial.mul_(decay)

    def _unit_spectrum(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Tensor:
        # The spectral density is a multivariate t with 2ν degrees of freedom.
        normal = generator.standard_normal((n_frequencies, n_columns))
        spread = generator.chisquare(2 * self.nu, (n_frequencies, 1)) / (2 * self.nu)
        return torch.from_numpy(normal / np.sqrt(spread))

    def _unit_quantiles(self, t: Tensor) -> Tensor:
        from scipy.special import stdtrit

        found = stdtrit(2 * self.nu, (1 + t.detach().cpu().numpy()) / 2)
        return torch.from_numpy(np.asarray(found)).to(t.device)
