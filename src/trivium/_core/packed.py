"""Nested plain data as tensors and JSON, and back: what a file can hold without running code."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium._core.errors import ArgumentError, DataError

__all__ = ["pack", "unpack"]

_TENSOR, _ARRAY, _TUPLE, _FLOAT, _DICT = "$tensor", "$array", "$tuple", "$float", "$dict"


def pack(value: Any) -> tuple[dict[str, Tensor], Any]:
    """Take nested data apart into tensors by name and facts that JSON can hold.

    Args:
        value: Dicts with string keys, lists, tuples, strings, numbers, bools, `None`, numeric
            numpy arrays and tensors, nested in any way. numpy scalars become Python numbers.

    Raises:
        ArgumentError: Something else.

    Example:
        >>> tensors, facts = pack({"a": (1, 2.5), "b": torch.ones(2)})
        >>> facts
        {'a': {'$tuple': [1, 2.5]}, 'b': {'$tensor': '0'}}
        >>> unpack(tensors, facts)
        {'a': (1, 2.5), 'b': tensor([1., 1.])}
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _packed(value, tensors)


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # `repr` reads back to the same bits; JSON has no words for the rest.
        return value if np.isfinite(value) else {_FLOAT: repr(float(value))}
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return _packed(value.item(), tensors)
    if isinstance(value, Tensor | np.ndarray):
        return _kept(value, tensors)
    if isinstance(value, tuple | list):
        items = [_packed(item, tensors) for item in value]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        found = {key: _packed(item, tensors) for key, item in value.items()}
        return {_DICT: found} if any(key.startswith("$") for key in value) else found
    raise ArgumentError(
        "pack: value must be made of dicts with string keys, lists, tuples, strings, numbers, "
        f"bools, None, arrays and tensors; got {type(value).__name__}"
    )


def _kept(value: Any, tensors: dict[str, Tensor]) -> dict[str, str]:
    name = str(len(tensors))
    if isinstance(value, Tensor):
        tensors[name] = value.detach()
        return {_TENSOR: name}
    if value.dtype.kind not in "biuf":
        raise ArgumentError(f"pack: an array must hold numbers; got dtype {value.dtype}")
    tensors[name] = torch.from_numpy(np.array(value, order="C"))
    return {_ARRAY: name}


def unpack(tensors: Mapping[str, Tensor], facts: Any) -> Any:
    """Put together what `pack` took apart.

    Raises:
        DataError: The two do not belong together.
    """
    if isinstance(facts, list):
        return [unpack(tensors, item) for item in facts]
    if not isinstance(facts, dict):
        return facts
    if len(facts) == 1:
        ((key, held),) = facts.items()
        if key in _MARKS:
            return _MARKS[key](tensors, held)
    return {name: unpack(tensors, item) for name, item in facts.items()}


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise DataError(f"unpack: tensor {name!r} must be there; it is missing")
    return tensors[name]


_MARKS: dict[str, Callable[[Mapping[str, Tensor], Any], Any]] = {
    _TENSOR: _tensor,
    _ARRAY: lambda tensors, name: _tensor(tensors, name).numpy(),
    _TUPLE: lambda tensors, items: tuple(unpack(tensors, item) for item in items),
    _FLOAT: lambda _, text: float(text),
    _DICT: lambda tensors, items: {name: unpack(tensors, item) for name, item in items.items()},
}
