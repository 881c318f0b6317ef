"""The rational quadratic kernel: Gaussians of many lengthscales at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium._core.checks import check_number
from trivium.kernel.stationary import Stationary

__all__ = ["RationalQuadratic"]


@dataclass(frozen=True)
class RationalQuadratic(Stationary):
    r"""Rational quadratic kernel $(1 + \lVert x - x' \rVert^2 / (2 \alpha \ell^2))^{-\alpha}$.

    A mixture of Gaussians over a Gamma distribution of 1/ℓ²; α → ∞ is the Gaussian.

    Args:
        lengthscale: ℓ, or `"median"`.
        alpha: α, positive; small values have heavy tails.

    Raises:
        ArgumentError: The lengthscale or α breaks its rule.

    Example:
        >>> import torch
        >>> RationalQuadratic(1.0).gram(torch.tensor([0.0]), torch.tensor([2.0]))
        tensor([[0.3333]])

    Source:
        Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), equation 4.19.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("RationalQuadratic", "alpha", self.alpha, "positive")

    @classmethod
    def examples(cls) -> Sequence["RationalQuadratic"]:
        """Return a few small instances."""
        return (cls(), cls(0.7, alpha=0.5), cls(1.0, alpha=3.0))

    def _profile(self, distance: Tensor) -> Tensor:
        return distance.mul_(0.5 / self.alpha).log1p_().mul_(-self.alpha).exp_()

    def _slope(self, profile: Tensor) -> tuple[Tensor, float]:
        return profile.pow(1 + 1 / self.alpha), -0.5

    def _unit_spectrum(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Tensor:
        precision = generator.gamma(self.alpha, 1 / self.alpha, (n_frequencies, 1))
        normal = generator.standard_normal((n_frequencies, n_columns))
        return torch.from_numpy(normal * np.sqrt(precision))
