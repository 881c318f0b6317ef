"""A fitted bottleneck in a file: safetensors with a checksum, checked before use."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trivium._core.errors import ModelError, OutputError

__all__ = ["read_tensors", "write_tensors"]

_FORMAT = "trivium.hsic_bottleneck/1"
_HEADER_BYTES = 8  # a safetensors file starts with the length of its JSON header


def _digest(tensors: dict[str, Tensor], about: str) -> str:
    found = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].numpy().tobytes())
    return found.hexdigest()


def write_tensors(
    path: str | os.PathLike[str], tensors: dict[str, Tensor], about: dict[str, Any]
) -> None:
    """Write tensors and what they are about, whole or not at all.

    Raises:
        OutputError: It cannot be written; what was there before is intact.
    """
    held = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    text = json.dumps(about, sort_keys=True)
    data = save(held, {"format": _FORMAT, "about": text, "sha256": _digest(held, text)})
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
        raise OutputError(
            f"HSICBottleneck.save: cannot write {target}: {error.strerror}"
        ) from error


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        ModelError: Missing, damaged, or something else.
    """
    source = Path(path)
    try:
        data = source.read_bytes()
        size = int.from_bytes(data[:_HEADER_BYTES], "little")
        metadata = json.loads(data[_HEADER_BYTES : _HEADER_BYTES + size])["__metadata__"]
        kind, text, digest = metadata["format"], metadata["about"], metadata["sha256"]
        tensors = load(data)
        about = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, SafetensorError) as error:
        raise ModelError(
            f"HSICBottleneck.load: the file must hold a bottleneck; got {type(error).__name__}: "
            f"{error}",
            where=str(source),
        ) from error
    if kind != _FORMAT or _digest(tensors, text) != digest:
        raise ModelError(
            f"HSICBottleneck.load: the file must be an intact {_FORMAT}; got {kind!r} with a checksum "
            f"that {'fits' if _digest(tensors, text) == digest else 'does not fit'}",
            where=str(source),
        )
    return tensors, about
