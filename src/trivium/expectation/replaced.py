"""f with one of its coupled draws replaced, for every draw in turn."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium.expectation.problem import Problem

__all__ = ["values_replaced"]

_NUMBERS = 1 << 22  # of samples handed to f in one call: 16 MB in float32


def values_replaced(
    problem: Problem,
    parts: Problem,
    z: Shaped[Tensor, "s *rest"],
    others: Shaped[Tensor, "k s *rest"],
    n_lead: int,
) -> Float[Tensor, "draws k s *lead"]:
    """Evaluate f at z with draw i taken from `others`, the rest as they are, for every i.

    Args:
        problem: The expectation, whose f is called with as many samples at a time as fit.
        parts: The same with nothing but independent draws in its batch; see `factors`.
        z: Samples.
        others: Samples to take the place from.
        n_lead: Axes of a value: draws behind them are coupled.

    Cost: s · k · draws evaluations of f.
    """
    draws = parts.reduced(n_lead)
    event = z.shape[1 + len(parts.batch) :]
    shape = (len(others), *z.shape[:1], *parts.batch[:n_lead], draws, *event)
    flat_others, flat = others.reshape(shape), z.reshape(shape[1:])[None]
    place = 2 + n_lead  # the axis of coupled draws
    at_once = max(1, _NUMBERS // max(1, others.numel()))
    found = []
    for start in range(0, draws, at_once):
        which = torch.arange(start, min(draws, start + at_once), device=z.device)
        here = torch.arange(draws, device=z.device) == which[:, None]
        here = here.reshape(len(which), *[1] * place, draws, *[1] * len(event))
        count = len(which) * len(others) * len(z)
        replaced = torch.where(here, flat_others, flat).reshape(count, *z.shape[1:])
        values = problem.values(replaced, count)
        found.append(values.reshape(len(which), *others.shape[:2], *values.shape[1:]))
    return torch.cat(found)
