"""How far the scatter can be trusted when it is inverted."""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.errors import TriviumWarning

__all__ = ["condition"]

_LIMIT = 1e8


def condition(caller: str, scatter: Float[Tensor, "d d"], *, single: bool) -> float:
    """Return the condition number of a scatter, and warn when float32 products cannot carry it.

    Args:
        caller: Public class, to put in front of the warning.
        scatter: Symmetric, positive semi-definite up to rounding.
        single: Whether products were made in float32.

    Cost:
        O(d³).
    """
    values = torch.linalg.eigvalsh(scatter.to(torch.float64))
    low, high = float(values[0]), float(values[-1])
    number = high / low if low > 0 else float("inf")
    if single and number > _LIMIT:
        warnings.warn(
            f"{caller}: the condition number of the scatter is {number:.3g}, above {_LIMIT:g}, and "
            "its products are float32; make the moments with dtype='float64', scale the columns, "
            "or add a ridge",
            TriviumWarning,
            stacklevel=3,
        )
    return number
