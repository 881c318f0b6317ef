"""Tensors in a file: safetensors with a checksum, checked before use, whole or not at all."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trivium._core.atomic import atomic_open
from trivium._core.errors import ModelError, TriviumError
from trivium._core.peak import check_room

__all__ = ["as_written", "checksum", "read_tensors", "write_tensors"]

_METADATA = ("format", "about", "sha256")
_STUMBLES = (
    *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError),
    StopIteration,
)
_HEADER_BYTES = 8  # a safetensors file starts with the length of its JSON header


def checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return the SHA-256 of tensors, with their names, dtypes and shapes, and of a text."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"\0{name} {value.dtype} {tuple(value.shape)}\0".encode())
        flat = value.reshape(-1)
        if len(flat) < 2:  # counts as contiguous whatever its stride is
            flat = flat.clone(memory_format=torch.contiguous_format)
        found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def write_tensors(
    caller: str,
    path: str | os.PathLike[str],
    kind: str,
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
) -> None:
    """Write tensors and what they are about, with a SHA-256 over both.

    Args:
        caller: The public name that was called.
        path: The file to make or replace; its folder must exist.
        kind: What the file holds, and the version of its form: `trivium.moments/1`.
        tensors: By name, on any device.
        about: What JSON can hold.

    Raises:
        OutputError: It cannot be written; what was there before is intact.
        ResourceError: The disk is full; what was there before is intact.

    Example:
        >>> import pathlib, tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "m")
        ...     write_tensors("save", path, "numbers/1", {"a": torch.ones(2)}, {"n": 2})
        ...     read_tensors("load", path, "numbers/1")
        ({'a': tensor([1., 1.])}, {'n': 2})
    """
    held = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    text = json.dumps(dict(about), sort_keys=True, allow_nan=False)
    check_room(2 * sum(value.nbytes for value in held.values()))  # the library's copy, and ours
    data = save(held, {"format": kind, "about": text, "sha256": checksum(held, text)})
    with atomic_open(path, caller) as file:
        file.write(data)


@contextmanager
def as_written(caller: str, path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Refuse what fits its checksum and is yet not what is written there: a part gone or odd.

    Args:
        caller: The public name that was called.
        path: Where it was read.
        what: What is put together.

    Raises:
        ModelError: Putting it together stumbled.
    """
    try:
        yield
    except TriviumError:
        raise
    except _STUMBLES as error:
        said = f"{type(error).__name__}: {str(error).strip()[:200]}"
        reason = f"{error} is missing" if isinstance(error, KeyError) else said
        raise ModelError(
            f"{caller}: the file must hold all of {what}; {' '.join(reason.split())}",
            where=str(path),
            remedy="Nothing in it was used. Save it again, or fetch an intact copy.",
        ) from error


def read_tensors(
    caller: str, path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        ModelError: Missing, damaged, or of another kind; nothing of it was used.
    """
    source = Path(path)
    try:
        data = source.read_bytes()
        metadata = _metadata(data)
        found, text, digest = (metadata[key] for key in _METADATA)
        check_room(len(data))
        tensors = load(data)
        about = json.loads(text)
    except (
        *(OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError),
        SafetensorError,
    ) as error:
        raise ModelError(
            f"{caller}: the file must be an intact {kind}; got {type(error).__name__}: {error}",
            where=str(source),
        ) from error
    if found != kind:
        raise ModelError(f"{caller}: the file must hold {kind}; got {found!r}", where=str(source))
    if checksum(tensors, text) != digest or not isinstance(about, dict):
        raise ModelError(
            f"{caller}: the file must be an intact {kind}; its checksum does not fit",
            where=str(source),
            remedy="Nothing in it was used. Save it again, or fetch an intact copy.",
        )
    return tensors, about


def _metadata(data: bytes) -> dict[str, Any]:
    """Return what the header says beside the tensors; any other text of the same is refused."""
    size = int.from_bytes(data[:_HEADER_BYTES], "little")
    header = data[_HEADER_BYTES : _HEADER_BYTES + size]
    held = json.loads(header)
    plain = json.dumps(held, separators=(",", ":"), ensure_ascii=False).encode()
    padding = len(header) - len(plain)
    if not 0 <= padding < _HEADER_BYTES or header != plain + b" " * padding:
        raise ValueError("its header is not as it was written")
    metadata = held["__metadata__"]
    if sorted(metadata) != sorted(_METADATA):
        raise ValueError(f"its header must hold {', '.join(_METADATA)}")
    return dict(metadata)
