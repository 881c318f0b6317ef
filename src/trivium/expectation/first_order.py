"""What is differentiated once or through the samples only: the refusals."""

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.expectation.problem import Problem

__all__ = ["know_signature", "mean_through", "refuse_first", "refuse_second"]

_BIASED = "its gradient is biased, and the derivative of it estimates nothing"
_REMEDY = "Score() and Exact() have derivatives of every order."


def refuse_second(
    parameter: Float[Tensor, "*n"], estimator: str, because: str = _BIASED, remedy: str = _REMEDY
) -> Float[Tensor, "*n"]:
    """Return the parameter; the gradient that reaches it cannot be differentiated again.

    First derivatives stay as they are, by `backward` with or without `create_graph`, by
    `torch.func.grad`, `vmap` and forward mode. A compiled graph is left alone: `torch.compile`
    refuses second derivatives by itself.

    Args:
        parameter: What the distribution is made of.
        estimator: Name for the error.
        because: Why, for the error.
        remedy: The way out, for the error.

    Raises:
        ArgumentError: On the second derivative, out of the backward pass.

    Example:
        >>> import torch
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> (slope,) = torch.autograd.grad(refuse_second(x, "Relaxed") ** 2, x, create_graph=True)
        >>> slope.backward()
        Traceback (most recent call last):
        ...
        trivium._core.errors.ArgumentError: expect: Relaxed must be differentiated only once; ...
    """
    if torch.compiler.is_compiling():
        return parameter
    rule = f"{estimator} must be differentiated only once; {because}"
    return _First.apply(parameter, rule, remedy)  # type: ignore[no-untyped-call]


def refuse_first(parameter: Float[Tensor, "*n"], rule: str) -> Float[Tensor, "*n"]:
    """Return the parameter; no gradient may reach it, in `torch.func` transforms neither.

    Args:
        parameter: What an estimator cannot differentiate.
        rule: For the error: what must be.

    Raises:
        ArgumentError: On the first derivative, out of the backward pass.
    """
    if torch.compiler.is_compiling():
        return parameter
    return _Second.apply(parameter, parameter.detach(), rule, _REMEDY)  # type: ignore[no-untyped-call]


class _First(torch.autograd.Function):
    """Identity whose backward ends in `_Second`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, rule: str, remedy: str) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, str, str], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])
        ctx.refusal = inputs[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        if not torch.is_grad_enabled():  # nothing is recorded that could be differentiated
            return grad, None, None
        # Handed x too: a constant gradient is to be refused as well.
        saved = ctx.saved_tensors[0]
        return _Second.apply(grad, saved, *ctx.refusal), None, None  # type: ignore[no-untyped-call]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        saved = ctx.saved_tensors[0]
        return _Second.apply(tangent, saved, *ctx.refusal)  # type: ignore[no-untyped-call]


class _Second(torch.autograd.Function):
    """Identity in its first argument that refuses any derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Tensor, x: Tensor, rule: str, remedy: str) -> Tensor:
        return grad.view_as(grad)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, str, str], output: Tensor) -> None:
        ctx.refusal = inputs[2:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, ...]:
        raise _refusal(*ctx.refusal)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        raise _refusal(*ctx.refusal)


def know_signature(function: type[torch.autograd.Function]) -> None:
    """Keep the signature of `forward`, which `apply` would work out again on every call."""
    function.forward.__signature__ = inspect.signature(function.forward)  # type: ignore[attr-defined]


know_signature(_First)
know_signature(_Second)


def _refusal(rule: str, remedy: str) -> ArgumentError:
    return ArgumentError(f"expect: {rule}", remedy=remedy)


def mean_through(problem: Problem, z: Float[Tensor, "s *rest"], estimator: str) -> Tensor:
    """Average f over samples that carry the gradient.

    Args:
        problem: The expectation.
        z: Samples.
        estimator: Name for the error.

    Raises:
        ArgumentError: The values do not depend on the samples differentiably.
    """
    values = problem.values(z)
    if z.requires_grad and not values.requires_grad:
        raise ArgumentError(
            f"expect: f must be a differentiable function of its samples for {estimator}; "
            "got values without a gradient",
            remedy="Score() takes any f.",
        )
    return values.mean(0)
