"""How many values one draw may take, known without listing them."""

import math
from typing import Any

from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Distribution,
    Independent,
    OneHotCategorical,
)

from trivium._core.by_type import ByType

__all__ = ["brief", "support_size"]


def brief(size: int) -> str:
    """Write a size in three digits, also one beyond what a float can be."""
    if size < 10**300:
        return f"{float(size):.3g}"
    exponent = math.floor(math.log10(size))
    return f"{size // 10 ** (exponent - 2) / 100:.3g}e+{exponent}"


@ByType
def support_size(distribution: Distribution) -> int:
    """Return the number of values of one draw of the batch, 0 where they cannot be listed.

    Of an `Independent` that of what it is made of: see `factors`.
    """
    if not getattr(distribution, "has_enumerate_support", False):
        return 0
    try:
        return len(distribution.enumerate_support(expand=False))
    except NotImplementedError:
        return 0


@support_size.register(Bernoulli)
def _(distribution: Bernoulli) -> int:
    return 2


@support_size.register(Categorical)
@support_size.register(OneHotCategorical)
def _(distribution: Any) -> int:
    return int(distribution.param_shape[-1])


@support_size.register(Binomial)
def _(distribution: Binomial) -> int:
    total = distribution.total_count
    if not isinstance(total, Tensor):
        return int(total) + 1
    if not total.numel():
        return 1
    most = int(total.max())
    return most + 1 if most == int(total.min()) else 0  # one support for all rows, or none


@support_size.register(Independent)
def _(distribution: Independent) -> int:
    return support_size(distribution.base_dist)
