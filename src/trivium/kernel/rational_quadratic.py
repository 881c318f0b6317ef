"""The rational quadratic kernel: Gaussians of many lengthscales at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium._core.checks import check_number
from trivium.kernel.stationary import Stationary

__all__ = ["RationalQuadratic"]

_LARGEST = 30.0
_HALVINGS, _STEPS, _SLACK = 12, 18, 1e-9


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

    def _unit_quantiles(self, t: Tensor) -> Tensor | None:
        r"""Invert the distribution of $w^\nu K_\nu(w)$, ν = α − ½ (DLMF 10.43.2), in ln w."""
        from scipy.special import gamma, kv, modstruve

        if self.alpha > _LARGEST:  # Bessel functions leave the range of floats
            return None
        nu = self.alpha - 0.5
        total = 2 ** (nu - 1) * np.sqrt(np.pi) * gamma(self.alpha)
        wanted = t.detach().cpu().double().numpy()
        low, high = np.full(wanted.shape, -80.0), np.full(wanted.shape, 7.0)
        at = (low + high) / 2
        for step in range(_STEPS):
            w = np.exp(at)
            with np.errstate(all="ignore"):
                last, other = kv(nu, w), kv(nu - 1, w)
                share = w * (last * modstruve(nu - 1, w) + other * modstruve(nu, w))
                share = np.where(np.isfinite(share), share, w > 1)
                newton = at - (share - wanted) * total / (w ** (nu + 1) * last)
            low, high = np.where(share < wanted, at, low), np.where(share < wanted, high, at)
            inside = (step >= _HALVINGS) & (newton > low - _SLACK) & (newton < high + _SLACK)
            at = np.where(inside, newton, (low + high) / 2)
        found = np.where(wanted > 0, np.exp(at), 0.0) / np.sqrt(2 * self.alpha)
        return torch.from_numpy(np.asarray(found)).to(t.device)
