"""The counterfactual gradient: each item judged by its alternatives, all others as drawn."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.errors import ArgumentError

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
    baseline, since $\sum_j \nabla p_{ij} = 0$. Unbiased for the first derivative; a second one is
    refused.

    Args:
        p: Probabilities of the classes of each item, with their graph.
        drawn: Independent draws from p.
        values: M of draws `(k, n)`.
        swaps: M of draws with item i changed to class j, `(k, n, c)`.

    Cost: one call of `values` and `swaps` for each block of draws.

    Source: Titsias and Lázaro-Gredilla, Local expectation gradients (2015).
    """
    with torch.no_grad():
        step = max(1, _NUMBERS // p.numel())
        blocks = drawn.split(step)
        slopes = sum(swaps(block).sum(0) for block in blocks) / len(drawn)
        value = torch.cat([values(block) for block in blocks]).mean()
    return _Local.apply(p, value, slopes)


class _Local(torch.autograd.Function):
    """A value with a given slope in p."""

    generate_vmap_rule = True

    @staticmethod
    def forward(p: Tensor, value: Tensor, slopes: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[2])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        p, slopes = ctx.saved_tensors
        return _Once.apply(slope * slopes, p), None, None


class _Once(torch.autograd.Function):
    """A slope that depends on p, and refuses to say how."""

    generate_vmap_rule = True

    @staticmethod
    def forward(slope: Tensor, p: Tensor) -> Tensor:
        return slope.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        return None

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor]:
        raise ArgumentError(
            "expected_metric: derivatives must be of the first order with the counterfactual "
            "estimator; got a second",
            remedy="Take estimator='exact' where it exists, or Score().",
        )
