"""A learned softmax feature map for each head (Hedgehog)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ShapeError
from trivium.attention.features import AttentionFeatures

__all__ = ["Hedgehog"]


class Hedgehog(AttentionFeatures):
    r"""$\varphi(x) = [\mathrm{softmax}(W x + b), \mathrm{softmax}(-W x - b)]$, W and b learned.

    Each head has its own W, the identity to begin with, and b, zero to begin with; r = 2 d.
    Softmax over the features keeps them bounded, so nothing overflows.

    Args:
        n_heads: Heads.
        head_dim: d.

    Raises:
        ArgumentError: A size that is not positive.
        ShapeError: In `forward`: other heads or another dimension.

    Cost:
        O(s d²) time, O(s d) memory.

    Example:
        >>> Hedgehog(1, 2)(torch.zeros(1, 1, 2)).tolist()
        [[[0.5, 0.5, 0.5, 0.5]]]

    Source:
        Zhang et al., The Hedgehog & the Porcupine, ICLR (2024), section 4.2 and appendix A.
    """

    name: ClassVar[str] = "hedgehog"

    def __init__(self, n_heads: int, head_dim: int) -> None:
        super().__init__()
        self.n_heads = int(check_number("Hedgehog", "n_heads", n_heads, "positive", integer=True))
        self.head_dim = int(
            check_number("Hedgehog", "head_dim", head_dim, "positive", integer=True)
        )
        self.weight = nn.Parameter(torch.eye(self.head_dim).repeat(self.n_heads, 1, 1))
        self.bias = nn.Parameter(torch.zeros(self.n_heads, 1, self.head_dim))

    @classmethod
    def examples(cls) -> Sequence["Hedgehog"]:
        """Return a few small instances."""
        bent = cls(2, 4)
        with torch.no_grad():
            bent.weight.copy_(torch.linspace(-1, 1, 32).reshape(2, 4, 4))
            bent.bias.copy_(torch.linspace(-1, 1, 8).reshape(2, 1, 4))
        return (cls(2, 4), bent)

    @classmethod
    def build(cls, n_heads: int, head_dim: int) -> "Hedgehog":
        """Return a map that is the softmax of ±x until it is trained."""
        return cls(n_heads, head_dim)

    def width(self, head_dim: int) -> int:
        """Return 2 d."""
        return 2 * self.head_dim

    def forward(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s r"]:
        """Return φ(x)."""
        if x.shape[-3] != self.n_heads or x.shape[-1] != self.head_dim:
            raise ShapeError(
                f"Hedgehog: x must have {counted(self.n_heads, 'head')} of dimension "
                f"{self.head_dim}; got "
                f"shape {tuple(x.shape)}"
            )
        turned = x @ self.weight.to(x).mT + self.bias.to(x)
        return torch.cat((turned.softmax(-1), (-turned).softmax(-1)), -1)
