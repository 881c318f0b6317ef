"""The value whose derivatives are those of the expectation, of every order."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from trivium.expectation.first_order import know_signature

__all__ = ["surrogate"]

# From here on the passes over samples that `_Weighted` saves are worth its 30 µs of Python.
_MANY = 1 << 13


def surrogate(
    values: Float[Tensor, "s *lead"],
    logs: Float[Tensor, "s *lead"],
    base: Float[Tensor, "#s *lead"],
) -> Float[Tensor, "*lead"]:
    r"""Return $\frac1s \sum w f + (1 - w) b$ with $w = \exp(l - \mathrm{stop}(l))$.

    w is 1 and its derivatives are those of $p_\theta(z) / p_{\theta_0}(z)$ at $\theta_0$. A
    baseline that learns is fitted along: the squared error is added, less itself.

    Args:
        values: f of each sample.
        logs: Logarithm of what each sample weighs, up to a constant.
        base: b, which may not depend on the sample that it is for.

    Source: Foerster et al., DiCE (2018); Mao et al. (2019).
    """
    values = values.to(torch.promote_types(values.dtype, logs.dtype))
    if values.numel() < _MANY or torch.compiler.is_compiling() or _forward_mode():
        change = torch.expm1(logs - logs.detach())
        found = torch.addcmul(values, change, values - base.detach()).mean(0)
    else:
        found = _Weighted.apply(values, logs, base.detach())  # type: ignore[no-untyped-call]
    if not base.requires_grad:
        return found
    error = (base - values.detach()).square().mean(0)
    return found + error - error.detach()


class _Weighted(torch.autograd.Function):
    """The mean of f + (w − 1) (f − b); as w is 1, the value is the mean of f to the last bit."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, logs: Tensor, base: Tensor) -> Tensor:
        return values.mean(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, logs, base = ctx.saved_tensors
        share = grad / len(values)
        if torch.is_grad_enabled():  # to be differentiated again: then w is more than 1
            share = share * (logs - logs.detach()).exp()
        to_values = share.expand_as(values) if ctx.needs_input_grad[0] else None
        to_logs = share * (values - base) if ctx.needs_input_grad[1] else None
        return to_values, to_logs, None


know_signature(_Weighted)


def _forward_mode() -> bool:
    """Whether tangents are about: of a function of ours torch would lose those of tangents."""
    return forward_ad._current_level >= 0
