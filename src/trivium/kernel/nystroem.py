"""Nyström features: a kernel as seen from a few landmark rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.checks import check_choice
from trivium._core.errors import ArgumentError
from trivium._core.linalg import cholesky_psd
from trivium._core.random import numpy_generator
from trivium.kernel.base import Kernel
from trivium.kernel.delta import Delta
from trivium.kernel.feature_map import FeatureMap
from trivium.kernel.gaussian import Gaussian
from trivium.kernel.polynomial import Polynomial

__all__ = ["Nystroem"]


@dataclass(frozen=True, kw_only=True)
class Nystroem(FeatureMap):
    r"""Nyström features $\varphi(x) = L^{-1} k(Z, x)$ with landmarks Z and $L L^\top = k(Z, Z)$.

    Exact between landmarks; elsewhere $\varphi(x)^\top \varphi(x) \le k(x, x)$, and the gap
    says how far a row is from what the landmarks span. A ladder of jitter serves landmarks that
    repeat each other.

    Args:
        kernel: Any kernel.
        n_features: Landmarks, r; fewer when there are fewer rows, or when greedy pivots leave
            nothing.
        landmarks: `"sample"` (rows drawn without replacement) or `"greedy"` (pivots of the
            incomplete Cholesky factorization, each the row worst represented so far).
        points: Z; learned.
        projection: $L^{-\top}$; learned.
        jitter: What the ladder added, relative to the mean of the diagonal; learned.

    Raises:
        ArgumentError: An argument breaks its rule.

    Cost:
        O(r² d + r³) time to fit with `"sample"`, O(n r (r + d)) with `"greedy"`;
        O(n r (r + d)) to transform, O(n r) memory.

    Example:
        >>> import torch
        >>> x = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
        >>> phi = Nystroem(kernel=Gaussian(1.0), n_features=3).fit(x).transform(x)
        >>> torch.allclose(phi @ phi.T, Gaussian(1.0).gram(x))
        True

    Source:
        Williams and Seeger, Using the Nyström Method to Speed Up Kernel Machines (2001);
        greedy pivots: Harbrecht, Peters and Schneider (2012).
    """

    landmarks: str = "sample"
    points: Shaped[Tensor, "r d"] | None = field(default=None, repr=False, compare=False)
    projection: Float[Tensor, "r r"] | None = field(default=None, repr=False, compare=False)
    jitter: float = 0.0

    interpolates = True
    choices: ClassVar[tuple[str, ...]] = ("sample", "greedy")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("Nystroem", "landmarks", self.landmarks, self.choices)

    @classmethod
    def examples(cls) -> Sequence["Nystroem"]:
        """Return a few small instances."""
        return (
            cls(kernel=Gaussian(), n_features=8),
            cls(kernel=Gaussian(0.9), n_features=8, landmarks="greedy"),
            cls(kernel=Polynomial(), n_features=16),
            cls(kernel=Delta(), n_features=12),
        )

    def _choose(self, kernel: Kernel, x: Tensor, seed: int) -> Tensor:
        if self.landmarks == "greedy":
            return kernel.factor(x, self.n_features, tol=0.0).pivots
        count = min(self.n_features, len(x))
        draw = numpy_generator(seed, "Nystroem").choice(len(x), count, replace=False)
        return torch.from_numpy(draw).to(x.device)

    def _learn(self, kernel: Kernel, x: Shaped[Tensor, "n d"], seed: int) -> dict[str, Any]:
        points = x[self._choose(kernel, x, seed)]
        if len(points) == 0:
            raise ArgumentError(
                f"Nystroem: kernel must not be zero on every row; got {kernel!r}",
                remedy="Drop the constant columns first.",
            )
        exact = points.double() if points.is_floating_point() else points
        gram = kernel._gram(exact, None).double()
        # Entries are only known to the rows' precision: below it the inverse would be noise.
        precision = torch.finfo(kernel._diagonal(points[:1]).dtype).eps * len(points)
        eye = torch.eye(len(points), dtype=gram.dtype, device=gram.device)
        found = cholesky_psd("Nystroem", gram + eye * (precision * gram.diagonal().mean()))
        inverse = torch.linalg.solve_triangular(found.lower, eye, upper=False)
        return {
            "points": points,
            "projection": inverse.mT.contiguous(),
            "jitter": found.jitter + precision,
            "n_features": len(points),
        }

    def _features(self, x: Shaped[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        if self.points is None or self.projection is None:
            raise ArgumentError("Nystroem: landmarks must be learned by fit first")
        gram = self.kernel.gram(x, self.points.to(x))
        return gram @ self.projection.to(gram)
