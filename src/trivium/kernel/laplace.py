"""The Laplace (exponential) kernel in the city-block or the Euclidean norm."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium.kernel.matern import Matern
from trivium.kernel.stationary import Stationary

__all__ = ["Laplace"]


@dataclass(frozen=True)
class Laplace(Stationary):
    r"""Laplace kernel $k(x, x') = \exp(-\lVert x - x' \rVert / \ell)$.

    Args:
        lengthscale: ℓ, or `"median"` (of distances in the same norm). For
            $\exp(-\gamma \lVert x - x' \rVert)$ build it with `from_gamma`.
        norm: `"l1"` (city block, the product of one kernel per column) or `"l2"` (Euclidean).

    Raises:
        ArgumentError: The lengthscale or the norm breaks its rule.

    Example:
        >>> import torch
        >>> Laplace(2.0).gram(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[0.0302]])

    Source:
        Rahimi and Recht, Random Features for Large-Scale Kernel Machines (2007), figure 1.
    """

    norm: str = "l1"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("Laplace", "norm", self.norm, ("l1", "l2"))
        object.__setattr__(self, "metric", self.norm)
        object.__setattr__(self, "isotropic", self.norm == "l2")

    @classmethod
    def examples(cls) -> Sequence["Laplace"]:
        """Return a few small instances."""
        return (cls(), cls(0.8), cls(1.2, norm="l2"))

    @classmethod
    def from_gamma(cls, gamma: float, norm: str = "l1") -> "Laplace":
        """Return exp(−γ‖x − x′‖), that is ℓ = 1/γ.

        Raises:
            ArgumentError: γ is not a positive number.
        """
        return cls(1 / check_number("Laplace", "gamma", gamma, "positive"), norm)

    def _profile(self, distance: Tensor) -> Tensor:
        return torch.exp(-distance)

    def _unit_spectrum(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Tensor:
        if self.norm == "l2":
            return Matern(1.0, nu=0.5).spectral_sample(n_frequencies, n_columns, generator)
        return torch.from_numpy(generator.standard_cauchy((n_frequencies, n_columns)))

    def _unit_quantiles(self, t: Tensor) -> Tensor:
        return torch.tan(t * (torch.pi / 2))
