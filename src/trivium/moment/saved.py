"""Moments in a file: safetensors, checked before use, written whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trivium._core.checks import check_choice
from trivium._core.errors import ArgumentError, ModelError, OutputError
from trivium.moment.labels import labels_from_json, labels_to_json
from trivium.moment.merge import Sums
from trivium.moment.state import State

__all__ = ["float_dtype", "read_state", "write_state"]

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
_HEADER_BYTES = 8  # a safetensors file starts with the length of its JSON header


def _digest(tensors: dict[str, Tensor], about: str) -> str:
    found = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def float_dtype(caller: str, name: str, value: torch.dtype | str) -> torch.dtype:
    """Return float32 or float64 from its name or itself.

    Raises:
        ArgumentError: It is something else.
    """
    return _DTYPES[check_choice(caller, name, _name(value), _DTYPES)]


def _name(dtype: torch.dtype | str) -> str:
    return str(dtype).removeprefix("torch.")


def write_state(
    path: str | os.PathLike[str], state: State, more: Mapping[str, Any] | None = None
) -> None:
    """Write sums and what they are about, with a SHA-256 over both.

    Raises:
        OutputError: It cannot be written; what was there before is intact.
    """
    tensors = state.sums.tensors()
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
    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(about, sort_keys=True)
    metadata = {"format": _FORMAT, "about": text, "sha256": _digest(held, text)}
    _replace(Path(path), save(held, metadata=metadata))


def _replace(target: Path, data: bytes) -> None:
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise OutputError(f"Moments.save: cannot write {target}: {error.strerror}") from error


def read_state(name: str, path: str | os.PathLike[str]) -> tuple[State, dict[str, Any]]:
    """Read what `write_state` wrote for the public class `name`, and `more`.

    Raises:
        ModelError: Missing, damaged, or something else.
    """
    tensors, about = _read(path)
    if about["name"] != name:
        raise ModelError(f"{name}.load: the file must hold {name}; got {about['name']!r}")
    labels = labels_from_json(about["labels"])
    dtype = about["dtype"]
    try:
        accumulate = float_dtype(name, "accumulate", about["accumulate"])
        product = None if dtype is None else float_dtype(name, "dtype", dtype)
    except ArgumentError as error:
        raise ModelError(f"{name}.load: {error}") from error
    d, classwise = about["n_features"], about["classwise"]
    sums = _checked(tensors, labels, d, classwise=classwise, dtype=accumulate)
    fixed, single = about["fixed"], about["single"]
    state = State(name, d, classwise, product, accumulate, labels, fixed, single, sums)
    return state, about["more"]


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    source = Path(path)
    try:
        data = source.read_bytes()
        size = int.from_bytes(data[:_HEADER_BYTES], "little")
        header = json.loads(data[_HEADER_BYTES : _HEADER_BYTES + size])
        metadata = header["__metadata__"]
        kind, text, digest = metadata["format"], metadata["about"], metadata["sha256"]
        tensors = load(data)
        about = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, SafetensorError) as error:
        raise ModelError(
            f"Moments.load: the file must hold moments; got {type(error).__name__}: {error}",
            where=str(source),
        ) from error
    if kind != _FORMAT or _digest(tensors, text) != digest:
        raise ModelError(
            f"Moments.load: the file must be an intact {_FORMAT}; got {kind!r} with a checksum "
            f"that {'fits' if kind != _FORMAT else 'does not fit'}",
            where=str(source),
        )
    wrong = [name for name, rule in _ABOUT.items() if not isinstance(about.get(name), rule)]
    if wrong:
        raise ModelError(f"Moments.load: {wrong[0]} is missing or damaged", where=str(source))
    return tensors, about


def _checked(
    tensors: dict[str, Tensor],
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
        raise ModelError(f"Moments.load: {k} groups must have labels; got none")
    return Sums(**{name: tensors[name] for name in wanted})
