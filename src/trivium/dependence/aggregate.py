"""Several lengthscales in one test: the largest studentized statistic, ranked over the same group.

A member of the group gives all statistics together, so the maximum over them has a null
of its own at no further cost: exact, without a second level of resampling.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.kernel import Kernel
from trivium.kernel.stationary import Stationary

__all__ = [
    "FACTORS",
    "Candidates",
    "Grid",
    "aggregate_null",
    "check_aggregate",
    "check_kernels",
    "kernel_grid",
    "penalties",
    "steps_from",
]

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


def check_kernels(name: str, kernel: Any) -> Grid | None:
    """Return several kernels as a grid, or `None` for anything that is not a list or tuple.

    Raises:
        ArgumentError: None is in it, something that is no kernel, or one twice.
    """
    if not isinstance(kernel, list | tuple):
        return None
    if (
        not kernel
        or not all(isinstance(each, Kernel) for each in kernel)
        or len(set(kernel)) < len(kernel)
    ):
        raise ArgumentError(
            f"independence_test: kernel_{name} must be 'auto', a kernel, or several without "
            f"repeats; got {kernel!r}"
        )
    return tuple(kernel)


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


@dataclass(frozen=True)
class Candidates:
    """The kernels of one variable that are tried together.

    Args:
        kernels: Resolved.
        middle: Place of the one whose sizes and tails are reported.
        favored: Whether those near the middle are favored.
    """

    kernels: Grid
    middle: int = 0
    favored: bool = False

    @classmethod
    def of(cls, kernel: Kernel, *, adaptive: bool, favored: bool = True) -> "Candidates":
        """Return a grid of lengthscales around a resolved kernel, or the kernel alone."""
        grid = kernel_grid(kernel, adaptive=adaptive)
        return cls(grid, FACTORS.index(1.0) if len(grid) > 1 else 0, favored)

    def __len__(self) -> int:
        return len(self.kernels)

    @property
    def steps(self) -> Float[Tensor, " g"]:
        """Return the steps of each kernel away from the middle, 0 without favor."""
        return steps_from(self.middle, len(self)) * self.favored


def steps_from(middle: int, count: int) -> Float[Tensor, " g"]:
    """Return how many steps each of a row of kernels is away from one of them."""
    return (torch.arange(count) - middle).abs().double()


def penalties(x: Float[Tensor, " a"], y: Float[Tensor, " b"]) -> Float[Tensor, "a b"]:
    """Return what each pair of kernels loses for its steps from the middle, in deviations."""
    return _STEP * (x[:, None] + y)


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
