"""The Gaussian kernel, with its bandwidth conventions by name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium._core.checks import check_number
from trivium.kernel.stationary import Stationary

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian(Stationary):
    r"""Gaussian kernel $k(x, x') = \exp(-\lVert x - x' \rVert^2 / (2 \ell^2))$.

    Args:
        lengthscale: ℓ, or `"median"`. For $\exp(-\gamma \lVert x - x' \rVert^2)$ build it
            with `from_gamma`, for $\exp(-\lVert x - x' \rVert^2 / \sigma^2)$ with `from_sigma2`.

    Raises:
        ArgumentError: The lengthscale is neither `"median"` nor a positive number.

    Example:
        >>> import torch
        >>> Gaussian(1.0).gram(torch.tensor([0.0, 1.0]))
        tensor([[1.0000, 0.6065],
                [0.6065, 1.0000]])

    Source:
        Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), equation 4.9.
    """

    @classmethod
    def examples(cls) -> Sequence["Gaussian"]:
        """Return a few small instances."""
        return (cls(), cls(0.7), cls.from_gamma(2.0), cls.from_sigma2(1.0))

    @classmethod
    def from_gamma(cls, gamma: float) -> "Gaussian":
        """Return exp(−γ‖x − x′‖²), that is ℓ = (2γ)^−½.

        Raises:
            ArgumentError: γ is not a positive number.
        """
        return cls(1 / math.sqrt(2 * check_number("Gaussian", "gamma", gamma, "positive")))

    @classmethod
    def from_sigma2(cls, sigma2: float) -> "Gaussian":
        """Return exp(−‖x − x′‖²/σ²), that is ℓ = (σ²/2)^½.

        Raises:
            ArgumentError: σ² is not a positive number.
        """
        return cls(math.sqrt(check_number("Gaussian", "sigma2", sigma2, "positive") / 2))

    def _profile(self, distance: Tensor) -> Tensor:
        return distance.mul_(-0.5).exp_()

    def _slope(self, profile: Tensor) -> tuple[Tensor, float]:
        return profile, -0.5

    def _unit_spectrum(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Tensor:
        return torch.from_numpy(generator.standard_normal((n_frequencies, n_columns)))

    def _unit_quantiles(self, t: Tensor) -> Tensor:
        return torch.special.ndtri((1 + t) / 2)
