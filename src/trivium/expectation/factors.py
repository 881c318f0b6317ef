"""A distribution as the independent draws it is made of."""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent

from trivium.expectation.problem import Problem

__all__ = ["factor_of", "factors", "summed_behind"]


def factor_of(distribution: Distribution) -> Distribution:
    """Return the distribution below any `Independent`."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution


def factors(problem: Problem) -> Problem:
    """Return the same expectation with the axes of `Independent` as batch axes.

    Samples are the same tensors; whatever f reduces is then coupled draws and nothing else.
    """
    return replace(problem, distribution=factor_of(problem.distribution))


def summed_behind(
    found: Float[Tensor, "s *batch"], problem: Problem, n_lead: int
) -> Float[Tensor, "s *lead"]:
    """Sum over the batch axes behind the first `n_lead`."""
    behind = len(problem.batch) - n_lead
    return found.sum(tuple(range(-behind, 0))) if behind else found
