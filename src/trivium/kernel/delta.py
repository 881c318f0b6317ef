"""The label kernel: equal or not."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.kernel.base import Kernel

__all__ = ["Delta"]


@dataclass(frozen=True)
class Delta(Kernel):
    """Label kernel k(x, x′) = 1 when x = x′ and 0 otherwise.

    Rows are codes of any dtype, compared by equality; with several columns a row equals another
    when all its columns do. The Gram matrix keeps the dtype of float32 or float64 codes, and is
    in torch's default dtype for integers. Characteristic on discrete variables.

    Example:
        >>> import torch
        >>> Delta().gram(torch.tensor([7, 9, 7]))
        tensor([[1., 0., 1.],
                [0., 1., 0.],
                [1., 0., 1.]])

    Source:
        Song et al., Feature Selection via Dependence Maximization, JMLR 13 (2012), section 5.2.
    """

    characteristic = True
    inputs = "codes"
    differentiable = False

    @classmethod
    def examples(cls) -> Sequence["Delta"]:
        """Return a few small instances."""
        return (cls(),)

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        other = x if y is None else y
        equal = x[:, None, 0] == other[None, :, 0]
        for column in range(1, x.shape[1]):
            equal &= x[:, None, column] == other[None, :, column]
        return equal.to(_dtype(x))

    def _diagonal(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), dtype=_dtype(x), device=x.device)


def _dtype(x: Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()
