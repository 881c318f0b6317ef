"""Positive orthogonal random features of the exponential kernel (FAVOR+)."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ShapeError
from trivium._core.random import RandomState, check_seed
from trivium.attention.features import AttentionFeatures
from trivium.kernel.gaussian import Gaussian
from trivium.kernel.orthogonal import OrthogonalFourier

__all__ = ["Favor"]


@lru_cache(maxsize=64)
def _directions(head_dim: int, n_features: int, seed: int) -> Float[Tensor, "r d"]:
    """Draw orthogonal directions with the lengths of normal vectors: the Gaussian spectrum's."""
    spectrum = OrthogonalFourier(kernel=Gaussian(1.0), n_features=2 * n_features)
    drawn = spectrum.fit(torch.zeros(2, head_dim, dtype=torch.float64), seed).frequencies
    assert drawn is not None  # fit has drawn them
    return drawn


class Favor(AttentionFeatures):
    r"""$\varphi(x)_j = \exp(w_j^\top x' - \|x'\|^2 / 2) / \sqrt r$ with $x' = x / d^{1/4}$.

    The weight φ(q)ᵀ φ(k) has the mean exp(qᵀk / √d) over the draws of w, which are normal, and
    orthogonal within blocks of d; every feature is positive. The keys are not shifted by their
    maximum: that would let a row see later rows.

    Args:
        head_dim: d.
        n_features: r; ⌊d ln d⌋, at least d, by default.
        random_state: Seed of the directions.

    Raises:
        ArgumentError: A size that is not positive, or a seed that is none.
        ShapeError: In `forward`: another dimension.

    Cost:
        O(s d r) time, O(s r) memory.

    Example:
        >>> Favor(4, n_features=32)(torch.zeros(1, 1, 4)).square().sum().round().item()
        1.0

    Source:
        Choromanski et al., Rethinking Attention with Performers, ICLR (2021), lemma 1 and
        section 2.4.
    """

    name: ClassVar[str] = "favor"
    exponential: ClassVar[bool] = True

    def __init__(
        self, head_dim: int, n_features: int | None = None, random_state: RandomState = 0
    ) -> None:
        super().__init__()
        d = int(check_number("Favor", "head_dim", head_dim, "positive", integer=True))
        wanted = max(d, int(d * math.log(d))) if n_features is None else n_features
        self.n_features = int(check_number("Favor", "n_features", wanted, "positive", integer=True))
        self.head_dim = d
        self.seed = check_seed(random_state)
        self.directions: Tensor
        self.register_buffer("directions", _directions(d, self.n_features, self.seed).clone())

    @classmethod
    def examples(cls) -> Sequence["Favor"]:
        """Return a few small instances."""
        return (cls(4), cls(4, n_features=3, random_state=7))

    @classmethod
    def build(cls, n_heads: int, head_dim: int) -> "Favor":
        """Return the map with the default number of features and seed 0."""
        return cls(head_dim)

    def width(self, head_dim: int) -> int:
        """Return r."""
        return self.n_features

    def _exponents(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.head_dim:
            raise ShapeError(
                f"Favor: x must have heads of dimension {self.head_dim}; got shape {tuple(x.shape)}"
            )
        scaled = x * self.head_dim**-0.25
        half = scaled.square().sum(-1, keepdim=True) / 2 + math.log(self.n_features) / 2
        return scaled @ self.directions.to(x).mT - half

    def forward(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s r"]:
        """Return φ(x)."""
        return self._exponents(x).exp()

    def queries(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s r"]:
        """Return φ(x) over its largest feature."""
        found = self._exponents(x)
        return (found - found.detach().amax(-1, keepdim=True)).exp()

    def key(self) -> str:
        """Return the sizes and the seed: other directions are other features."""
        return f"Favor({self.head_dim}, {self.n_features}, {self.seed})"
