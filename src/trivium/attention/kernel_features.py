"""Any fitted feature map of the kernel room as features of attention."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError
from trivium.attention.features import AttentionFeatures
from trivium.kernel.feature_map import FeatureMap
from trivium.kernel.fourier import RandomFourier
from trivium.kernel.gaussian import Gaussian
from trivium.kernel.nystroem import Nystroem

__all__ = ["KernelFeatures"]


class KernelFeatures(AttentionFeatures):
    """Weights k(q, k′) of a kernel, through a map that was fitted to rows `(n, head_dim)`.

    Args:
        fitted: What `FeatureMap.fit` returned.
        positive: Whether its weights are never negative; few maps can promise it (the kernel may
            be positive where its estimate is not), so by default they are not normalized.

    Raises:
        ArgumentError: Not a fitted feature map.
        ShapeError: In `width` and `forward`: other columns than in `fit`.
        DataError: In `forward`: NaN or infinity.

    Cost:
        That of the map's `transform`.

    Example:
        >>> rows = torch.linspace(-1, 1, 12).reshape(6, 2)
        >>> fitted = Nystroem(kernel=Gaussian(1.0), n_features=4).fit(rows)
        >>> KernelFeatures(fitted)(rows.reshape(1, 1, 6, 2)).shape
        torch.Size([1, 1, 6, 4])

    Source:
        Tsai et al., Transformer Dissection: A Unified Understanding of Transformer's Attention
        via the Lens of Kernel, EMNLP (2019).
    """

    def __init__(self, fitted: FeatureMap, positive: bool = False) -> None:
        super().__init__()
        if not isinstance(fitted, FeatureMap) or fitted.n_columns is None:
            raise ArgumentError(
                f"KernelFeatures: fitted must be a fitted FeatureMap; got {fitted!r}",
                remedy="Use the map that fit(x) returns.",
            )
        self.fitted = fitted
        self.positive = bool(positive)

    @classmethod
    def examples(cls) -> Sequence["KernelFeatures"]:
        """Return a few small instances."""
        rows = torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(12, 4).sin()
        maps: tuple[FeatureMap, ...] = (
            RandomFourier(kernel=Gaussian(2.0), n_features=8),
            Nystroem(kernel=Gaussian(2.0), n_features=4),
        )
        return tuple(cls(map_.fit(rows)) for map_ in maps)

    def width(self, head_dim: int) -> int:
        """Return r."""
        if head_dim != self.fitted.n_columns:
            raise ShapeError(
                f"KernelFeatures: head_dim must be the {counted(self.fitted.n_columns, 'column')} "
                "of fit; "
                f"got {head_dim}"
            )
        return self.fitted.n_features

    def forward(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s r"]:
        """Return φ(x)."""
        rows = self.fitted.transform(x.reshape(-1, x.shape[-1]))
        return rows.reshape(*x.shape[:-1], rows.shape[1])

    def key(self) -> str:
        """Return the map and its sizes."""
        return f"KernelFeatures({self.fitted!r})"
