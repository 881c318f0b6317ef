"""The log-prior of the classes, for a fit and for each row left out of it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium._core.errors import ArgumentError

__all__ = ["check_prior", "floor_log_odds", "log_prior_of"]

PRIORS = ("half", "empirical", "uniform")


def check_prior(caller: str, prior: Any, n_classes: int) -> str | Tensor:
    """Return the name of a rule, or the logarithm of given probabilities.

    Raises:
        ArgumentError: Neither a known name nor `n_classes` positive numbers that sum to one.
    """
    if isinstance(prior, str):
        if prior in PRIORS:
            return prior
        raise ArgumentError(
            f"{caller}: prior must be one of 'half', 'empirical', 'uniform' or an array; "
            f"got {prior!r}"
        )
    values = np.asarray(prior, dtype=np.float64)
    if values.shape != (n_classes,) or not (values > 0).all() or abs(values.sum() - 1) > 1e-6:
        raise ArgumentError(
            f"{caller}: prior must be {n_classes} positive probabilities that sum to one; "
            f"got {prior!r}"
        )
    return torch.from_numpy(np.log(values))


def log_prior_of(counts: Tensor, prior: str | Tensor) -> Tensor:
    """Log-prior from class counts (..., c), -inf for empty classes; constants are left out.

    `"half"` is `((n_k + 1) / (n + K))^½`: rare classes keep the square root of their rarity.
    """
    if isinstance(prior, Tensor):
        value = prior.expand(counts.shape)
    elif prior == "uniform":
        value = torch.zeros_like(counts)
    elif prior == "empirical":
        value = counts.clamp_min(torch.finfo(counts.dtype).tiny).log()
    else:
        value = 0.5 * torch.log1p(counts)
    return torch.where(counts > 0, value, -torch.inf)


def floor_log_odds(total: float, n_classes: int) -> float:
    """Log-odds of a class without rows: probability `1 / (n + K)`, that of an unseen label."""
    return -float(np.log(max(total + n_classes - 1, 1.0)))
