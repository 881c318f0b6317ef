"""The rows themselves as features of the linear kernel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError
from trivium.kernel.base import Kernel
from trivium.kernel.feature_map import FeatureMap
from trivium.kernel.linear import Linear

__all__ = ["Coordinates"]


@dataclass(frozen=True, kw_only=True)
class Coordinates(FeatureMap):
    r"""The exact features $\varphi(x) = (x, \sqrt b)$ of the linear kernel $x^\top x' + b$.

    Args:
        kernel: `Linear(bias)`.
        n_features: At least the columns of the rows, and one more with a bias; a fitted map has
            just as many.

    Raises:
        ArgumentError: Another kernel, or fewer features than columns.

    Cost:
        O(n d) time and memory.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> Coordinates(kernel=Linear(bias=4.0)).fit(x).transform(x)
        tensor([[1., 2., 2.]])
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.kernel, Linear):
            raise ArgumentError(f"Coordinates: kernel must be Linear(); got {self.kernel!r}")

    @classmethod
    def examples(cls) -> Sequence["Coordinates"]:
        """Return a few small instances."""
        return (cls(kernel=Linear()), cls(kernel=Linear(bias=0.5)))

    @property
    def _bias(self) -> float:
        return self.kernel.bias if isinstance(self.kernel, Linear) else 0.0

    def _learn(self, kernel: Kernel, x: Shaped[Tensor, "n d"], seed: int) -> dict[str, Any]:
        width = x.shape[1] + (self._bias > 0)
        if width > self.n_features:
            raise ArgumentError(
                f"Coordinates.fit: n_features must be at least {width} for "
                f"{counted(x.shape[1], 'column')}; "
                f"got {self.n_features}",
                remedy="Use Nystroem features for fewer.",
            )
        return {"n_features": width}

    def _features(self, x: Shaped[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        if not self._bias > 0:
            return x
        return torch.cat((x, x.new_full((len(x), 1), self._bias**0.5)), 1)
