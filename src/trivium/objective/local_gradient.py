"""The counterfactual gradient: each item judged by its alternatives, all others as drawn."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium.expectation.local_score import telescoped

__all__ = ["local_expectation"]

_NUMBERS = 2**22


def local_expectation(
    p: Float[Tensor, "n c"],
    drawn: Int[Tensor, "s n"],
    values: Callable[[Tensor], Tensor],
    swaps: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    r"""Return the mean of M over draws, whose backward is the counterfactual gradient.

    $$\nabla E[M] = E_z \Big[ \sum_{ij} M(z_{-i}, j) \nabla p_{ij} \Big]$$

    For independent items this is exact given the others, so only their noise is left; it needs no
    baseline, since $\sum_j \nabla p_{ij} = 0$. As `Score(local=True)`, derivatives of every order
    are unbiased, but all alternatives come from one table of counts.

    Args:
        p: Probabilities of the classes of each item, with their graph.
        drawn: Independent draws from p.
        values: M of draws `(k, n)`.
        swaps: M of draws with item i changed to class j, `(k, n, c)`.

    Cost: one call of `values` and `swaps` for each block of draws; s n c numbers are kept.

    Source: Titsias and Lázaro-Gredilla, Local expectation gradients (2015).
    """
    with torch.no_grad():
        blocks = drawn.split(max(1, _NUMBERS // p.numel()))
        found = torch.cat([swaps(block) for block in blocks])
        level = torch.cat([values(block) for block in blocks])
    chances = p.expand(len(drawn), *p.shape).gather(2, drawn[..., None])[..., 0]
    return telescoped(level, found.permute(1, 2, 0), p[..., None], chances.log().mT)
