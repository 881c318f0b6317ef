"""Moments in a file: safetensors, checked before use, written whole or not at all."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium._core.checks import check_choice
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ModelError
from trivium._core.tensor_file import as_written, read_tensors, write_tensors
from trivium.moment.labels import labels_from_json, labels_to_json
from trivium.moment.merge import Sums
from trivium.moment.state import State

__all__ = ["float_dtype", "plain_state", "read_state", "whole_state", "write_state"]

_FORMAT = "trivium.moments/1"
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_ABOUT = {
    "name": str,
    "n_features": int,
    "classwise": bool,
    "dtype": str | None,
    "accumulate": str,
    "fixed": bool,
    "single": bool,
    "labels": str,
    "more": dict,
}


def float_dtype(caller: str, name: str, value: torch.dtype | str) -> torch.dtype:
    """Return float32 or float64 from its name or itself.

    Raises:
        ArgumentError: It is something else.
    """
    return _DTYPES[check_choice(caller, name, _name(value), _DTYPES)]


def _name(dtype: torch.dtype | str) -> str:
    return str(dtype).removeprefix("torch.")


def plain_state(
    state: State, more: Mapping[str, Any] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a state apart into its sums, and what they are about as JSON can hold it."""
    about = {
        "name": state.name,
        "n_features": state.n_features,
        "classwise": state.classwise,
        "dtype": None if state.dtype is None else _name(state.dtype),
        "accumulate": _name(state.accumulate),
        "fixed": state.fixed,
        "single": state.single,
        "labels": labels_to_json(state.labels),
        "more": dict(more or {}),
    }
    return state.sums.clone().tensors(), about


def whole_state(
    caller: str, name: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> tuple[State, dict[str, Any]]:
    """Put together what `plain_state` took apart for the public class `name`, and `more`.

    Raises:
        ModelError: Damaged, or something else.
    """
    wrong = [key for key, rule in _ABOUT.items() if not isinstance(about.get(key), rule)]
    if wrong:
        raise ModelError(f"{caller}: {wrong[0]} is missing or damaged")
    if about["name"] != name:
        raise ModelError(f"{caller}: the file must hold {name}; got {about['name']!r}")
    labels = labels_from_json(caller, about["labels"])
    dtype = about["dtype"]
    try:
        accumulate = float_dtype(name, "accumulate", about["accumulate"])
        product = None if dtype is None else float_dtype(name, "dtype", dtype)
    except ArgumentError as error:
        raise ModelError(f"{caller}: {error}") from error
    d, classwise = about["n_features"], about["classwise"]
    sums = _checked(tensors, labels, d, classwise=classwise, dtype=accumulate)
    fixed, single = about["fixed"], about["single"]
    state = State(name, d, classwise, product, accumulate, labels, fixed, single, sums)
    return state, about["more"]


def write_state(
    path: str | os.PathLike[str], state: State, more: Mapping[str, Any] | None = None
) -> None:
    """Write sums and what they are about, with a SHA-256 over both.

    Raises:
        OutputError: It cannot be written; what was there before is intact.
    """
    write_tensors(f"{state.name}.save", path, _FORMAT, *plain_state(state, more))


def read_state(name: str, path: str | os.PathLike[str]) -> tuple[State, dict[str, Any]]:
    """Read what `write_state` wrote for the public class `name`, and `more`.

    Raises:
        ModelError: Missing, damaged, or something else.
    """
    caller = f"{name}.load"
    tensors, about = read_tensors(caller, path, _FORMAT)
    with as_written(caller, path, name):
        return whole_state(caller, name, tensors, about)


def _checked(
    tensors: Mapping[str, Tensor],
    labels: np.ndarray | None,
    d: int,
    *,
    classwise: bool,
    dtype: torch.dtype,
) -> Sums:
    """Return the sums in a file, their shapes and signs checked."""
    k = len(tensors.get("count", ())) if labels is None else len(labels)
    wanted = Sums.zeros(
        k, d, classwise=classwise, dtype=dtype, device=torch.device("cpu")
    ).tensors()
    for name, value in wanted.items():
        found = tensors.get(name)
        if found is None or found.shape != value.shape or found.dtype != value.dtype:
            got = None if found is None else (tuple(found.shape), str(found.dtype))
            raise ModelError(
                f"Moments.load: {name} must be {tuple(value.shape)} {value.dtype}; got {got}"
            )
        if not bool(torch.isfinite(found).all()) or (
            name in ("count", "weight") and bool((found < 0).any())
        ):
            raise ModelError(f"Moments.load: {name} must be finite and non-negative")
    if labels is None and k > 1:
        raise ModelError(f"Moments.load: {counted(k, 'group')} must have labels; got none")
    return Sums(**{name: tensors[name] for name in wanted})
