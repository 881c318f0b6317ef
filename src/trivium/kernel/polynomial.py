"""The polynomial kernel."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from trivium._core.checks import check_number
from trivium.kernel.base import Kernel

__all__ = ["Polynomial"]


@dataclass(frozen=True)
class Polynomial(Kernel):
    r"""Polynomial kernel $k(x, x') = (\gamma\, x^\top x' + b)^p$.

    Not characteristic: HSIC with it sees moments up to order p only.

    Args:
        degree: p, a whole number from 1.
        gamma: γ, positive (scikit-learn's default is one over the number of columns).
        bias: b, non-negative.

    Raises:
        ArgumentError: An argument breaks its rule.

    Example:
        >>> import torch
        >>> Polynomial(degree=2).gram(torch.tensor([1.0, 2.0]))
        tensor([[ 4.,  9.],
                [ 9., 25.]])
    """

    degree: int = 2
    gamma: float = 1.0
    bias: float = 1.0

    def __post_init__(self) -> None:
        check_number("Polynomial", "degree", self.degree, "positive", integer=True)
        check_number("Polynomial", "gamma", self.gamma, "positive")
        check_number("Polynomial", "bias", self.bias, "non-negative")

    @classmethod
    def examples(cls) -> Sequence["Polynomial"]:
        """Return a few small instances."""
        return (cls(), cls(degree=3, gamma=0.5), cls(degree=1, bias=0.0))

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        products = x @ (x if y is None else y).mT
        return products.mul_(self.gamma).add_(self.bias).pow_(self.degree)

    def _diagonal(self, x: Tensor) -> Tensor:
        return (x.square().sum(1) * self.gamma + self.bias) ** self.degree
