"""Several lengthscales in one test: the largest studentised statistic, ranked over the same group.

A member of the group gives all statistics together, so the maximum over them has a null
of its own at no further cost: exact, without a second level of resampling.
"""

import warnings
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.kernel import Kernel
from trivium.kernel.stationary import Stationary

__all__ = ["FACTORS", "Grid", "aggregate_null", "check_aggregate", "kernel_grid", "penalties"]

FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0)
_STEP = 0.3  # standard deviations that one step away from the median must gain to count
Grid = tuple[Kernel, ...]


def check_aggregate(value: Any) -> bool | str:
    """Return `True`, `False` or `"uniform"`.

    Raises:
        ArgumentError: It is none of them.
    """
    if value is True or value is False or value == "uniform":
        return value
    raise ArgumentError(
        f"independence_test: aggregate must be True, False or 'uniform'; got {value!r}"
    )


def kernel_grid(kernel: Kernel, *, adaptive: bool) -> Grid:
    """Return the kernel at five lengthscales around its own, or alone when it has none to choose.

    Args:
        kernel: Kernel, resolved.
        adaptive: Whether its lengthscale came from the data.

    Example:
        >>> from trivium.kernel import Delta, Gaussian
        >>> [kernel.lengthscale for kernel in kernel_grid(Gaussian(8.0), adaptive=True)]
        [1.0, 2.0, 4.0, 8.0, 16.0]
        >>> kernel_grid(Delta(), adaptive=True)
        (Delta(),)
    """
    if not adaptive or not isinstance(kernel, Stationary) or kernel.lengthscale == "median":
        return (kernel,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(replace(kernel, lengthscale=kernel.lengthscale * f) for f in FACTORS)


def penalties(n_x: int, n_y: int, *, uniform: bool = False) -> Float[Tensor, "a b"]:
    """Return what each pair of a grid loses for its distance from the medians, in deviations."""
    steps = [
        torch.tensor([0.0]) if n == 1 else (torch.arange(n) - FACTORS.index(1.0)).abs().float()
        for n in (n_x, n_y)
    ]
    return (steps[0][:, None] + steps[1]) * (0.0 if uniform else _STEP)


def aggregate_null(
    values: Float[Tensor, "... g t"], penalty: Float[Tensor, " g"]
) -> Float[Tensor, "... t"]:
    r"""Return $\max_g \{(T_g - \bar T_g) / \hat\sigma_g - c_g\}$ for every member of the group.

    Mean and deviation are over the whole group, the rows as given among it, so no member is
    treated apart and the rank of the first stays exact.

    Args:
        values: Statistics g of members t.
        penalty: c; equal ones give every lengthscale the same chance.

    Returns:
        One score for each member; 0 throughout where no statistic varies.

    Source:
        Ours; the idea of one test over bandwidths is Albert et al., Adaptive test of independence
        based on HSIC measures, Annals of Statistics 50 (2022).
    """
    wide = values.double()
    middle, spread = wide.mean(-1, keepdim=True), wide.std(-1, keepdim=True, correction=0)
    moves = spread > 1e-7 * wide.abs().amax(-1, keepdim=True)
    scores = torch.where(moves, (wide - middle) / spread.clamp_min(1e-300), 0.0)
    scores = torch.where(moves, scores - penalty.to(scores)[:, None], -torch.inf)
    best = scores.amax(-2)
    return torch.where(best == -torch.inf, 0.0, best)
