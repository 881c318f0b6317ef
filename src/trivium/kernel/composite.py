"""Sums, products and scalings of kernels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium._core.random import RandomState, check_seed
from trivium.kernel.base import Kernel
from trivium.kernel.delta import Delta
from trivium.kernel.gaussian import Gaussian
from trivium.kernel.linear import Linear

__all__ = ["Product", "Scaled", "Sum"]

_INPUTS = ("matrix", "vectors", "texts", "codes")  # codes are served wherever rows are equal or not


def _check_parts(name: str, parts: Sequence[Kernel]) -> None:
    if not parts or not all(isinstance(part, Kernel) for part in parts):
        raise ArgumentError(f"{name}: parts must be one or more kernels; got {parts!r}")


def _declare(whole: Kernel, parts: Sequence[Kernel], *, characteristic: bool) -> None:
    """Derive what a composite can do from its parts; their inputs must agree."""
    inputs = {part.inputs for part in parts}
    if len(inputs) > 1 and ("matrix" in inputs or inputs >= {"texts", "vectors"}):
        raise ArgumentError(
            f"{type(whole).__name__}: parts must take the same inputs; got {sorted(inputs)}",
            remedy="Give row numbers, texts and vectors kernels of their own.",
        )
    flags = {
        "stationary": all(part.stationary for part in parts),
        "isotropic": all(part.isotropic for part in parts),
        "spectral": all(part.spectral for part in parts),
        "characteristic": characteristic,
        "differentiable": all(part.differentiable for part in parts),
        "inputs": next(kind for kind in _INPUTS if kind in inputs),
        "buffers": max(part.buffers for part in parts) + 1,
    }
    for flag, value in flags.items():
        object.__setattr__(whole, flag, value)


def _resolved(parts: Sequence[Kernel], x: Tensor, random_state: RandomState) -> tuple[Kernel, ...]:
    seed = check_seed(random_state)
    return tuple(part.resolve(x, seed) for part in parts)


@dataclass(frozen=True)
class Sum(Kernel):
    r"""Sum $k(x, x') = \sum_i k_i(x, x')$; also written `k1 + k2`.

    Args:
        parts: Kernels, or one after the other in a nested sum.

    Raises:
        ArgumentError: No parts, or parts that take different inputs.

    Example:
        >>> import torch
        >>> (Gaussian(1.0) + Linear()).diagonal(torch.tensor([2.0]))
        tensor([5.])
    """

    parts: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        _check_parts("Sum", self.parts)
        _declare(self, self.parts, characteristic=any(p.characteristic for p in self.parts))

    @classmethod
    def examples(cls) -> Sequence["Sum"]:
        """Return a few small instances."""
        return (cls((Gaussian(), Linear())), cls((Gaussian(0.5), Gaussian(2.0))))

    def resolve(self, x: Shaped[Tensor, "n *d"], random_state: RandomState = 0) -> "Sum":
        """Resolve each part on the same rows."""
        return Sum(_resolved(self.parts, x, random_state))

    def spectral_sample(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Float[Tensor, "r d"]:
        """Draw from the mixture of the parts' spectra, weighted by their values at zero."""
        origin = torch.zeros(1, n_columns, dtype=torch.float64)
        weights = np.array([float(part._diagonal(origin)[0]) for part in self.parts])
        counts = generator.multinomial(n_frequencies, weights / weights.sum())
        draws = [
            part.spectral_sample(int(count), n_columns, generator)
            for part, count in zip(self.parts, counts, strict=True)
        ]
        return torch.cat(draws)[torch.from_numpy(generator.permutation(n_frequencies))]

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        return reduce(torch.add, (part._gram(x, y) for part in self.parts))

    def _diagonal(self, x: Tensor) -> Tensor:
        return reduce(torch.add, (part._diagonal(x) for part in self.parts))


@dataclass(frozen=True)
class Product(Kernel):
    r"""Product $k(x, x') = \prod_i k_i(x, x')$; also written `k1 * k2`.

    Args:
        parts: Kernels.

    Raises:
        ArgumentError: No parts, or parts that take different inputs.

    Example:
        >>> import torch
        >>> (Linear() * Linear()).gram(torch.tensor([2.0, 3.0]))
        tensor([[16., 36.],
                [36., 81.]])

    Source:
        Schur's product theorem; Schölkopf and Smola, Learning with Kernels (2002), section 13.1.
    """

    parts: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        _check_parts("Product", self.parts)
        _declare(self, self.parts, characteristic=all(p.characteristic for p in self.parts))

    @classmethod
    def examples(cls) -> Sequence["Product"]:
        """Return a few small instances."""
        return (cls((Gaussian(1.5), Linear(bias=1.0))), cls((Delta(), Delta())))

    def resolve(self, x: Shaped[Tensor, "n *d"], random_state: RandomState = 0) -> "Product":
        """Resolve each part on the same rows."""
        return Product(_resolved(self.parts, x, random_state))

    def spectral_sample(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Float[Tensor, "r d"]:
        """Add one frequency of each part: the spectra convolve."""
        draws = (p.spectral_sample(n_frequencies, n_columns, generator) for p in self.parts)
        return reduce(torch.add, draws)

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        return reduce(torch.mul, (part._gram(x, y) for part in self.parts))

    def _diagonal(self, x: Tensor) -> Tensor:
        return reduce(torch.mul, (part._diagonal(x) for part in self.parts))


@dataclass(frozen=True)
class Scaled(Kernel):
    r"""Scaling $k(x, x') = a\, k_1(x, x')$; also written `a * k1`.

    Args:
        kernel: What is scaled.
        scale: a, positive.

    Raises:
        ArgumentError: The scale is not a positive number.

    Example:
        >>> import torch
        >>> (3 * Gaussian(1.0)).diagonal(torch.tensor([2.0]))
        tensor([3.])
    """

    kernel: Kernel
    scale: float = 1.0

    def __post_init__(self) -> None:
        _check_parts("Scaled", (self.kernel,))
        check_number("Scaled", "scale", self.scale, "positive")
        _declare(self, (self.kernel,), characteristic=self.kernel.characteristic)

    @classmethod
    def examples(cls) -> Sequence["Scaled"]:
        """Return a few small instances."""
        return (cls(Gaussian(), 2.0), cls(Delta(), 0.5))

    def resolve(self, x: Shaped[Tensor, "n *d"], random_state: RandomState = 0) -> "Scaled":
        """Resolve the kernel that is scaled."""
        return Scaled(self.kernel.resolve(x, random_state), self.scale)

    def spectral_sample(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Float[Tensor, "r d"]:
        """Draw from the spectrum of the kernel that is scaled."""
        return self.kernel.spectral_sample(n_frequencies, n_columns, generator)

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self.kernel._gram(x, y) * self.scale

    def _diagonal(self, x: Tensor) -> Tensor:
        return self.kernel._diagonal(x) * self.scale
