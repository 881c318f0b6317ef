"""Functions whose derivatives have to be told: computed by NumPy, or with a hole at zero."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

__all__: list[str] = []

Curve = Callable[[Tensor], Tensor]
_TERMS = 12  # of the series of sinc: 1/25! and its first ten derivatives are beyond float64


def with_slope(r: Float[Tensor, "..."], value: Curve, slope: Curve) -> Complex[Tensor, "..."]:
    """Return a complex function of real numbers, elementwise, with its derivative.

    Args:
        r: Where.
        value: The function, of tensors without a gradient.
        slope: Its derivative, in operations that have one themselves for derivatives of any order.
    """
    if not (r.requires_grad and torch.is_grad_enabled()):
        return value(r.detach())
    found: Tensor = _WithSlope.apply(r, value, slope)  # type: ignore[no-untyped-call]
    return found


class _WithSlope(torch.autograd.Function):
    """The values; the derivative is taken where it is asked for."""

    @staticmethod
    def forward(r: Tensor, value: Curve, slope: Curve) -> Tensor:
        return value(r.detach())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Curve, Curve], output: Tensor) -> None:
        r, _, ctx.slope = inputs
        ctx.save_for_backward(r)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (r,) = ctx.saved_tensors
        return (grad.conj() * ctx.slope(r)).real, None, None


def sinc(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return sin x / x, with derivatives of every order at and near zero.

    Those of `torch.sinc` are quotients: the second is NaN at zero and noise at 1e-8.
    """
    value = torch.sinc(x.detach() / torch.pi)
    if not (x.requires_grad and torch.is_grad_enabled()):
        return value
    near = x.abs() < 1
    square = torch.where(near, x, 0.0).square()
    series = torch.ones_like(x)
    for k in range(_TERMS, 0, -1):
        series = 1 - series * square / ((2 * k) * (2 * k + 1))
    far = torch.where(near, 1.0, x)
    smooth = torch.where(near, series, far.sin() / far)
    return value + (smooth - smooth.detach())  # the same bits with a graph and without
