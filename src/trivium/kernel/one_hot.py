"""One-hot features of the label kernel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.kernel.base import Kernel
from trivium.kernel.delta import Delta
from trivium.kernel.feature_map import FeatureMap

__all__ = ["OneHot"]


@dataclass(frozen=True, kw_only=True)
class OneHot(FeatureMap):
    r"""One-hot features $\varphi(x) = (1[x = z_1], \dots, 1[x = z_l], 1[\text{other}])$ of `Delta`.

    Exact between the levels met by `fit`. All other levels count as one, so rows of levels that
    come later are like each other and unlike the rest.

    Args:
        kernel: `Delta()`.
        n_features: Most levels and one; where there are more levels, the rarest count as other.
        points: Levels, the most frequent first; learned.

    Raises:
        ArgumentError: Another kernel, or an argument that breaks its rule.

    Cost:
        O(n r d) time, O(n r) memory.

    Example:
        >>> import torch
        >>> levels = OneHot(kernel=Delta(), n_features=8).fit(torch.tensor([3.0, 5.0, 3.0]))
        >>> levels.transform(torch.tensor([5.0, 3.0, 9.0]))
        tensor([[0., 1., 0.],
                [1., 0., 0.],
                [0., 0., 1.]])
    """

    points: Shaped[Tensor, "l d"] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.kernel, Delta):
            raise ArgumentError(f"OneHot: kernel must be Delta(); got {self.kernel!r}")

    @classmethod
    def examples(cls) -> Sequence["OneHot"]:
        """Return a few small instances."""
        return (cls(kernel=Delta()), cls(kernel=Delta(), n_features=3))

    def _learn(self, kernel: Kernel, x: Shaped[Tensor, "n d"], seed: int) -> dict[str, Any]:
        levels, counts = torch.unique(x, dim=0, return_counts=True)
        order = torch.argsort(counts, descending=True, stable=True)
        points = levels[order[: self.n_features - 1]]
        return {"points": points, "n_features": len(points) + 1}

    def _features(self, x: Shaped[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        if self.points is None:
            raise ArgumentError("OneHot: levels must be learned by fit first")
        known = self.kernel._gram(x, self.points.to(x))
        return torch.cat((known, 1 - known.sum(1, keepdim=True)), 1)
