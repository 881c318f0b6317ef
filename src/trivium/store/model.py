"""A saved model is data: tensors in safetensors, everything else in JSON, both checksummed.

`manifest.json` carries the schema version, size, SHA-256, names, shapes and dtypes of the tensor
file, and a checksum of itself. All of it is verified before anything is used, and nothing in a
model can run. A card for people, `README.md`, may lie beside them: it is written and never read.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as tensor_bytes

from trivium._core.atomic import atomic_folder, check_free
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, ModelError, OutputError, ResourceError
from trivium._core.exact_json import digest, file_json, from_json
from trivium._core.peak import check_room
from trivium._core.place import check_place

__all__ = ["check_model", "load_model", "save_model"]

FORMAT = "trivium-model"
SCHEMA = 1
MANIFEST_FILE = "manifest.json"
TENSOR_FILE = "tensors.safetensors"
CARD_FILE = "README.md"
_KEYS = ("format", "schema", "tensors", "manifest", "checksum")
_TENSOR_KEYS = ("file", "bytes", "sha256", "entries")
_KINDS = "biuf"


def save_model(
    folder: str | os.PathLike[str],
    tensors: dict[str, np.ndarray],
    manifest: dict[str, Any],
    *,
    card: Callable[[str], str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a model folder, whole or not at all.

    Args:
        folder: The folder to make.
        tensors: Arrays of bools, integers or floats, by name.
        manifest: Everything else: dicts, lists, strings, numbers, bools, None.
        card: Returns the text of `README.md` from the SHA-256 of `manifest.json`. The manifest
            does not list the file, so a card that is edited, damaged or gone changes nothing.
        overwrite: Whether an existing model folder may be replaced, its card too.

    Raises:
        ArgumentError: A tensor or a manifest value of another type.
        OutputError: The path exists, is a link, holds other files than a model's (also with
            `overwrite`), or cannot be written to.
        ResourceError: The disk is full.

    Cost:
        Time and memory O(bytes of the tensors).

    Example:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as place:
        ...     save_model(place + "/model", {"weight": np.eye(2)}, {"classes": ["a", "b"]})
        ...     tensors, manifest = load_model(place + "/model")
        >>> manifest, tensors["weight"].shape
        ({'classes': ['a', 'b']}, (2, 2))
    """
    arrays = {name: _storable(name, array) for name, array in tensors.items()}
    check_room(2 * sum(array.nbytes for array in arrays.values()))  # the library's copy, and ours
    data = tensor_bytes(arrays)
    body: dict[str, Any] = {
        "format": FORMAT,
        "schema": SCHEMA,
        "tensors": {
            "file": TENSOR_FILE,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "entries": _entries(arrays),
        },
        "manifest": manifest,
    }
    text = _render({**body, "checksum": digest(body)})
    _check_replaceable(Path(folder))
    with atomic_folder(folder, overwrite=overwrite, caller="save_model") as aside:
        (aside / TENSOR_FILE).write_bytes(data)
        (aside / MANIFEST_FILE).write_bytes(text)
        if card is not None:
            (aside / CARD_FILE).write_bytes(card(hashlib.sha256(text).hexdigest()).encode())


def load_model(folder: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a model folder after verifying every byte of it.

    Returns:
        The tensors by name, and the manifest that was saved.

    Raises:
        ModelError: Missing, truncated, changed, a link, not a model, or from a newer trivium.

    Cost:
        Time and memory O(bytes of the tensors).
    """
    place = Path(folder)
    if not place.is_dir():
        raise ModelError(
            "load_model: a model must be a folder with manifest.json; "
            + ("got a file" if place.exists() else "nothing is there"),
            where=str(place),
            remedy="Give the model/ folder of a finished run.",
        )
    if not any(os.path.lexists(place / name) for name in (MANIFEST_FILE, TENSOR_FILE)):
        raise ModelError(
            f"load_model: a model must be a folder with {MANIFEST_FILE}; this one has none",
            where=str(place),
            remedy="Give a folder that trivium fit wrote, or that of a run, or its model/.",
        )
    found = _read_manifest(place / MANIFEST_FILE)
    described = found["tensors"]
    data = _read_regular(place / TENSOR_FILE)
    if len(data) != described["bytes"]:
        raise _damaged(
            place / TENSOR_FILE,
            f"it must have {counted(described['bytes'], 'byte')}; got {len(data)}",
        )
    if hashlib.sha256(data).hexdigest() != described["sha256"]:
        raise _damaged(place / TENSOR_FILE, "its SHA-256 is not the one in the manifest")
    check_room(len(data))
    try:
        tensors = read_tensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(place / TENSOR_FILE, f"it must be safetensors; {error}") from error
    if _entries(tensors) != described["entries"]:
        raise _damaged(place / TENSOR_FILE, "its tensors are not those that the manifest lists")
    return tensors, found["manifest"]


def check_model(folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Refuse what `save_model` would refuse of a place, before the model is there.

    Args:
        folder: As for `save_model`.
        overwrite: As for `save_model`.

    Raises:
        OutputError: The folder exists (without `overwrite`) or holds other files, or its place
            cannot be written to.
        ResourceError: The disk is full.
    """
    place = Path(folder)
    _check_replaceable(place)
    check_free(place, "save_model", overwrite=overwrite)
    check_place(place, "save_model")


def _check_replaceable(folder: Path) -> None:
    """Refuse a folder with files of others: a model is replaced as a whole."""
    if not folder.is_dir() or folder.is_symlink():
        return
    names = set(os.listdir(folder))
    # A README.md is a card only beside a manifest; alone it is somebody's.
    ours = {MANIFEST_FILE, TENSOR_FILE} | ({CARD_FILE} if MANIFEST_FILE in names else set())
    foreign = sorted(names - ours)
    if foreign:
        raise OutputError(
            f"save_model: only a model may be replaced; the folder also has {foreign[0]!r}",
            where=str(folder),
            remedy="Choose another path.",
            code="E-EXISTS",
        )


def _read_manifest(path: Path) -> dict[str, Any]:
    text = _read_regular(path)
    try:
        found = from_json(text)
    except DataError as error:
        raise _damaged(path, error.what) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _damaged(path, f"it must have format {FORMAT!r}")
    schema = found.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise ModelError(
            f"load_model: schema must be at most {SCHEMA}; got {schema}",
            where=str(path),
            remedy="This model is from a newer trivium: pip install -U trivium.",
        )
    _check_keys(path, found, _KEYS)
    body = {key: found[key] for key in _KEYS[:-1]}
    if schema != SCHEMA or digest(body) != found["checksum"] or _render(found) != text:
        raise _damaged(path, "its checksum is not that of its content")
    if not isinstance(found["tensors"], dict) or not isinstance(found["manifest"], dict):
        raise _damaged(path, "tensors and manifest must be objects")
    _check_keys(path, found["tensors"], _TENSOR_KEYS)
    return found


def _check_keys(path: Path, found: dict[str, Any], wanted: tuple[str, ...]) -> None:
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted]
    if missing or extra:
        raise _damaged(
            path, f"its keys must be {', '.join(wanted)}; missing {missing}, extra {extra}"
        )


def _read_regular(path: Path) -> bytes:
    """Read a regular file without following a link or waiting on a pipe."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if path.is_symlink():
            raise _damaged(path, "it must not be a link")
        handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _damaged(path, "it must be a regular file")
            return file.read()
    except ModelError:
        raise
    except OSError as error:
        raise _damaged(path, f"it cannot be read: {error.strerror}") from error
    except MemoryError as error:
        raise ResourceError(
            "load_model: the file must fit in memory; it has "
            f"{counted(path.stat().st_size, 'byte')}",
            where=str(path),
        ) from error


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    found = np.asarray(array)
    if found.dtype.kind not in _KINDS or found.dtype.itemsize > 8:
        raise ArgumentError(
            f"save_model: tensors must be bools, integers or floats; "
            f"got dtype {found.dtype} in {name!r}"
        )
    return np.array(found, dtype=found.dtype.newbyteorder("<"), order="C")


def _entries(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    return {
        name: {"shape": list(tensors[name].shape), "dtype": tensors[name].dtype.name}
        for name in sorted(tensors)
    }


def _render(found: dict[str, Any]) -> bytes:
    return (file_json(found) + "\n").encode()


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(
        f"load_model: {path.name} is damaged or was changed: {why}",
        where=str(path),
        remedy="Nothing in it was used. Save the model again, or fetch an intact copy.",
    )
