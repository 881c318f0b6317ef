"""The gradient as if f saw probabilities while it sees the draw: straight through, and ReinMax."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.first_order import know_signature, mean_through, refuse_second
from trivium.expectation.gumbel import gumbel_max
from trivium.expectation.one_hot import from_one_hot, one_hot_logits, why_not_one_hot
from trivium.expectation.problem import Problem
from trivium.expectation.relaxed import one_hot_of, relaxed_given, softmax_at
from trivium.expectation.schedule import Schedule, check_temperature, temperature_now

__all__ = ["StraightThrough", "heun_through", "softmax_through"]


@dataclass(frozen=True)
class StraightThrough(GradientEstimator):
    r"""Straight-through: f sees the exact draw D, the gradient passes on to probabilities. Biased.

    With $\pi$ the softmax of the logits o, $\pi_\tau$ that of $o / \tau$, $g = f'(D)$ and $J(p) =
    \mathrm{diag}(p) - p p^\top$ the gradient in o is, by `order`,

    - 1: $J(\pi_\tau) \, g / \tau$; without bias at $\tau = 1$ only for f linear in each draw;
    - 2: $2 J(\tfrac12 (\pi_\tau + D)) \, g - \tfrac12 J(\pi) \, g$ (ReinMax). At $\tau = 1$ it is
      $\tfrac12 [\pi (g - g_D) + D (g - \pi \cdot g)]$, whose mean replaces each difference of f by
      Heun's rule: without bias for f quadratic in each draw, for any number of categories.

    For $f = (z - 0.45)^2$ and $p = 0.2$, where the gradient is 0.016, order 1 gives -0.080 in the
    mean, the wrong sign, and order 2 0.016; for $z^3$, 3 p and 3/2 times the gradient.

    Args:
        order: 1 or 2.
        temperature: $\tau$: a number, a schedule, or a function of the step.
        rao: For order 2, k > 0: D inside J is replaced by the mean of k softened draws at
            temperature $\tau$ that share this D, as Gumbel-Rao does in the Jacobian of
            `Relaxed`. It is for comparing the two: k = 4 measured 1.0 to 1.8 times the variance of
            0, with more bias, and biased for quadratic f. With $\tau \to 0$ it is k = 0.

    Raises:
        ArgumentError: An argument breaks its rule; in use, a fully masked row, an f that cannot be
            differentiated, or a second derivative.

    Cost: one call of f, its backward.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli
        >>> from trivium.expectation import Exact, expect
        >>> logits = torch.full((200_000,), -1.0, requires_grad=True)
        >>> def slope(estimator):
        ...     value = expect(lambda z: (z - 0.45) ** 2, Bernoulli(logits=logits), estimator)
        ...     return torch.autograd.grad(value.mean(), logits)[0].sum()
        >>> first, second, exact = map(slope, (StraightThrough(1), StraightThrough(2), Exact()))
        >>> bool((second - exact).abs() < 0.002), bool(first < 0 < exact)
        (True, True)

    Source:
        Bengio, Léonard and Courville, Estimating or propagating gradients through stochastic
        neurons (2013); Liu, Dong, Liu, Yu and Gao, Bridging discrete and backpropagation:
        straight-through and beyond (2023), algorithm 2.
    """

    order: int = 2
    temperature: float | Schedule = 1.0
    rao: int = 0

    unbiased = False
    orders = 1
    differentiates = True

    def __post_init__(self) -> None:
        caller = "StraightThrough"
        if self.order not in (1, 2) or isinstance(self.order, bool):
            raise ArgumentError(f"{caller}: order must be 1 or 2; got {self.order!r}")
        object.__setattr__(self, "temperature", check_temperature(caller, self.temperature))
        check_number(caller, "rao", self.rao, "non-negative", integer=True)
        if self.rao and self.order == 1:
            raise ArgumentError(
                f"{caller}: rao must be 0 for order=1, which softens no draw; got {self.rao!r}",
                remedy="Relaxed(temperature, rao=k) is Gumbel-Rao.",
            )

    @classmethod
    def examples(cls) -> Sequence["StraightThrough"]:
        """Return one of each kind."""
        return (cls(1), cls(2), cls(2, temperature=1.3), cls(2, rao=4))

    def serves(self, problem: Problem) -> str:
        """Ask for Bernoulli or one-hot samples."""
        return why_not_one_hot(problem.distribution)

    def estimate(self, problem: Problem) -> Float[Tensor, "*lead"]:
        """Average f over exact draws; see `GradientEstimator.estimate`."""
        logits = refuse_second(one_hot_logits(problem.distribution), "StraightThrough")
        drawn = gumbel_max(logits, (problem.samples,))
        hot = one_hot_of(drawn, logits.expand(*drawn.shape, -1))
        temperature = temperature_now("StraightThrough", self.temperature)
        if self.order == 1:
            z = softmax_through(hot, logits, temperature)
        else:
            within = None
            if self.rao:
                within = relaxed_given(logits.detach(), drawn, temperature, self.rao)
            z = heun_through(hot, logits, temperature, within)
        return mean_through(problem, from_one_hot(problem.distribution, z), "StraightThrough")


def softmax_through(
    hot: Float[Tensor, "*s k"], logits: Float[Tensor, "*batch k"], temperature: float = 1.0
) -> Float[Tensor, "*s k"]:
    """Return the one-hot draws with the gradient of softmax(logits / temperature).

    Args:
        hot: The draws.
        logits: Normalized.
        temperature: Of the softmax.
    """
    soft = logits.exp() if temperature == 1 else softmax_at(logits, temperature)
    return hot + (soft - soft.detach())


def heun_through(
    hot: Float[Tensor, "s *batch k"],
    logits: Float[Tensor, "*batch k"],
    temperature: float = 1.0,
    within: Float[Tensor, "s *batch k"] | None = None,
) -> Float[Tensor, "s *batch k"]:
    r"""Return the one-hot draws with the gradient of ReinMax.

    Args:
        hot: D.
        logits: o, normalized.
        temperature: $\tau$.
        within: What stands for D in the Jacobian; D itself by default.
    """
    known = logits.detach()
    p = known.exp()
    soft = p if temperature == 1 else softmax_at(known, temperature)
    twice = soft + (hot if within is None else within.to(hot.dtype))
    if torch.compiler.is_compiling():  # it does not trace functions with a forward mode
        follow = logits.masked_fill(known == -torch.inf, 0.0)
        return hot + _turned(follow - follow.detach(), p, twice)
    return _Heun.apply(logits, hot, p, twice)  # type: ignore[no-untyped-call]


class _Heun(torch.autograd.Function):
    """The draws; the Jacobian, symmetric, serves both modes and costs nothing until it is used."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, hot: Tensor, p: Tensor, twice: Tensor) -> Tensor:
        return hot.view_as(hot)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[2:])
        ctx.save_for_forward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _turned(grad, *ctx.saved_tensors).sum(0), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return _turned(tangent, *ctx.saved_tensors)


know_signature(_Heun)


def _turned(v: Tensor, p: Tensor, twice: Tensor) -> Tensor:
    """$2 J(m) v - J(p) v / 2$ with m = twice / 2."""
    middle = (twice * v).sum(-1, keepdim=True)
    mean = (p * v).sum(-1, keepdim=True)
    return twice * (v - 0.5 * middle) - 0.5 * p * (v - mean)
