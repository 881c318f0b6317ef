"""The gradient through a softened draw: Gumbel-Softmax, straight through, Gumbel-Rao."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.first_order import mean_through, refuse_second
from trivium.expectation.gumbel import check_logits, gumbel_given, gumbel_max, gumbel_noise
from trivium.expectation.one_hot import from_one_hot, one_hot_logits, why_not_one_hot
from trivium.expectation.problem import Problem
from trivium.expectation.schedule import Schedule, check_temperature, temperature_now

__all__ = ["Relaxed", "one_hot_of", "relaxed_given", "softmax_at"]


@dataclass(frozen=True)
class Relaxed(GradientEstimator):
    r"""Gumbel-Softmax: $\mathrm{softmax}((o + g) / \tau)$ in place of $\arg\max(o + g)$. Biased.

    f receives the softened draw: positive numbers that sum to 1 for `OneHotCategorical`, a number
    between 0 and 1 for `Bernoulli` (the binary Concrete). With $\tau \to 0$ it becomes the draw,
    the bias goes to 0 and the variance to infinity: for $f = (z - 0.45)^2$ and $p = 0.2$, where the
    gradient is 0.016, its mean is -0.023 at $\tau = 1$, 0.0066 at 0.1 and 0.0141 at 0.02 (`hard`:
    -0.050, 0.0029, 0.0133). A `Categorical` is refused: its samples are
    integers; use `OneHotCategorical`.

    Args:
        temperature: $\tau$: a number, a schedule (`Exponential(1.0, 0.01, steps)`), or a function
            of the step; the value now is used.
        hard: f receives the exact draw, and the gradient is that of the softened one
            (straight-through Gumbel-Softmax): the value is unbiased, the gradient is not.
        rao: k > 0: as `hard`, with the gradient averaged over k softened draws that share this
            exact draw (Gumbel-Rao): the same mean, less variance, f still evaluated once.

    Raises:
        ArgumentError: An argument breaks its rule; in use, a fully masked row, an f that cannot be
            differentiated, or a second derivative.

    Cost: one call of f, its backward; O(k s classes) for each row besides.

    Example:
        >>> import torch
        >>> from torch.distributions import OneHotCategorical
        >>> from trivium.expectation import expect
        >>> logits = torch.zeros(1000, 3, requires_grad=True)
        >>> first = lambda z: z[..., 0]
        >>> expect(first, OneHotCategorical(logits=logits), Relaxed(0.1), 50).sum().backward()
        >>> bool((logits.grad.mean(0) - torch.tensor([2.0, -1.0, -1.0]) / 9).abs().max() < 0.04)
        True

    Source:
        Jang, Gu and Poole, Categorical reparameterization with Gumbel-Softmax (2017); Maddison,
        Mnih and Teh, The Concrete distribution (2017); Paulus, Maddison and Krause,
        Rao-Blackwellizing the straight-through Gumbel-Softmax gradient estimator (2021).
    """

    temperature: float | Schedule = 1.0
    hard: bool = False
    rao: int = 0

    unbiased = False
    orders = 1
    differentiates = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", check_temperature("Relaxed", self.temperature))
        check_number("Relaxed", "rao", self.rao, "non-negative", integer=True)
        if not isinstance(self.hard, bool):
            raise ArgumentError(f"Relaxed: hard must be True or False; got {self.hard!r}")

    @classmethod
    def examples(cls) -> Sequence["Relaxed"]:
        """Return a soft, a hard and an averaged one."""
        return (cls(0.5), cls(0.5, hard=True), cls(0.5, rao=4))

    def serves(self, problem: Problem) -> str:
        """Ask for Bernoulli or one-hot samples."""
        return why_not_one_hot(problem.distribution)

    def estimate(self, problem: Problem) -> Float[Tensor, "*lead"]:
        """Average f over softened draws; see `GradientEstimator.estimate`."""
        logits = refuse_second(one_hot_logits(problem.distribution), "Relaxed")
        check_logits("expect", logits)
        z = self._draw(logits, problem.samples).to(logits.dtype)
        return mean_through(problem, from_one_hot(problem.distribution, z), "Relaxed")

    def _draw(self, logits: Tensor, samples: int) -> Tensor:
        temperature = temperature_now("Relaxed", self.temperature)
        if self.rao:
            drawn = gumbel_max(logits, (samples,))
            soft = relaxed_given(logits, drawn, temperature, self.rao)
        else:
            perturbed = logits + gumbel_noise((samples, *logits.shape), logits)
            soft = softmax_at(perturbed, temperature)
            if not self.hard:
                return soft
            drawn = perturbed.argmax(-1)
        return one_hot_of(drawn, soft) + (soft - soft.detach())


def relaxed_given(
    logits: Float[Tensor, "*batch k"], drawn: Int[Tensor, "*draws"], temperature: float, inner: int
) -> Float[Tensor, "*draws k"]:
    """Average `inner` softened draws that share an exact draw; the noise is held in the gradient.

    Args:
        logits: Of the categories.
        drawn: The exact draws.
        temperature: Of the softmax.
        inner: Number of softened draws for each.
    """
    with torch.no_grad():
        perturbed = gumbel_given(logits.detach(), drawn, (inner,))
    follow = logits.masked_fill(logits == -torch.inf, 0.0)
    return softmax_at(perturbed + (follow - follow.detach()), temperature).mean(0)


def softmax_at(logits: Float[Tensor, "*n k"], temperature: float) -> Float[Tensor, "*n k"]:
    """Return softmax(logits / temperature), at any temperature above 0."""
    least = torch.finfo(logits.dtype).tiny
    if temperature < 1e-3:  # the quotient might leave the range; its maximum is 0 then
        logits = logits - logits.detach().amax(-1, keepdim=True)
    return (logits / max(temperature, least)).softmax(-1)


def one_hot_of(drawn: Int[Tensor, "*n"], like: Float[Tensor, "*n k"]) -> Float[Tensor, "*n k"]:
    """Return ones at the indices, zeros elsewhere, in the shape of `like`."""
    return torch.zeros_like(like).scatter(-1, drawn[..., None], 1.0)
