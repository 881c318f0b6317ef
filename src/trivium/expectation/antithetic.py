"""Pairs of draws that lean opposite ways."""

from dataclasses import dataclass
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

__all__ = ["OpposedPair", "antithetic_score", "cannot_oppose", "opposed"]


@dataclass(frozen=True)
class OpposedPair:
    """Draws of both members, the second half opposed to the first.

    Args:
        z: Draws, `(2 pairs, *batch, *event)`.
        logs: Logarithm of what each draw weighs, up to a constant.
    """

    z: Tensor
    logs: Float[Tensor, "s *batch"]


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
        baseline: b; it cancels from the first derivative of Bernoulli pairs.

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
    parts = factors(problem)
    pair = opposed(parts.distribution, problem.samples // 2)
    values = problem.values(pair.z)
    logs = parts.summed(pair.logs, values.ndim - 1)
    base = baseline_of(baseline, Draws(problem, pair.z, values.detach(), paired=True))
    return surrogate(values, logs, base)


def cannot_oppose(distribution: Distribution) -> str:
    """Return why there are no opposed pairs, or an empty string."""
    if opposed.dispatch(type(factor_of(distribution))) is not opposed.dispatch(object):
        return ""
    return (
        "coupling='antithetic' is for Bernoulli and what is symmetric about a location (Normal, "
        "Laplace, Cauchy, StudentT, MultivariateNormal); use coupling='distinct' or 'independent'"
    )


@ByType
def opposed(distribution: Any, pairs: int) -> OpposedPair:
    """Draw opposed pairs.

    Raises:
        ArgumentError: The distribution has none.
    """
    raise ArgumentError(f"expect: {cannot_oppose(distribution)}")


@opposed.register(Bernoulli)
def _(distribution: Bernoulli, pairs: int) -> OpposedPair:
    p = distribution.probs.detach()
    # In float64: a float32 uniform and its complement are not equally fine near 0.
    u = torch.rand((pairs, *p.shape), dtype=torch.float64, device=p.device)
    first, second = (u < p).to(p), (1 - u < p).to(p)
    # (p_theta - p) / min(p, 1 - p), from the logarithm of the rarer outcome: exact for any logit.
    logits = distribution.logits
    one_is_rarer = logits.detach() < 0
    rarer = logsigmoid(torch.where(one_is_rarer, logits, -logits))
    sign = torch.where(one_is_rarer, first - second, second - first)
    change = sign * torch.expm1(rarer - rarer.detach())
    return OpposedPair(torch.cat([first, second]), torch.log1p(torch.cat([change, -change])))


@opposed.register(Normal)
@opposed.register(Laplace)
@opposed.register(Cauchy)
@opposed.register(StudentT)
@opposed.register(MultivariateNormal)
@opposed.register(LowRankMultivariateNormal)
def _(distribution: Any, pairs: int) -> OpposedPair:
    with torch.no_grad():
        first = distribution.sample(Size((pairs,)))
        z = torch.cat([first, 2 * distribution.loc - first])
    return OpposedPair(z, distribution.log_prob(z))
