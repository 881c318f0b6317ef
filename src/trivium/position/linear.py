"""ALiBi: a penalty that grows linearly with the distance, at a slope of each head's own."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_number
from trivium.position.base import Offset

__all__ = ["Linear"]


class Linear(Offset):
    r"""Attention with linear biases: $-m_h\,|i - j|$, nothing to learn.

    $m_h = 2^{-8h/H}$ for h = 1 … H where H is a power of two. For another H, as published: the
    slopes of the power of two below, and then every second slope of twice that power.

    Args:
        n_heads: Heads H.

    Raises:
        ArgumentError: Heads that are not a positive whole number.

    Cost:
        O(h (n + t)) for consecutive positions.

    Example:
        >>> bias = Linear(n_heads=8)
        >>> bias.curve(torch.tensor([0, 1, -4]))[:, 0].tolist()
        [-0.0, -0.5, -2.0]

    Source:
        Press et al., Train Short, Test Long: Attention with Linear Biases Enables Input Length
        Extrapolation, ICLR (2022), section 3.
    """

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.n_heads = int(check_number("Linear", "n_heads", n_heads, "positive", integer=True))
        self.slopes = _slopes(self.n_heads)

    @classmethod
    def examples(cls) -> Sequence["Linear"]:
        """Return a small instance."""
        return (cls(2),)

    def curve(self, r: Int[Tensor, "*r"]) -> Float[Tensor, "*r h"]:
        """Return −m |r| of each head."""
        slopes = torch.tensor(self.slopes, dtype=torch.float64, device=r.device)
        return -slopes * r.abs()[..., None]

    def extra_repr(self) -> str:
        """Say how many heads."""
        return f"n_heads={self.n_heads}"


def _slopes(n_heads: int) -> tuple[float, ...]:
    power = 1 << int(math.log2(n_heads))
    found = [2.0 ** (-8.0 * h / power) for h in range(1, power + 1)]
    if power == n_heads:
        return tuple(found)
    return (*found, *_slopes(2 * power)[::2][: n_heads - power])
