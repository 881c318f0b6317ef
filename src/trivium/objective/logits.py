"""What all doors that take logits ask of them."""

from typing import Any

import torch
from torch import Tensor

from trivium._core.checks import check_finite
from trivium._core.errors import ArgumentError

__all__ = ["check_logits"]


def check_logits(caller: str, logits: Any) -> Tensor:
    """Return logits that can be normalized; -inf alone excludes a class.

    Args:
        caller: The public name that was called.
        logits: What was passed: `(n,)` of the second of two classes, or `(n, c)`.

    Raises:
        ArgumentError: No tensor of floating numbers.
        DataError: NaN, +inf among classes, or a row of -inf alone.
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        kind = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise ArgumentError(f"{caller}: logits must be a floating tensor; got {kind}")
    if logits.ndim in (1, 2) and logits.numel() and _unusable(logits):
        check_finite(caller, "logits", logits)
    return logits


def _unusable(logits: Tensor) -> bool:
    try:
        rows = logits.detach().amax(1) if logits.ndim == 2 else logits.new_zeros(1)
        return bool(torch.isnan(logits).any() | ~torch.isfinite(rows).all())
    except RuntimeError:  # vmap lets nobody look at values; NaN stays NaN
        return False
