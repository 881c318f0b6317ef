"""The second-order Taylor expansion of the exponential as features."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.attention.features import AttentionFeatures

__all__ = ["Taylor2"]


class Taylor2(AttentionFeatures):
    r"""$\varphi(q)^\top \varphi(k) = 1 + s + s^2 / 2$ with $s = q^\top k / \sqrt d$, exactly.

    The weight is at least 1/2. Products x_i x_j are kept once, with the factor √2 where i < j,
    so r = 1 + d + d (d + 1) / 2 and not 1 + d + d².

    Cost:
        O(s d²) time and memory.

    Example:
        >>> q, k = torch.full((1, 1, 4), 0.5), torch.full((1, 1, 4), 2.0)
        >>> float((Taylor2()(q) * Taylor2()(k)).sum())  # 1 + 2 + 2
        5.0

    Source:
        Arora et al., Simple linear attention language models balance the recall-throughput
        tradeoff (2024), eq. 2; Zhang et al., The Hedgehog & the Porcupine (2024), appendix.
    """

    name: ClassVar[str] = "taylor2"
    exponential: ClassVar[bool] = True

    @classmethod
    def examples(cls) -> Sequence["Taylor2"]:
        """Return a few small instances."""
        return (cls(),)

    def width(self, head_dim: int) -> int:
        """Return 1 + d + d (d + 1) / 2."""
        return 1 + head_dim + head_dim * (head_dim + 1) // 2

    def forward(self, x: Float[Tensor, "*b h s d"]) -> Float[Tensor, "*b h s r"]:
        """Return φ(x)."""
        d = x.shape[-1]
        scaled = x * d**-0.25
        row, column = torch.triu_indices(d, d, device=x.device)
        twice = torch.where(row == column, math.sqrt(0.5), 1.0).to(x.dtype)
        pairs = scaled[..., row] * scaled[..., column] * twice
        return torch.cat((torch.ones_like(scaled[..., :1]), scaled, pairs), -1)
