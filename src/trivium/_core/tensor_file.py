"""Tensors and a few words about them in one file: safetensors, checked before use."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trivium._core.errors import ModelError, OutputError

__all__ = ["checksum", "read_tensors", "write_tensors"]

_HEADER_BYTES = 8  # a safetensors file starts with the length of its JSON header


def checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return the SHA-256 of tensors, with their names, dtypes and shapes, and of a text."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"\0{name} {value.dtype} {tuple(value.shape)}\0".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def write_tensors(
    caller: str,
    path: str | os.PathLike[str],
    kind: str,
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
) -> None:
    """Write tensors and what they are about, whole or not at all.

    Args:
        caller: The public name that was called.
        path: The file.
        kind: Name and version of the format, such as `"trivium.moments/1"`.
        tensors: By name.
        about: What JSON can hold.

    Raises:
        OutputError: It cannot be written; what was there before is intact.
    """
    held = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    text = json.dumps(dict(about), sort_keys=True, allow_nan=False)
    data = save(held, {"format": kind, "about": text, "sha256": checksum(held, text)})
    target, temporary = Path(path), ""
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
        raise OutputError(f"{caller}: cannot write {target}: {error.strerror}") from error


def read_tensors(
    caller: str, path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote, after its checksum.

    Raises:
        ModelError: Missing, damaged, or of another kind.
    """
    source = Path(path)
    try:
        data = source.read_bytes()
        size = int.from_bytes(data[:_HEADER_BYTES], "little")
        metadata = json.loads(data[_HEADER_BYTES : _HEADER_BYTES + size])["__metadata__"]
        found, text, digest = metadata["format"], metadata["about"], metadata["sha256"]
        tensors = load(data)
        about = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, SafetensorError) as error:
        raise ModelError(
            f"{caller}: the file must hold {kind}; got {type(error).__name__}: {error}",
            where=str(source),
        ) from error
    if found != kind:
        raise ModelError(f"{caller}: the file must hold {kind}; got {found!r}", where=str(source))
    if checksum(tensors, text) != digest or not isinstance(about, dict):
        raise ModelError(
            f"{caller}: the file must be as it was written; its checksum does not fit",
            where=str(source),
        )
    return tensors, about
