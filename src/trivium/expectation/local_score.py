"""The score gradient of one draw at a time, over all its alternatives."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, OneHotCategorical

from trivium.expectation.factors import factor_of, factors
from trivium.expectation.mass import probabilities
from trivium.expectation.problem import Problem
from trivium.expectation.replaced import values_replaced

__all__ = ["cannot_be_local", "local_score", "telescoped"]


def local_score(problem: Problem) -> Float[Tensor, "*lead"]:
    r"""Local expectation gradient: each coupled draw is summed over all K values, given the others.

    $$f(z) + \sum_i \Bigl( \prod_{j < i} w_j \Bigr) \sum_k (p_\theta(z_i = k) - p(z_i = k))
    f(z_{i \to k}), \quad w_j = p_\theta(z_j) / p(z_j)$$

    The first derivative is the exact one of every draw given the others,
    $\sum_k \nabla p_i(k) f(z_{i \to k})$. The weights let the sum telescope from p to $p_\theta$,
    so that derivatives of every order are right.

    Cost: $s (1 + K r)$ evaluations of f that couples r draws, in calls of 4 million numbers; where
    f has parameters its graph is kept for all of them.

    Source:
        Titsias and Lázaro-Gredilla, Local expectation gradients for black box variational
        inference (2015). The weights are ours.
    """
    parts = factors(problem)
    z = problem.draw()
    values = problem.values(z)
    n_lead = values.ndim - 1
    support = parts.distribution.enumerate_support(expand=True)
    others = support[:, None].expand(len(support), *z.shape)
    found = values_replaced(problem, parts, z, others, n_lead)

    draws = parts.reduced(n_lead)
    lead = parts.batch[:n_lead]
    probs = probabilities(parts.distribution, support).reshape(len(support), 1, *lead, draws)
    logs = parts.distribution.log_prob(z).reshape(len(z), *lead, draws).movedim(-1, 0)
    return telescoped(values, found, probs.movedim(-1, 0), logs)


def telescoped(
    values: Float[Tensor, "s *lead"],
    found: Float[Tensor, "draws k s *lead"],
    probs: Float[Tensor, "draws k #s *lead"],
    logs: Float[Tensor, "draws s *lead"],
) -> Float[Tensor, "*lead"]:
    """Return the mean over samples of the sum that `local_score` states.

    Args:
        values: f of each sample.
        found: f with draw i replaced by value k.
        probs: Probability that draw i has value k.
        logs: Log-probability of each draw as it is.
    """
    each = ((probs - probs.detach()) * found).sum(1)
    steps = logs - logs.detach()
    weights = torch.cat([torch.zeros_like(steps[:1]), steps[:-1]]).cumsum(0).exp()
    return (values + (weights * each).sum(0)).mean(0)


def cannot_be_local(distribution: Any) -> str:
    """Return why alternatives cannot be listed, or an empty string."""
    if isinstance(factor_of(distribution), (Bernoulli, Categorical, OneHotCategorical)):
        return ""
    return "local=True is for Bernoulli, Categorical and OneHotCategorical"
