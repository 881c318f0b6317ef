"""Pairs of draws that lean opposite ways."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.distributions import (
    Bernoulli,
    Cauchy,
    Distribution,
    Laplace,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    StudentT,
)
from torch.nn.functional import logsigmoid

from trivium._core.by_type import ByType
from trivium._core.errors import ArgumentError
from trivium.expectation.baseline import Baseline, Draws, baseline_of
from trivium.expectation.factors import factor_of, factors
from trivium.expectation.problem import Problem
from trivium.expectation.surrogate import surrogate

__all__ = ["antithetic_score", "cannot_oppose"]


def antithetic_score(problem: Problem, baseline: Baseline) -> Float[Tensor, "*lead"]:
    r"""Score function over opposed pairs.

    Bernoulli: $z = [u < p], \tilde z = [1 - u < p]$ with the weights

    $$w = 1 + (z - \tilde z) \frac{p_\theta - p}{\min(p, 1 - p)}, \quad
    \tilde w = 1 - (z - \tilde z) \frac{p_\theta - p}{\min(p, 1 - p)},$$

    multiplied over coupled draws. Given z, the mean of w is $p_\theta(z) / p(z)$, so derivatives of
    every order are right; the first is DisARM, $\frac12 (f(z) - f(\tilde z)) (z - \tilde z)
    \max(p, 1 - p)$ in the logit. Symmetric about a location: $\tilde z = 2 \mu - z$ with the
    ordinary weights. A baseline leaves out both members of the pair.

    Args:
        problem: The expectation.
        baseline: b; it cancels from the first derivative of Bernoulli pairs, and from all where f
            keeps the draws apart: a named one is then not computed.

    Raises:
        ArgumentError: An odd number of samples.

    Source:
        Dong, Mnih and Tucker, DisARM (2020); Yin et al., Probabilistic best subset selection via
        gradient-based optimization (2020), for U2G. The weights of higher orders are ours.
    """
    if problem.samples % 2:
        raise ArgumentError(
            f"expect: samples must be even with coupling='antithetic'; got {problem.samples}"
        )
    return paired_score(factor_of(problem.distribution), problem, baseline)


def cannot_oppose(distribution: Distribution) -> str:
    """Return why there are no opposed pairs, or an empty string."""
    if paired_score.dispatch(type(factor_of(distribution))) is not paired_score.dispatch(object):
        return ""
    return (
        "coupling='antithetic' is for Bernoulli and what is symmetric about a location (Normal, "
        "Laplace, Cauchy, StudentT, MultivariateNormal); use coupling='distinct' or 'independent'"
    )


@ByType
def paired_score(distribution: Any, problem: Problem, baseline: Baseline) -> Tensor:
    """Average the surrogate over opposed pairs.

    Raises:
        ArgumentError: The distribution has none.
    """
    raise ArgumentError(f"expect: {cannot_oppose(distribution)}")


@paired_score.register(Bernoulli)
def _(distribution: Bernoulli, problem: Problem, baseline: Baseline) -> Tensor:
    p = distribution.probs.detach().double()
    # In float64: a float32 uniform and its complement are not equally fine near 0.
    u = torch.rand((problem.samples // 2, *p.shape), dtype=torch.float64, device=p.device)
    z = torch.cat([u < p, u > 1 - p]).to(distribution.probs.dtype)
    values = problem.values(z)
    first, second = z.chunk(2)
    # (p_theta - p) / min(p, 1 - p), from the logarithm of the rarer outcome: exact for any logit.
    logits = distribution.logits
    one_is_rarer = logits.detach() < 0
    rarer = logsigmoid(torch.where(one_is_rarer, logits, -logits))
    rarer = rarer - rarer.detach()
    if values.shape == z.shape and isinstance(baseline, str):
        # The weights of a pair add up to 2: no baseline is left of it, in any derivative.
        upper, lower = values.chunk(2)
        slope = ((upper - lower) * (first - second)).mean(0) / 2
        return values.mean(0) + slope * torch.where(one_is_rarer, 1.0, -1.0) * torch.expm1(rarer)
    # log(1 + s c) is `rarer` for s = 1 and another function of it for s = -1, both 0 in value.
    other = torch.log1p(-torch.expm1(rarer))
    lean = torch.where(one_is_rarer, first - second, second - first)
    parts = factors(problem)
    odd = parts.summed(lean * ((rarer - other) / 2), values.ndim - 1)
    even = parts.summed(lean.square() * ((rarer + other) / 2), values.ndim - 1)
    base = baseline_of(baseline, Draws(problem, z, values.detach(), paired=True))
    return surrogate(values, torch.cat([even + odd, even - odd]), base)


@paired_score.register(Normal)
@paired_score.register(Laplace)
@paired_score.register(Cauchy)
@paired_score.register(StudentT)
@paired_score.register(MultivariateNormal)
@paired_score.register(LowRankMultivariateNormal)
def _(distribution: Any, problem: Problem, baseline: Baseline) -> Tensor:
    with torch.no_grad():
        first = distribution.sample(Size((problem.samples // 2,)))
        z = torch.cat([first, 2 * distribution.loc - first])
    values = problem.values(z)
    logs = factors(problem).summed(distribution.log_prob(z), values.ndim - 1)
    base = baseline_of(baseline, Draws(problem, z, values.detach(), paired=True))
    return surrogate(values, logs, base)
