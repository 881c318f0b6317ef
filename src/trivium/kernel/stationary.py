"""Stationary kernels: a profile of the distance in units of a lengthscale."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium._core.random import RandomState
from trivium.kernel.base import Kernel
from trivium.kernel.distance import distances, squared_distances, squared_distances_vjp
from trivium.kernel.lengthscale import Lengthscale, check_lengthscale, median_lengthscale
from trivium.kernel.vjp import Pull

__all__ = ["Stationary"]


@dataclass(frozen=True)
class Stationary(Kernel):
    r"""Base of kernels $k(x, x') = \rho(\lVert x - x' \rVert / \ell)$ with $\rho(0) = 1$.

    A member gives `_profile` and, for Fourier features, `_unit_spectrum`; distance, lengthscale,
    diagonal and gradient are here.

    Args:
        lengthscale: ℓ, a positive number, or `"median"` for the median distance between rows.
    """

    lengthscale: Lengthscale = "median"

    stationary = True
    isotropic = True
    characteristic = True
    spectral = True
    metric = "squared"

    def __post_init__(self) -> None:
        check_lengthscale(type(self).__name__, self.lengthscale)

    @abstractmethod
    def _profile(self, distance: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """Return ρ of distances in units of ℓ (squared when `metric` is); may overwrite them."""

    def _unit_spectrum(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Float[Tensor, "r d"]:
        """Draw frequencies of the kernel at ℓ = 1; needed when `spectral` is true."""
        return super().spectral_sample(n_frequencies, n_columns, generator)

    def spectral_sample(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Float[Tensor, "r d"]:
        """Draw frequencies of the spectral measure; see `Kernel.spectral_sample`.

        Raises:
            ArgumentError: The lengthscale is not a number yet, or the kernel has no sampler.
        """
        return self._unit_spectrum(n_frequencies, n_columns, generator) / self._number()

    def _unit_quantiles(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."] | None:
        """Return the t-quantiles of |ω| for one column at ℓ = 1; `None` where there is no form."""
        return None

    def spectral_quantiles(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the frequencies below which the shares t of the spectrum on the line lie.

        Args:
            t: Shares in [0, 1), float64. No gradient flows to them where a special function is
                inverted (Matérn, rational quadratic).

        Raises:
            ArgumentError: The lengthscale is not a number yet, or the kernel has no closed form.

        Example:
            >>> from trivium.kernel import Laplace
            >>> Laplace(2.0).spectral_quantiles(torch.tensor([0.5], dtype=torch.float64))
            tensor([0.5000], dtype=torch.float64)
        """
        found = self._unit_quantiles(t)
        if found is None:
            raise ArgumentError(
                f"{type(self).__name__}: the kernel must have closed spectral quantiles; got "
                f"{self!r}",
                remedy="Take samples: Quantiles(kernel.spectral_sample(10_000, 1, rng)[:, 0]"
                ".abs()).",
            )
        return found / self._number()

    def resolve(self, x: Shaped[Tensor, "n *d"], random_state: RandomState = 0) -> "Stationary":
        """Turn `lengthscale="median"` into a number; see `median_lengthscale`.

        Raises:
            DataError: No rows, or a value that is not finite.
        """
        if self.lengthscale != "median":
            return self
        norm = "l1" if self.metric == "l1" else "l2"
        return replace(
            self, lengthscale=median_lengthscale(x, norm=norm, random_state=random_state)
        )

    def grid(self, lengthscales: Sequence[float]) -> tuple["Stationary", ...]:
        """Return the kernel at each of several lengthscales, from small to large.

        Args:
            lengthscales: Positive numbers, no two alike.

        Raises:
            ArgumentError: None is given, one is not a positive number, or two are alike.

        Example:
            >>> from trivium.kernel import Gaussian
            >>> Gaussian().grid([2.0, 0.5])
            (Gaussian(lengthscale=0.5), Gaussian(lengthscale=2.0))
        """
        caller = f"{type(self).__name__}.grid"
        if not isinstance(lengthscales, Sequence) or isinstance(lengthscales, str):
            raise ArgumentError(f"{caller}: lengthscales must be numbers; got {lengthscales!r}")
        numbers = sorted(
            float(check_number(caller, "lengthscales", each, "positive")) for each in lengthscales
        )
        if not numbers or len(set(numbers)) < len(numbers):
            raise ArgumentError(
                f"{caller}: lengthscales must be one or more, no two alike; got {lengthscales!r}"
            )
        return tuple(replace(self, lengthscale=each) for each in numbers)

    def _number(self) -> float:
        if isinstance(self.lengthscale, str):
            raise ArgumentError(
                f"{type(self).__name__}: lengthscale must be a number here; got "
                f"{self.lengthscale!r}",
                remedy="Call kernel.resolve(x) first.",
            )
        return float(self.lengthscale)

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        scale = self._number()
        if self.metric == "squared":
            return self._profile(squared_distances(x, y, scale=scale))
        return self._profile(distances(x, y, norm=self.metric, scale=scale))

    def _slope(self, profile: Float[Tensor, "n m"]) -> tuple[Float[Tensor, "n m"], float] | None:
        """Return (D, c) with dρ/ds = c D for squared distances s, from ρ; `None` for autograd."""
        return None

    def _gram_vjp(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Pull]:
        if self.metric != "squared":
            return super()._gram_vjp(x, y)
        squares, pull_squares = squared_distances_vjp(x, y, scale=self._number())
        gram = self._profile(squares)
        found = self._slope(gram)
        if found is None:
            return super()._gram_vjp(x, y)
        slope, factor = found

        def pull(weights: Tensor) -> tuple[Tensor, Tensor | None]:
            first, second = pull_squares(weights.mul_(slope))
            return first.mul_(factor), None if second is None else second.mul_(factor)

        return gram, pull

    def of_differences(self, difference: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return k as a function of x − x′ for rows of one column; may overwrite its input.

        Raises:
            ArgumentError: The lengthscale is not a number yet.
        """
        scaled = difference.div_(self._number())
        return self._profile(scaled.square_() if self.metric == "squared" else scaled.abs_())

    def _diagonal(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), dtype=x.dtype, device=x.device)
