"""Orthogonal random Fourier features: frequencies that do not repeat each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.kernel.base import Kernel
from trivium.kernel.fourier import Fourier
from trivium.kernel.gaussian import Gaussian
from trivium.kernel.matern import Matern

__all__ = ["OrthogonalFourier"]


@dataclass(frozen=True, kw_only=True)
class OrthogonalFourier(Fourier):
    """Fourier features whose directions are orthogonal within blocks of d frequencies.

    Each frequency alone has the kernel's spectral distribution, so the features are unbiased; for
    the Gaussian kernel their variance is smaller than with independent frequencies.

    Args:
        kernel: An isotropic kernel with a spectral sampler: Gaussian, Matern, RationalQuadratic,
            Laplace in the Euclidean norm, their sums, products and scalings.
        n_features: r, even.

    Raises:
        ArgumentError: `n_features` is odd, or the kernel is not isotropic.

    Cost:
        O(r d²) time to fit, O(n r d) to transform, O(n r) memory.

    Example:
        >>> import torch
        >>> x = torch.eye(3)
        >>> OrthogonalFourier(kernel=Gaussian(1.0), n_features=8).fit(x).transform(x).shape
        torch.Size([3, 8])

    Source:
        Yu et al., Orthogonal Random Features, NeurIPS (2016), section 3.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kernel.isotropic:
            raise ArgumentError(
                f"OrthogonalFourier: kernel must be isotropic; got {self.kernel!r}",
                remedy="Use RandomFourier.",
            )

    @classmethod
    def examples(cls) -> Sequence["OrthogonalFourier"]:
        """Return a few small instances."""
        kernels = (Gaussian(), Gaussian(0.8), Matern(1.5, nu=2.5))
        return tuple(cls(kernel=kernel, n_features=64) for kernel in kernels)

    def _draw(self, kernel: Kernel, n_columns: int, generator: np.random.Generator) -> Tensor:
        count = self.n_features // 2
        radii = kernel.spectral_sample(count, n_columns, generator).norm(dim=1)
        blocks = -(-count // n_columns)
        normal = generator.standard_normal((blocks, n_columns, n_columns))
        q, r = torch.linalg.qr(torch.from_numpy(normal))
        # The signs of R's diagonal make Q uniform over rotations and reflections.
        directions = (q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]).mT
        return directions.reshape(-1, n_columns)[:count] * radii[:, None]
