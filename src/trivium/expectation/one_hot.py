"""Discrete distributions as one-hot vectors: the form in which they can be relaxed."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    OneHotCategorical,
)
from torch.nn.functional import logsigmoid

from trivium.expectation.factors import factor_of

__all__ = ["from_one_hot", "one_hot_logits", "why_not_one_hot"]


def why_not_one_hot(distribution: Distribution) -> str:
    """Return why the samples cannot be relaxed, or an empty string when they can."""
    base = factor_of(distribution)
    if isinstance(base, (Bernoulli, OneHotCategorical)):
        return ""
    if isinstance(base, Categorical):
        return (
            "its samples are integers, with nothing between them; "
            "use OneHotCategorical(logits=...), or Score() or Exact()"
        )
    return "it relaxes Bernoulli and OneHotCategorical, and Independent of them"


def one_hot_logits(distribution: Distribution) -> Float[Tensor, "*batch k"]:
    """Return log-probabilities of the categories: k = 2 for a Bernoulli, (0, 1).

    From logits as they stand; from probabilities without torch's clamping, which would give a
    chance of 1e-7 to what has none.
    """
    base: Any = factor_of(distribution)
    given_probabilities = base._param is getattr(base, "_categorical", base).__dict__.get("probs")
    if isinstance(base, Bernoulli):
        if given_probabilities:
            return torch.stack([_log(1 - base.probs), _log(base.probs)], -1)
        return torch.stack([logsigmoid(-base.logits), logsigmoid(base.logits)], -1)
    return _log(base.probs) if given_probabilities else base.logits


def from_one_hot(
    distribution: Distribution, z: Float[Tensor, "*draws k"]
) -> Float[Tensor, "*sample"]:
    """Return samples in the form that the distribution has: a Bernoulli's is its second entry."""
    return z[..., 1] if isinstance(factor_of(distribution), Bernoulli) else z


def _log(p: Tensor) -> Tensor:
    """The logarithm, with a gradient of 0 instead of NaN where p is 0."""
    positive = p > 0
    return torch.where(positive, torch.where(positive, p, 1.0).log(), -torch.inf)
