"""How long the score of each sample is: the weight of a variance-optimal baseline."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Normal,
    OneHotCategorical,
)

from trivium._core.by_type import ByType
from trivium.expectation.problem import Problem

__all__ = ["score_length", "squared_score"]


def squared_score(problem: Problem, z: Any, n_lead: int) -> Float[Tensor, "s *lead"]:
    r"""Return $\lVert \nabla \log p(z) \rVert^2$ in the distribution's own parameters.

    Summed over the batch axes that f has reduced. Where no formula is known each sample has the
    same weight, which makes the optimal baseline the pooled mean.
    """
    with torch.no_grad():
        found = score_length(problem.distribution, z)
    return problem.summed(found, n_lead)


@ByType
def score_length(distribution: Distribution, z: Tensor) -> Float[Tensor, "s *batch"]:
    """Return the squared length of the score of each draw."""
    return torch.ones_like(distribution.log_prob(z))


@score_length.register(Bernoulli)
def _(distribution: Bernoulli, z: Tensor) -> Tensor:
    return (z - distribution.probs).square()


@score_length.register(Categorical)
def _(distribution: Categorical, z: Tensor) -> Tensor:
    p = distribution.probs
    chosen = p.expand(*z.shape, p.shape[-1]).gather(-1, z.long()[..., None])[..., 0]
    return 1 - 2 * chosen + p.square().sum(-1)


@score_length.register(OneHotCategorical)
def _(distribution: OneHotCategorical, z: Tensor) -> Tensor:
    return (z - distribution.probs).square().sum(-1)


@score_length.register(Normal)
def _(distribution: Normal, z: Tensor) -> Tensor:
    # In the mean and the logarithm of the deviation, in units of the deviation.
    away = ((z - distribution.mean) / distribution.stddev).square()
    return away + (away - 1).square()


@score_length.register(Independent)
def _(distribution: Independent, z: Tensor) -> Tensor:
    found = score_length(distribution.base_dist, z)
    behind = distribution.reinterpreted_batch_ndims
    return found.sum(tuple(range(-behind, 0))) if behind else found
