"""The linear kernel."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from trivium._core.checks import check_number
from trivium.kernel.base import Kernel

__all__ = ["Linear"]


@dataclass(frozen=True)
class Linear(Kernel):
    r"""Linear kernel $k(x, x') = x^\top x' + b$.

    Not characteristic: HSIC with it sees linear dependence only.

    Args:
        bias: b, non-negative.

    Raises:
        ArgumentError: The bias is negative or not a number.

    Example:
        >>> import torch
        >>> Linear().gram(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([[ 5., 11.],
                [11., 25.]])
    """

    bias: float = 0.0

    buffers = 3

    def __post_init__(self) -> None:
        check_number("Linear", "bias", self.bias, "non-negative")

    @classmethod
    def examples(cls) -> Sequence["Linear"]:
        """Return a few small instances."""
        return (cls(), cls(bias=0.5))

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        return (x @ (x if y is None else y).mT).add_(self.bias)

    def _diagonal(self, x: Tensor) -> Tensor:
        return x.square().sum(1) + self.bias
