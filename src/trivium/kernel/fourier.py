"""Random Fourier features of stationary kernels."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium._core.random import numpy_generator
from trivium.kernel.base import Kernel
from trivium.kernel.feature_map import FeatureMap
from trivium.kernel.gaussian import Gaussian
from trivium.kernel.laplace import Laplace
from trivium.kernel.matern import Matern
from trivium.kernel.rational_quadratic import RationalQuadratic

__all__ = ["Fourier", "RandomFourier"]


@dataclass(frozen=True, kw_only=True)
class Fourier(FeatureMap):
    r"""Base of the maps $\varphi(x) = \sqrt{2 k(0) / r}\, [\cos \Omega x, \sin \Omega x]$.

    Pairs of cosine and sine give $\varphi(x)^\top \varphi(x) = k(0)$ exactly and a smaller
    variance than cosines with random phases.

    Args:
        kernel: A kernel with a spectral sampler (`kernel.spectral`).
        n_features: r, even.
        frequencies: Ω; learned.
        center: Origin of the rows, which the kernel does not see but float32 does; learned.
        amplitude: $\sqrt{2 k(0) / r}$; learned.
    """

    frequencies: Float[Tensor, "h d"] | None = field(default=None, repr=False, compare=False)
    center: Float[Tensor, " d"] | None = field(default=None, repr=False, compare=False)
    amplitude: float = 1.0

    unbiased = True

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.n_features % 2:
            raise ArgumentError(f"{name}: n_features must be even; got {self.n_features}")
        if not self.kernel.spectral:
            raise ArgumentError(
                f"{name}: kernel must be stationary with a spectral sampler; got {self.kernel!r}",
                remedy="Use Nystroem features, which serve every kernel.",
            )

    @abstractmethod
    def _draw(
        self, kernel: Kernel, n_columns: int, generator: np.random.Generator
    ) -> Float[Tensor, "h d"]:
        """Draw `n_features / 2` frequencies in float64."""

    def _learn(self, kernel: Kernel, x: Shaped[Tensor, "n d"], seed: int) -> dict[str, Any]:
        frequencies = self._draw(kernel, x.shape[1], numpy_generator(seed, type(self).__name__))
        return {
            "frequencies": frequencies.to(x.device),
            "center": x.double().mean(0),
            "amplitude": (2 * float(kernel._diagonal(x[:1])[0]) / self.n_features) ** 0.5,
        }

    def _features(self, x: Shaped[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        if self.frequencies is None or self.center is None:
            raise ArgumentError(f"{type(self).__name__}: frequencies must be learned by fit first")
        phases = (x - self.center.to(x)) @ self.frequencies.to(x).mT
        return torch.cat((phases.cos(), phases.sin()), 1) * self.amplitude


@dataclass(frozen=True, kw_only=True)
class RandomFourier(Fourier):
    r"""Random Fourier features: frequencies drawn from the kernel's spectral measure.

    The error of one entry exceeds $\varepsilon k(0)$ with probability at most
    $2 e^{-r \varepsilon^2 / 4}$ (Hoeffding).

    Args:
        kernel: A kernel with a spectral sampler: Gaussian, Laplace, Matern, RationalQuadratic,
            their sums, products and scalings.
        n_features: r, even.

    Raises:
        ArgumentError: `n_features` is odd, or the kernel has no spectral sampler.

    Cost:
        O(n r d) time, O(n r) memory.

    Example:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 5)
        >>> phi = RandomFourier(kernel=Gaussian(1.0), n_features=4096).fit(x).transform(x)
        >>> bool(((phi @ phi.T - Gaussian(1.0).gram(x)).abs() < 0.1).all())
        True

    Source:
        Rahimi and Recht, Random Features for Large-Scale Kernel Machines (2007), algorithm 1;
        Sutherland and Schneider, On the Error of Random Fourier Features (2015), for the pairs.
    """

    @classmethod
    def examples(cls) -> Sequence["RandomFourier"]:
        """Return a few small instances."""
        kernels = (
            Gaussian(),
            Laplace(1.5),
            Laplace(1.5, norm="l2"),
            Matern(1.2, nu=2.5),
            RationalQuadratic(0.9, alpha=2.0),
            2.0 * Gaussian(1.0) + Matern(2.0),
            Gaussian(1.0) * Laplace(2.0),
        )
        return tuple(cls(kernel=kernel, n_features=64) for kernel in kernels)

    def _draw(self, kernel: Kernel, n_columns: int, generator: np.random.Generator) -> Tensor:
        return kernel.spectral_sample(self.n_features // 2, n_columns, generator)
