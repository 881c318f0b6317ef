"""How a loss was called: on which of the model's outputs, in which form, beside what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

__all__ = ["LossCall", "find_output"]

_MOST_AXES = 5


@dataclass(frozen=True)
class LossCall:
    """How the loss was called on the model's output.

    Attributes:
        leaf: Which leaf of the model's output it took.
        shape: In which shape.
        target_shape: The target's shape; its rows are kept as `(b, ...)`.
        arguments: Further positional arguments.
        named: Further named arguments.
        axes: The order of the leaf's axes before it was reshaped; empty where it is its own.
        dtype: What the leaf was converted to; `None` where it was not.
    """

    leaf: int
    shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    axes: tuple[int, ...] = ()
    dtype: torch.dtype | None = None

    def taken(self, output: Tensor) -> Tensor:
        """Return what the loss took of the model's output."""
        found = output.permute(self.axes) if self.axes else output
        found = found.reshape(self.shape)
        return found if self.dtype is None else found.to(self.dtype)


def find_output(
    leaves: Sequence[Tensor], taken: Tensor
) -> tuple[int, tuple[int, ...], torch.dtype | None] | None:
    """Return which leaf a loss took, in which order of axes and converted to what.

    Returns:
        `None` where it took none of them, at most reshaped, transposed or converted.
    """
    for number, leaf in enumerate(leaves):
        if leaf is taken:
            return number, (), None
    for number, leaf in enumerate(leaves):
        if leaf.numel() != taken.numel() or leaf.device != taken.device:
            continue
        dtype = None if leaf.dtype == taken.dtype else taken.dtype
        for axes in _orders(leaf.ndim):
            if _is_same(leaf, axes, taken):
                return number, axes, dtype
    return None


def _orders(n_axes: int) -> list[tuple[int, ...]]:
    own = tuple(range(n_axes))
    others = [one for one in permutations(own) if one != own] if n_axes <= _MOST_AXES else []
    return [(), *others]


def _is_same(leaf: Tensor, axes: tuple[int, ...], taken: Tensor) -> bool:
    with torch.no_grad():
        found = leaf.detach().permute(axes) if axes else leaf.detach()
        found = found.reshape(taken.shape)
        if found.data_ptr() == taken.data_ptr():
            return found.stride() == taken.stride() and found.dtype == taken.dtype
        if leaf.data_ptr() == taken.data_ptr():
            return False
        return torch.equal(found.to(taken.dtype), taken.detach())
