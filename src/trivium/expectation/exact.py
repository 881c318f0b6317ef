"""The expectation itself, by listing the support."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.factors import factors
from trivium.expectation.mass import probabilities
from trivium.expectation.problem import Problem
from trivium.expectation.support_size import brief, support_size

__all__ = ["Exact", "combinations"]


@dataclass(frozen=True)
class Exact(GradientEstimator):
    r"""$\sum_z p(z) f(z)$ over the whole support: no noise, every derivative exact.

    Where f couples r independent draws of K values each, $K^r$ combinations are listed.

    Args:
        budget: Most combinations to list.

    Raises:
        ArgumentError: The budget is not a positive whole number.

    Cost:
        One call of f with the support as samples, and one more where f couples draws.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli
        >>> from trivium.expectation import expect
        >>> logits = torch.zeros(2, requires_grad=True)
        >>> loss = expect(lambda z: (z.sum(-1) - 1) ** 2, Bernoulli(logits=logits), Exact())
        >>> loss.item()
        0.5
    """

    budget: int = 4096

    def __post_init__(self) -> None:
        check_number("Exact", "budget", self.budget, "positive", integer=True)

    @classmethod
    def examples(cls) -> Sequence["Exact"]:
        """Return a small instance."""
        return (cls(),)

    def serves(self, problem: Problem) -> str:
        """Ask for a finite support."""
        if support_size(problem.distribution):
            return ""
        size = getattr(problem.distribution, "support_size", 0)
        return f"its support cannot be listed{f', it has {brief(size)} values' if size else ''}"

    def estimate(self, problem: Problem) -> Float[Tensor, "*lead"]:
        """Sum over the support; see `GradientEstimator.estimate`."""
        parts, size = factors(problem), support_size(problem.distribution)
        # Draws inside an event are coupled whatever f does: no call of f to find out.
        self._check_budget(problem, size, parts.reduced(len(problem.batch)))
        support = parts.distribution.enumerate_support(expand=True)
        values = problem.values(support, size)
        n_lead = values.ndim - 1
        self._check_budget(problem, size, parts.reduced(n_lead))
        if parts.reduced(n_lead) > 1:
            support = combined(support, parts, n_lead)
            values = problem.values(support, len(support))
        # Where p is 0 its derivative is not: products, not logarithms.
        each = probabilities(parts.distribution, support)
        if len(parts.batch) > n_lead:
            each = reduce(mul, each.flatten(1 + n_lead).unbind(-1), torch.ones_like(values))
        return (each * values).sum(0)

    def _check_budget(self, problem: Problem, size: int, draws: int) -> None:
        count = combinations(size, draws)
        if count > self.budget:
            found = f"f couples {draws} draws of {size} values, {count:.3g} in all"
            if draws == 1:
                found = f"a draw of {type(problem.distribution).__name__} has {size} values"
            raise ArgumentError(
                f"expect: Exact must list at most budget={self.budget} combinations; {found}",
                remedy="Reduce fewer axes inside f, raise the budget, or use a sampling estimator.",
            )


def combinations(size: int, draws: int) -> float:
    """Return how many combinations so many draws have, as a float: infinity where it is none."""
    digits = draws * math.log(max(size, 1))
    return math.inf if digits > 700 else float(size**draws)


def combined(
    support: Shaped[Tensor, "k *rest"], problem: Problem, n_lead: int
) -> Shaped[Tensor, "j *rest"]:
    """List all combinations of the draws behind the first `n_lead` axes."""
    size, draws = len(support), problem.reduced(n_lead)
    lead, event = problem.batch[:n_lead], support.shape[1 + len(problem.batch) :]
    each = [torch.arange(size, device=support.device)] * draws
    places = torch.cartesian_prod(*each).reshape(-1, draws)
    flat = support.reshape(size, *lead, draws, *event).movedim(1 + n_lead, 1)
    picked = flat[places, torch.arange(draws, device=support.device)]
    return picked.movedim(1, 1 + n_lead).reshape(len(places), *support.shape[1:])
