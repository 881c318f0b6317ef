"""KERPLE: penalties of the distance that are conditionally positive definite kernels."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_choice, check_number
from trivium.position.base import Offset

__all__ = ["Kerple"]

_LEAST = 0.01  # as published: both parameters stay above
_STEEPEST = 2.0  # of the exponent: beyond, the kernel is not conditionally positive definite


class Kerple(Offset):
    r"""$-r_1 \ln(1 + r_2 |i - j|)$ or $-r_1 |i - j|^{r_2}$, both learned for each head.

    Parameters are used as they are from 0.01 up, the exponent up to 2; beyond they are used at
    the bound and keep their gradient, as the published code, which sets them back, does.

    Args:
        n_heads: Heads h.
        kind: `"log"` or `"power"`.

    Raises:
        ArgumentError: Heads that are not a positive whole number, or an unknown kind.

    Cost:
        O(h (n + t)) for consecutive positions.

    Example:
        >>> bias = Kerple(n_heads=2)
        >>> bias.r1.data.fill_(1.0), bias.r2.data.fill_(2.0)
        (tensor([1., 1.]), tensor([2., 2.]))
        >>> bias.curve(torch.tensor([0, -4])).exp()  # 1 and 1 / 9
        tensor([[1.0000, 1.0000],
                [0.1111, 0.1111]], grad_fn=<ExpBackward0>)

    Source:
        Chi et al., KERPLE: Kernelized Relative Positional Embedding for Length Extrapolation,
        NeurIPS (2022), eqs. 4-5; parameters drawn from U(0, 2) and U(0, 1) as in its code.
    """

    def __init__(self, n_heads: int, kind: str = "log") -> None:
        super().__init__()
        self.n_heads = int(check_number("Kerple", "n_heads", n_heads, "positive", integer=True))
        self.kind = check_choice("Kerple", "kind", kind, ("log", "power"))
        self.r1 = nn.Parameter(torch.empty(self.n_heads).uniform_(_LEAST, 2.0))
        self.r2 = nn.Parameter(torch.empty(self.n_heads).uniform_(_LEAST, 1.0))

    @classmethod
    def examples(cls) -> Sequence["Kerple"]:
        """Return a small instance of each kind."""
        return (cls(2), cls(2, "power"))

    def curve(self, r: Int[Tensor, "*r"]) -> Float[Tensor, "*r h"]:
        """Return the penalty at each offset."""
        wide = torch.promote_types(self.r1.dtype, torch.float32)  # narrow ones round distances
        distance, r1, r2 = (x.to(wide) for x in (r.abs()[..., None], self.r1, self.r2))
        if self.kind == "log":
            return -_held(r1) * torch.log1p(_held(r2) * distance)
        return -_held(r1) * distance ** _held(r2, _STEEPEST)

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"n_heads={self.n_heads}, kind={self.kind!r}"


def _held(value: Tensor, most: float | None = None) -> Tensor:
    """Return a parameter within its bounds, with the gradient of the parameter as it is."""
    return value + (value.clamp(_LEAST, most) - value).detach()
