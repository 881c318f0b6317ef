"""The feature map's contract: k(x, x') ≈ φ(x)ᵀ φ(x')."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError
from trivium._core.random import RandomState, check_seed
from trivium.kernel.base import Kernel

__all__ = ["FeatureMap"]

Map = TypeVar("Map", bound="FeatureMap")


@dataclass(frozen=True, kw_only=True)
class FeatureMap(ABC):
    """Features of a kernel: configured when built, a fitted copy from `fit`, then `transform`.

    A member is a frozen dataclass that answers `_learn` (the learned fields by name) and
    `_features`. What holds for it, it declares:

    Attributes:
        unbiased: φ(x)ᵀ φ(x′) has the mean k(x, x′) over seeds.
        interpolates: K − Φ Φᵀ is positive semi-definite, and zero at the landmarks.

    Args:
        kernel: The kernel whose features they are.
        n_features: Width of the features, r; a fitted map may have fewer, never more.
        n_columns: Columns of the rows that it was fitted on; learned.
    """

    kernel: Kernel
    n_features: int = 256
    n_columns: int | None = None

    unbiased = False
    interpolates = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not isinstance(self.kernel, Kernel):
            raise ArgumentError(f"{name}: kernel must be a Kernel; got {self.kernel!r}")
        check_number(name, "n_features", self.n_features, "positive", integer=True)

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence["FeatureMap"]:
        """Return a few small instances for conformance tests and the catalog."""

    @abstractmethod
    def _learn(self, kernel: Kernel, x: Shaped[Tensor, "n d"], seed: int) -> dict[str, Any]:
        """Return the learned fields for a resolved kernel and checked rows."""

    @abstractmethod
    def _features(self, x: Shaped[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        """Return the features of checked rows."""

    def fit(self: Map, x: Shaped[Tensor, "n *d"], random_state: RandomState = 0) -> Map:
        """Return a fitted copy; the map itself is not changed.

        Args:
            x: Rows, as for the kernel.
            random_state: Seed; the same seed gives the same bits.

        Raises:
            ArgumentError: As for `Kernel.gram`.
            ShapeError: As for `Kernel.gram`.
            DataError: As for `Kernel.gram`.
        """
        seed = check_seed(random_state)
        rows, _ = self.kernel._checked("fit", x.detach() if isinstance(x, Tensor) else x, None)
        kernel = self.kernel.resolve(rows, seed)
        learned = self._learn(kernel, rows, seed)
        return replace(self, **{"kernel": kernel, "n_columns": rows.shape[1], **learned})

    def transform(self, x: Shaped[Tensor, "n *d"]) -> Float[Tensor, "n r"]:
        """Return φ(x), one row per row, differentiable in `x` where the kernel is.

        Args:
            x: Rows with the columns of those that the map was fitted on.

        Raises:
            ArgumentError: The map is not fitted, or as for `Kernel.gram`.
            ShapeError: Other columns than in `fit`.
            DataError: As for `Kernel.gram`.
        """
        name = type(self).__name__
        if self.n_columns is None:
            raise ArgumentError(
                f"{name}.transform: the map must be fitted first; got {self!r}",
                remedy="Use the map that fit(x) returns.",
            )
        rows, _ = self.kernel._checked("transform", x, None)
        if rows.shape[1] != self.n_columns:
            raise ShapeError(
                f"{name}.transform: x must have the {counted(self.n_columns, 'column')} of fit; "
                "got "
                f"{rows.shape[1]} (shape {tuple(x.shape)})"
            )
        return self._features(rows)
