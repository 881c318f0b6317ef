"""Derivatives against differences, as closely as float64 allows: what the laws share."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["check_gradient"]

# Central differences of a smooth function of order one: rounding 2⁻⁵³ / step and truncation
# step² / 6 are both near 2e-11: there is room for third derivatives of some hundred.
_STEP, _ABSOLUTE, _RELATIVE = 1e-5, 1e-8, 1e-6


def check_gradient(
    function: Callable[..., Any],
    inputs: Sequence[Tensor],
    *,
    second: bool = False,
    fast: bool = False,
) -> None:
    """Hold first derivatives of a function, and second ones where asked, to central differences.

    Closer by a thousand than torch's own defaults, which let a fault of 1e-3 pass.

    Args:
        function: Of tensors, to tensors.
        inputs: In float64, some with a gradient, of order one, away from kinks.
        second: Whether to look at the second derivatives too.
        fast: One random direction in place of each entry: for large inputs.

    Raises:
        AssertionError: A derivative is off by more than 1e-8 + 1e-6 of it, or there is none.

    Cost:
        Two evaluations for each input number, and a backward for each output number.

    Example:
        >>> x = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
        >>> check_gradient(torch.sin, (x,), second=True)
    """
    tolerances: dict[str, Any] = {"eps": _STEP, "atol": _ABSOLUTE, "rtol": _RELATIVE}
    try:
        torch.autograd.gradcheck(function, tuple(inputs), fast_mode=fast, **tolerances)
        if second:
            torch.autograd.gradgradcheck(function, tuple(inputs), fast_mode=fast, **tolerances)
    except RuntimeError as error:
        raise AssertionError(f"gradient differs from finite differences: {error}") from error
