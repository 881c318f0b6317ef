"""A distribution as the independent draws it is made of."""

from torch.distributions import Distribution, Independent

from trivium.expectation.problem import Problem

__all__ = ["factor_of", "factors"]


def factor_of(distribution: Distribution) -> Distribution:
    """Return the distribution below any `Independent`."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution


def factors(problem: Problem) -> Problem:
    """Return the same expectation with the axes of `Independent` as batch axes.

    Samples are the same tensors; whatever f reduces is then coupled draws and nothing else.
    """
    return Problem(problem.f, factor_of(problem.distribution), problem.samples)
