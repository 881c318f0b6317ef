"""Whether an attribution adds up, and what half precision allows."""

import torch
from torch import Tensor

from trivium._core.errors import NumericalError

__all__ = ["check_complete", "relative_miss", "tolerance"]

_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_FLOOR = 0.01  # of the absolute contributions: a change of nearly nothing has no relative error


def tolerance(dtype: torch.dtype) -> float:
    """Return the relative error of completeness that is allowed where this dtype was trained.

    Half precision rounds the outputs themselves, whose change is what must be met: 1e-2 in
    float16, 5e-2 in bfloat16, about ten units of their last place.
    """
    return _TOLERANCE[dtype]


def check_complete(
    caller: str, total: Tensor, wanted: Tensor, absolute: Tensor, dtype: torch.dtype, rule: str
) -> float:
    r"""Return $\|s - w\| / \max(\|w\|, 0.01\, \|a\|)$ over all queries.

    Args:
        caller: The public name that was called.
        total: s, what was added up, `(q,)`.
        wanted: w, what it must be.
        absolute: a, the sum of absolute contributions.
        dtype: In which the model was trained.
        rule: What must hold, for the message.

    Raises:
        NumericalError: More than the tolerance, or not a number.
    """
    found = relative_miss(total, wanted, absolute)
    allowed = tolerance(dtype)
    if not found <= allowed:
        raise NumericalError(
            f"{caller}: {rule} within {allowed:g} of it; they miss it by {found:.1e}",
            remedy="Usual causes: an optimizer registered with another step than it makes, a layer "
            "that mixes the rows of a batch other than batch normalization, or half precision.",
        )
    return found


def relative_miss(total: Tensor, wanted: Tensor, absolute: Tensor) -> float:
    """Return the same without a check, for what is known to be incomplete."""
    error = float((total - wanted).norm())
    scale = max(float(wanted.norm()), _FLOOR * float(absolute.norm()))
    return error / scale if scale else error
