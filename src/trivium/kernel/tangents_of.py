"""Per-row gradients of any quantity of a model's output, in one call."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.kernel.tangent_tape import TangentTape
from trivium.kernel.tangents import Tangents

__all__ = ["tangents_of"]


def tangents_of(model: nn.Module, inputs: Any, of: Callable[[Any], Tensor]) -> Tangents:
    r"""Return the gradients $\nabla_\theta\, q_i$ of one quantity a row, factored.

    Args:
        model: The model, in the mode (training, evaluation) that it is in.
        inputs: A tensor; a tuple of the model's arguments, or a dict of named ones, which may be
            nested. The leading axis of every tensor is the rows.
        of: From the model's output to the quantity of each row, `(n,)`.

    Returns:
        The gradients with respect to all trainable parameters.

    Raises:
        ArgumentError: Not a module, nothing to train, parameters or inputs of two dtypes, or a
            parameter whose gradient cannot be cut into rows.
        ShapeError: Tensors of different length, or a quantity that is not `(n,)`.
        DataError: No rows.

    Cost:
        One forward pass, and a backward pass without the weights' gradients; and both for the first
        row alone, to which its gradient is held.

    Example:
        >>> net, x = nn.Linear(2, 1), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> tangents_of(net, x, lambda out: out.squeeze(1)).dense()
        tensor([[1., 2., 1.],
                [3., 4., 1.]])
    """
    with torch.enable_grad(), TangentTape(model) as tape:
        n_rows = rows_of("tangents_of", model, inputs)
        value = of(called(model, inputs))
        if not isinstance(value, Tensor) or value.shape != (n_rows,):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"tangents_of: of must return one number a row, ({n_rows},); got {got}"
            )
        return tape.pull(value, check=True)


def called(model: nn.Module, inputs: Any) -> Any:
    """Return the model's output on a tensor, a tuple of arguments or a dict of named ones."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def rows_of(caller: str, model: nn.Module, inputs: Any, name: str = "inputs") -> int:
    """Return the number of rows.

    Raises:
        ArgumentError: No tensor, or floating numbers of another dtype or device than the model's.
        ShapeError: Tensors of different length.
        DataError: No rows.
    """
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    shapes = [tuple(leaf.shape) for leaf in leaves]
    if not leaves:
        raise ArgumentError(f"{caller}: {name} must hold a tensor; got {type(inputs).__name__}")
    if len({shape[:1] for shape in shapes}) > 1 or () in shapes:
        raise ShapeError(f"{caller}: {name} must have one leading axis, the rows; got {shapes}")
    if shapes[0][0] == 0:
        raise DataError(f"{caller}: {name} must have at least one row; got {shapes}")
    like = next(p for p in model.parameters() if p.requires_grad)
    for leaf in leaves:
        other = leaf.is_floating_point() and leaf.dtype != like.dtype
        if other or leaf.device != like.device:
            raise ArgumentError(
                f"{caller}: {name} must be {like.dtype} on {like.device}, as the model is; got "
                f"{leaf.dtype} on {leaf.device}"
            )
    return shapes[0][0]
