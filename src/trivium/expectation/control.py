"""Control variates: what f does to a softened draw, or a module, taken off and put back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.func import functional_call, vjp

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, ShapeError
from trivium.expectation.baseline import Baseline, Draws, baseline_of
from trivium.expectation.factors import factors
from trivium.expectation.gumbel import check_logits, gumbel_given, gumbel_noise
from trivium.expectation.one_hot import from_one_hot, one_hot_logits, why_not_one_hot
from trivium.expectation.problem import Problem
from trivium.expectation.relaxed import Relaxed, one_hot_of, softmax_at
from trivium.expectation.schedule import temperature_now
from trivium.expectation.surrogate import surrogate

__all__ = ["Control", "Rebar", "cannot_be_controlled", "check_control", "controlled_score"]

Control = Relaxed | nn.Module


class Rebar(nn.Module):
    r"""Control variate $\eta f(\mathrm{softmax}(z / \tau))$ with $\eta$ and $\tau$ to be learned.

    Its parameters get the gradient of the variance of the gradient; step them with any optimizer.
    `Relaxed(temperature)` is the same with both held, $\eta = 1$.

    Args:
        temperature: $\tau$ at the start.
        scale: $\eta$ at the start.

    Raises:
        ArgumentError: A number breaks its rule.

    Example:
        >>> control = Rebar(0.5)
        >>> sorted(name for name, _ in control.named_parameters())
        ['log_temperature', 'scale']

    Source: Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein, REBAR (2017).
    """

    def __init__(self, temperature: float = 0.5, scale: float = 1.0) -> None:
        super().__init__()
        start = float(check_number("Rebar", "temperature", temperature, "positive"))
        self.log_temperature = nn.Parameter(torch.tensor(start).log())
        self.scale = nn.Parameter(torch.tensor(float(check_number("Rebar", "scale", scale))))

    def forward(self, f: Callable[[Tensor], Tensor], perturbed: Float[Tensor, "*n k"]) -> Tensor:
        """Return the scaled values of f at the softened draws."""
        soft = (perturbed / self.log_temperature.exp().to(perturbed)).softmax(-1)
        return self.scale.to(perturbed) * f(soft)


def controlled_score(problem: Problem, control: Control, baseline: Baseline) -> Tensor:
    r"""Score function of $f(b) - c(\tilde z)$, and the gradient of c through its argument.

    With perturbed logits z, their argmax b, and $\tilde z$ drawn anew given b,

    $$w (f(b) - c(\tilde z)) + (1 - w) a + c(z).$$

    z and $\tilde z$ are reparameterized. Over draws b from $p_\theta$, $c(\tilde z)$ has the mean
    of c(z) for every $\theta$: derivatives of every order are right. The value is the mean of f(b).

    Args:
        problem: The expectation.
        control: `Relaxed`: c is f at the softened draw (REBAR). `Rebar`: the same, learned. A
            module: c is what it makes of z (RELAX).
        baseline: a, of $f - c$.

    Raises:
        ArgumentError: c is no differentiable function of z.
        ShapeError: c has another shape than f.

    Cost: f three times, twice with a backward, with `Relaxed`; f seven times with `Rebar`; f once
    with a module, which is called six times.

    Source:
        Tucker et al., REBAR (2017); Grathwohl, Choi, Wu, Roeder and Duvenaud, Backpropagation
        through the void (2018).
    """
    parts = factors(problem)
    logits = one_hot_logits(parts.distribution)
    check_logits("expect", logits)
    noise = gumbel_noise((problem.samples, *logits.shape), logits).to(logits)
    drawn = (logits.detach() + noise).argmax(-1)
    z = from_one_hot(parts.distribution, one_hot_of(drawn, noise))
    values = problem.values(z)
    c = _ControlValues(problem, parts.distribution, control, values.shape)

    free = c.of(logits + noise)
    held = c.of(gumbel_given(logits, drawn).to(logits))
    logs = parts.summed(parts.distribution.log_prob(z), values.ndim - 1)
    left = values - held
    base = baseline_of(baseline, Draws(problem, z, left.detach()))
    found = surrogate(left, logs, base) + free.mean(0) + (held - free).detach().mean(0)
    if not c.learns:
        return found
    return found + _Spread(c, noise, drawn, values.detach()).at(logits.detach(), parts)


def check_control(caller: str, value: Any) -> Control | None:
    """Return `None`, a soft `Relaxed` or a module.

    Raises:
        ArgumentError: It is something else.
    """
    if value is None or isinstance(value, nn.Module):
        return value
    if isinstance(value, Relaxed) and not value.hard and not value.rao:
        return value
    raise ArgumentError(
        f"{caller}: control must be None, Relaxed(temperature) with hard=False and rao=0, Rebar() "
        f"or a module; got {value!r}"
    )


def cannot_be_controlled(distribution: Distribution) -> str:
    """Return why there is no softened draw, or an empty string."""
    return why_not_one_hot(distribution)


@dataclass(frozen=True)
class _ControlValues:
    """c, with its parameters held: they learn from the variance alone."""

    problem: Problem
    distribution: Distribution
    control: Control
    shape: torch.Size

    @property
    def learns(self) -> bool:
        """Whether there is anything to learn."""
        if isinstance(self.control, Relaxed) or not torch.is_grad_enabled():
            return False
        return any(parameter.requires_grad for parameter in self.control.parameters())

    def of(self, perturbed: Float[Tensor, "s *rest"], *, learning: bool = False) -> Tensor:
        """Evaluate c at perturbed logits."""
        if isinstance(self.control, Relaxed):
            temperature = temperature_now("Relaxed", self.control.temperature)
            return self._checked(self._f(softmax_at(perturbed, temperature)), perturbed)
        state: dict[str, Tensor] = {
            name: value if learning else value.detach()
            for name, value in self.control.named_parameters()
        }
        if isinstance(self.control, Rebar):
            found = functional_call(self.control, state, (self._f, perturbed))
        else:
            found = functional_call(self.control, state, (self._as_z(perturbed),))
            found = replace(self.problem, f=lambda _: found).values(perturbed)
        return self._checked(found, perturbed)

    def _f(self, soft: Tensor) -> Tensor:
        return self.problem.values(from_one_hot(self.distribution, soft))

    def _as_z(self, perturbed: Tensor) -> Tensor:
        """For a Bernoulli the difference of the two, its logit and logistic noise."""
        both = from_one_hot(self.distribution, perturbed)
        return both - perturbed[..., 0] if both.ndim < perturbed.ndim else both

    def _checked(self, found: Tensor, perturbed: Tensor) -> Tensor:
        if found.shape != self.shape:
            raise ShapeError(
                f"expect: control must return the shape of f, {tuple(self.shape)}; "
                f"got {tuple(found.shape)}"
            )
        if perturbed.requires_grad and not found.requires_grad:
            raise ArgumentError(
                "expect: control must be a differentiable function of the softened draw; "
                "got values without a gradient",
                remedy="With control=Relaxed or Rebar that is f itself; a module takes any f.",
            )
        return found


@dataclass(frozen=True)
class _Spread:
    """How long the gradient is in the logits: its mean square, less what c cannot change."""

    c: _ControlValues
    noise: Float[Tensor, "s *rest"]
    drawn: Int[Tensor, "s *batch"]
    values: Float[Tensor, "s *lead"]

    def at(self, logits: Float[Tensor, "*batch k"], parts: Problem) -> Float[Tensor, "*lead"]:
        """Return 0 for each value, with the gradient of the mean square in the parameters of c.

        What f itself uses is in both terms of the difference, and gets none.
        """
        n_lead = self.values.ndim - 1

        # Quoted: the compiler of torch 2.6 cannot make the annotation inside its graph.
        def totals(leaf: Tensor) -> "tuple[Tensor, Tensor]":
            chosen = leaf.log_softmax(-1).expand(*self.drawn.shape, -1)
            logs = parts.summed(chosen.gather(-1, self.drawn[..., None])[..., 0], n_lead)
            weights = (logs - logs.detach()).exp()
            free, given = leaf + self.noise, gumbel_given(leaf, self.drawn).to(leaf)

            def total(learning: bool) -> Tensor:
                held = self.c.of(given, learning=learning)
                return (weights * (self.values - held) + self.c.of(free, learning=learning)).sum()

            return total(True), total(False)

        pair, slope = vjp(totals, logits)  # type: ignore[misc]
        one, zero = torch.ones_like(pair[0]), torch.zeros_like(pair[0])
        learning, still = slope((one, zero))[0], slope((zero, one))[0]
        length = (learning.square() - still.square()) / len(self.values)
        return length.sum(tuple(range(n_lead, length.ndim)))
