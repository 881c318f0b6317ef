"""Rows of a state that a beam search goes on with."""

from typing import Any

import torch
from torch import Tensor

from trivium._core.errors import ArgumentError


def picked_rows(caller: str, index: Any, count: Tensor) -> Tensor:
    """Return which rows of a state are asked for; booleans and bytes would be a mask to torch.

    Raises:
        ArgumentError: Not whole numbers, or out of range.
    """
    b = len(count)
    message = f"{caller}: index must be whole numbers from 0 to {b - 1}, one axis; got {index!r}"
    try:
        rows = torch.as_tensor(index, device=count.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(message) from error
    whole = not (rows.dtype == torch.bool or rows.is_floating_point() or rows.is_complex())
    if rows.ndim != 1 or not whole or bool(((rows < 0) | (rows >= b)).any()):
        raise ArgumentError(message)
    return rows.long()
