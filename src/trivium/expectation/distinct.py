"""Draws without replacement: no evaluation of f is spent twice on one class."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Categorical, OneHotCategorical

from trivium._core.errors import ArgumentError
from trivium.expectation.factors import factor_of, factors
from trivium.expectation.gumbel import gumbel_keys
from trivium.expectation.problem import Problem
from trivium.expectation.relaxed import one_hot_of
from trivium.expectation.set_probability import LARGEST_SET, set_probabilities

__all__ = ["cannot_be_distinct", "distinct_score"]


def distinct_score(problem: Problem) -> Float[Tensor, "*lead"]:
    r"""Sum over a set S of distinct classes, each by what it weighs in the mean over sets.

    $$\sum_{s \in S} R_s \bigl( p_\theta(s) f(s) - (p_\theta(s) - p(s)) b_s \bigr), \quad
    R_s = \frac{p^{D \setminus s}(S \setminus s)}{p(S)}, \quad
    b_s = \sum_{t \in S} p(t) \frac{p^{D \setminus \{s, t\}}(S \setminus \{s, t\})}{p^{D \setminus
    s}(S \setminus s)} f(t)$$

    The mean of $R_s [s \in S]$ is 1, and that of $R_s [s \in S] b_s$ is E[f] for every s: the value
    and derivatives of every order are right. With as many samples as classes there is one set and
    the sum is exact.

    Args:
        problem: The expectation; f may not couple draws.

    Raises:
        ArgumentError: f couples draws, or more samples than a set probability can be had for.

    Source:
        Kool, van Hoof and Welling, Estimating gradients for discrete random variables by sampling
        without replacement (2020): the unordered set estimator with its built-in baseline.
    """
    parts = factors(problem)
    classes_of: Any = parts.distribution
    logits, probs = classes_of.logits, classes_of.probs
    classes = probs.shape[-1]
    count = min(problem.samples, classes)
    if LARGEST_SET < count < classes:
        raise ArgumentError(
            f"expect: samples must be at most {LARGEST_SET} or all {classes} classes with "
            f"coupling='distinct'; got {problem.samples}",
            remedy="The probability of a set costs 2^samples; coupling='independent' has no limit.",
        )
    with torch.no_grad():
        places = gumbel_keys(logits).topk(count, dim=-1).indices
    z = places.movedim(-1, 0)
    if isinstance(parts.distribution, OneHotCategorical):
        z = one_hot_of(z, probs.detach().expand(count, *probs.shape))
    values = problem.values(z, count)
    if parts.reduced(values.ndim - 1) > 1:
        raise ArgumentError(
            f"expect: f must keep every draw apart with coupling='distinct'; it couples "
            f"{parts.reduced(values.ndim - 1)} draws",
            remedy="Use coupling='independent', or local=True for one draw at a time.",
        )
    chances = probs.gather(-1, places).reshape(*values.shape[1:], count)
    outside = probs.detach().scatter(-1, places, 0.0).sum(-1).reshape(values.shape[1:])
    return _weighed(chances, outside, values.movedim(0, -1))


def _weighed(
    chances: Float[Tensor, "*lead k"], outside: Float[Tensor, "*lead"], f: Float[Tensor, "*lead k"]
) -> Float[Tensor, "*lead"]:
    p = chances.detach()
    of = set_probabilities(p, outside)
    ratio = (of.without / of.whole[..., None]).to(p)
    second = (of.without_two / of.without[..., None]).to(p)
    base = (second * (p * f.detach())[..., None, :]).sum(-1)
    return (ratio * (chances * f - (chances - p) * base)).sum(-1)


def cannot_be_distinct(distribution: Any) -> str:
    """Return why draws cannot be made without replacement, or an empty string."""
    if isinstance(factor_of(distribution), (Categorical, OneHotCategorical)):
        return ""
    return (
        "coupling='distinct' is for Categorical and OneHotCategorical; use coupling='antithetic' "
        "for Bernoulli"
    )
