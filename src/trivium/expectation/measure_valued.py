"""The gradient as the difference of two measures: f at draws from either, no log-probability."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Exponential,
    Gamma,
    Normal,
    OneHotCategorical,
    Poisson,
)

from trivium._core.by_type import ByType
from trivium._core.errors import ArgumentError
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.factors import factor_of, factors
from trivium.expectation.first_order import refuse_first, refuse_second
from trivium.expectation.problem import Problem
from trivium.expectation.replaced import values_replaced

__all__ = ["MeasurePair", "MeasureValued", "measure_pairs"]

_ONCE = "the difference of measures is that of the first derivative"
_RATE = (
    "MeasureValued must be asked for the gradient of the rate of a Gamma; "
    "got a concentration that requires one"
)


@dataclass(frozen=True)
class MeasurePair:
    r"""$\partial p / \partial \theta = c (p^+ - p^-)$ for one parameter, with a draw from each.

    Args:
        parameter: $\theta$ of each draw.
        factor: c.
        upper: Draws from $p^+$.
        lower: Draws from $p^-$, with the noise of `upper` as far as that helps.
    """

    parameter: Float[Tensor, "*batch"]
    factor: Float[Tensor, "*batch"]
    upper: Tensor
    lower: Tensor


@dataclass(frozen=True)
class MeasureValued(GradientEstimator):
    r"""$\nabla_\theta E[f] = c_\theta (E_{p^+}[f] - E_{p^-}[f])$, a parameter of a draw at a time.

    With $\mu$ the mean and R a Rayleigh variable,

    | p | parameter | c | $p^+$ | $p^-$ |
    |---|---|---|---|---|
    | Normal | mean | $1 / (\sigma \sqrt{2 \pi})$ | $\mu + \sigma R$ | $\mu - \sigma R$ |
    | Normal | deviation | $1 / \sigma$ | double-sided Maxwell | Normal |
    | Poisson | rate | 1 | Poisson + 1 | Poisson |
    | Exponential | rate | 1 / rate | Exponential | Erlang(2) |
    | Gamma | rate | shape / rate | Gamma(shape) | Gamma(shape + 1) |
    | Bernoulli, classes | probability k | 1 | k | the last class |

    Both draws share their noise, so that f may be anything, steps included, and the variance stays
    bounded where the deviation goes to 0. First derivatives only.

    Raises:
        ArgumentError: In use, a gradient asked of the shape of a Gamma, or a second derivative.

    Cost:
        `1 + 2 q r` evaluations of f that couples r draws with q parameters each; no graph of f at
        the pairs.

    Example:
        >>> import torch
        >>> from torch.distributions import Normal
        >>> from trivium.expectation import expect
        >>> mean = torch.zeros(10_000, requires_grad=True)
        >>> above = expect(lambda z: (z > 1).float(), Normal(mean, 1.0), MeasureValued())
        >>> above.sum().backward()
        >>> bool((mean.grad.mean() - 0.2420).abs() < 0.01)
        True

    Source:
        Pflug, Optimization of stochastic models (1996); Mohamed, Rosca, Figurnov and Mnih, Monte
        Carlo gradient estimation in machine learning (2020), section 6 and table 1.
    """

    orders = 1

    @classmethod
    def examples(cls) -> Sequence["MeasureValued"]:
        """Return an instance."""
        return (cls(),)

    def serves(self, problem: Problem) -> str:
        """Ask for a distribution in the table."""
        kind = type(factor_of(problem.distribution))
        if measure_pairs.dispatch(kind) is not measure_pairs.dispatch(object):
            return ""
        return (
            "its derivative is known as a difference of measures for Normal, Poisson, Exponential, "
            "Gamma, Bernoulli, Categorical and OneHotCategorical, and Independent of them"
        )

    def estimate(self, problem: Problem) -> Float[Tensor, "*lead"]:
        """Average f over draws and its differences over pairs; see `GradientEstimator.estimate`."""
        parts = factors(problem)
        z = problem.draw()
        values = problem.values(z)
        if not torch.is_grad_enabled():
            return values.mean(0)
        pairs = measure_pairs(parts.distribution, z)
        shape = (*parts.batch[: values.ndim - 1], parts.reduced(values.ndim - 1))
        with torch.no_grad():
            others = torch.stack([side for pair in pairs for side in (pair.upper, pair.lower)])
            found = values_replaced(problem, parts, z, others, values.ndim - 1)
            difference = found[:, 0::2] - found[:, 1::2]  # (draws, pairs, s, *lead)
        slopes = torch.stack([self._slope(pair).expand(parts.batch) for pair in pairs])
        slopes = slopes.reshape(len(pairs), 1, *shape).movedim(-1, 0)
        return (values + (slopes * difference).sum((0, 1))).mean(0)

    @staticmethod
    def _slope(pair: MeasurePair) -> Tensor:
        """Zero, with the derivative c."""
        theta = refuse_second(pair.parameter, "MeasureValued", _ONCE)
        return (theta - theta.detach()) * pair.factor.detach()


@ByType
def measure_pairs(distribution: Any, z: Tensor) -> list[MeasurePair]:
    """Return a pair for each parameter that may have a gradient, with as many draws as z.

    Raises:
        ArgumentError: The distribution is in no table.
    """
    raise ArgumentError(f"expect: MeasureValued cannot serve {type(distribution).__name__}")


@measure_pairs.register(Normal)
def _(distribution: Normal, z: Tensor) -> list[MeasurePair]:
    mean, std = distribution.loc, distribution.scale
    at, by = mean.detach(), std.detach()
    # Inside a transform of torch.func neither may seem to require a gradient: then both are had.
    of_mean, of_std = mean.requires_grad, std.requires_grad
    pairs = []
    if of_mean or not of_std:
        rayleigh = by * (2 * torch.empty_like(z).exponential_()).sqrt()
        pairs.append(
            MeasurePair(mean, 1 / (by * math.sqrt(2 * math.pi)), at + rayleigh, at - rayleigh)
        )
    if of_std or not of_mean:
        first, second, third = (torch.randn_like(z) for _ in range(3))
        maxwell = (first.square() + second.square() + third.square()).sqrt() * first.sign()
        # A uniform part of a Maxwell variable is normal.
        inside = maxwell * torch.rand_like(z)
        pairs.append(MeasurePair(std, 1 / by, at + by * maxwell, at + by * inside))
    return pairs


@measure_pairs.register(Poisson)
def _(distribution: Poisson, z: Tensor) -> list[MeasurePair]:
    rate = distribution.rate
    return [MeasurePair(rate, torch.ones_like(rate), z + 1, z)]


@measure_pairs.register(Exponential)
def _(distribution: Exponential, z: Tensor) -> list[MeasurePair]:
    rate = distribution.rate
    later = z + torch.empty_like(z).exponential_() / rate.detach()
    return [MeasurePair(rate, 1 / rate, z, later)]


@measure_pairs.register(Gamma)
def _(distribution: Gamma, z: Tensor) -> list[MeasurePair]:
    shape, rate = distribution.concentration, distribution.rate
    if shape.requires_grad:
        raise ArgumentError(f"expect: {_RATE}", remedy="Pathwise() and Score() differentiate both.")
    later = z + torch.empty_like(z).exponential_() / rate.detach()
    guarded = rate + 0 * refuse_first(shape, _RATE)  # a transform may hide that it asks
    return [MeasurePair(guarded, shape / rate, z, later)]


@measure_pairs.register(Bernoulli)
def _(distribution: Bernoulli, z: Tensor) -> list[MeasurePair]:
    p = distribution.probs
    return [MeasurePair(p, torch.ones_like(p), torch.ones_like(z), torch.zeros_like(z))]


@measure_pairs.register(Categorical)
@measure_pairs.register(OneHotCategorical)
def _(distribution: Any, z: Tensor) -> list[MeasurePair]:
    p = distribution.probs
    # Probabilities sum to 1: what one class gains, the last one loses.
    support = [value.expand_as(z) for value in distribution.enumerate_support(expand=True)]
    one = torch.ones_like(p[..., 0])
    free = max(1, len(support) - 1)  # a class alone has a probability that cannot change
    return [MeasurePair(p[..., k], one, support[k], support[-1]) for k in range(free)]
