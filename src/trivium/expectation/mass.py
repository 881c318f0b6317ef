"""Probabilities of listed values, with derivatives where a probability is exactly 0 or 1."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, OneHotCategorical

from trivium._core.by_type import ByType


@ByType
def probabilities(distribution: Distribution, support: Tensor) -> Float[Tensor, "k *batch"]:
    """Return p(z) of each value of the support.

    Torch clamps probabilities before their logarithm is taken: it has no derivative at 0 and 1.
    Where they were given as such they are read as such.
    """
    return _by_logarithm(distribution, support)


@probabilities.register(Bernoulli)
def _(distribution: Bernoulli, support: Tensor) -> Tensor:
    if not _given_as_such(distribution):
        return _by_logarithm(distribution, support)
    return torch.where(support > 0.5, distribution.probs, 1 - distribution.probs)


@probabilities.register(Categorical)
def _(distribution: Categorical, support: Tensor) -> Tensor:
    if not _given_as_such(distribution):
        return _by_logarithm(distribution, support)
    p = distribution.probs.expand(*support.shape, -1)
    return p.gather(-1, support[..., None].long())[..., 0]


@probabilities.register(OneHotCategorical)
def _(distribution: OneHotCategorical, support: Tensor) -> Tensor:
    if not _given_as_such(distribution._categorical):
        return _by_logarithm(distribution, support)
    return (distribution.probs * support).sum(-1)


def _by_logarithm(distribution: Distribution, support: Tensor) -> Tensor:
    found: Tensor = distribution.log_prob(support).exp()
    return found


def _given_as_such(distribution: Any) -> bool:
    """Whether it was made of probabilities, and has torch's own logarithm of them."""
    own = type(distribution).log_prob in (Bernoulli.log_prob, Categorical.log_prob)
    return own and distribution._param is not distribution.logits
