"""Rows in the form that the user gave: one tensor, a tuple of a model's arguments, named ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from trivium._core.errors import ArgumentError, ModelError, ShapeError
from trivium.pathkernel.packed import as_call

__all__ = ["call_with", "count_rows", "join_rows", "named_rows", "rows_from_names", "take_rows"]


def call_with(function: Callable[..., Any], x: Any) -> Any:
    """Return what a model or function gives for a tensor, a tuple of arguments or named ones."""
    if isinstance(x, dict):
        return function(**x)
    return function(*x) if isinstance(x, tuple) else function(x)


def count_rows(caller: str, x: Any) -> int:
    """Return the number of rows of what a model is called with.

    Raises:
        ArgumentError: No tensor in it, or no rows.
        ShapeError: Tensors that disagree on their first axis.
    """
    _, leaves, n_rows = as_call(caller, x)
    tensors = [leaf for leaf in pytree.tree_leaves(x) if isinstance(leaf, Tensor)]
    if len(leaves) != len(tensors):
        raise ShapeError(
            f"{caller}: all tensors of x must have the same rows; "
            f"got shapes {[tuple(leaf.shape) for leaf in tensors]}"
        )
    return n_rows


def take_rows(x: Any, places: Tensor | slice) -> Any:
    """Return some of the rows."""
    return pytree.tree_map_only(
        Tensor,
        lambda leaf: leaf[places if isinstance(places, slice) else places.to(leaf.device)],
        x,
    )


def join_rows(caller: str, x: Any, y: Any) -> Any:
    """Return the rows of x and then those of y.

    Raises:
        ShapeError: Other arguments, axes or dtypes in y.
    """
    left, spec = pytree.tree_flatten(x)
    right, other = pytree.tree_flatten(y)
    same = spec == other and all(
        not isinstance(a, Tensor)
        or (isinstance(b, Tensor) and a.shape[1:] == b.shape[1:] and a.dtype == b.dtype)
        for a, b in zip(left, right, strict=spec == other)
    )
    if not same:
        raise ShapeError(
            f"{caller}: new rows must look like the old ones, {_described(left)}; "
            f"got {_described(right)}"
        )
    joined = [
        torch.cat([a, b.to(a.device)]) if isinstance(a, Tensor) else a
        for a, b in zip(left, right, strict=True)
    ]
    return pytree.tree_unflatten(joined, spec)


def named_rows(caller: str, x: Any) -> dict[str, Tensor]:
    """Return the tensors of x by a name that says where they belong.

    Raises:
        ArgumentError: Something else than a tensor, a tuple of tensors or a dict of them.
    """
    if isinstance(x, Tensor):
        return {"rows": x}
    entries = x.items() if isinstance(x, dict) else enumerate(x)
    kind = "key" if isinstance(x, dict) else "argument"
    found = {f"rows.{kind}.{name}": value for name, value in entries}
    if not all(isinstance(value, Tensor) for value in found.values()):
        raise ArgumentError(
            f"{caller}: rows must be a tensor, a tuple or a dict of tensors to be saved; "
            f"got {sorted({type(value).__name__ for value in found.values()})}"
        )
    return found


def rows_from_names(caller: str, tensors: dict[str, Tensor]) -> Any:
    """Put back what `named_rows` took apart.

    Raises:
        ModelError: None of the names is that of rows.
    """
    if "rows" in tensors:
        return tensors["rows"]
    keys = {n.removeprefix("rows.key."): v for n, v in tensors.items() if n.startswith("rows.key.")}
    if keys:
        return keys
    numbered = [n for n in tensors if n.startswith("rows.argument.")]
    if not numbered:
        raise ModelError(f"{caller}: the file must hold rows; got {sorted(tensors)}")
    return tuple(tensors[f"rows.argument.{i}"] for i in range(len(numbered)))


def _described(leaves: list[Any]) -> str:
    return ", ".join(
        f"(rows, {', '.join(map(str, leaf.shape[1:]))}) of {leaf.dtype}"
        if isinstance(leaf, Tensor)
        else type(leaf).__name__
        for leaf in leaves
    )
