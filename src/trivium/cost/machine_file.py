"""The machine file: JSON, written whole or not at all, checked when it is read."""

import hashlib
import json
import os
from dataclasses import asdict
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trivium._core.atomic import atomic_write
from trivium._core.errors import ArgumentError, DataError
from trivium.cost.law import Law

if TYPE_CHECKING:
    from trivium.cost.machine import Machine

__all__ = ["default_path", "document", "load", "save"]

_FORMAT, _VERSION = "trivium machine", 1
_LARGEST = 2**20


def default_path() -> Path:
    """Return where the machine file is kept: in `XDG_DATA_HOME`, or in `~/.local/share`.

    Raises:
        ArgumentError: The environment names neither a folder for data nor a home.
    """
    named = os.environ.get("XDG_DATA_HOME", "")
    if named and Path(named).is_absolute():
        return Path(named, "trivium", "machine.json")
    home = os.environ.get("HOME", "")
    if not home or not Path(home).is_absolute():
        raise ArgumentError(
            "machine: HOME or XDG_DATA_HOME must be set to a folder; got neither",
            remedy="Name the file: --out FILE, --machine FILE, or the path in Python.",
        )
    return Path(home, ".local", "share", "trivium", "machine.json")


def document(machine: "Machine") -> dict[str, Any]:
    """Return what the file holds."""
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "dtype": machine.dtype,
        "threads": machine.threads,
        "calibrated": machine.calibrated,
        "cache": machine.cache,
        "fresh_above": machine.fresh_above,
        "laws": {kind: asdict(law) for kind, law in machine.laws.items()},
        "about": dict(machine.about),
    }


def save(machine: "Machine", path: str | PathLike[str]) -> None:
    """Write a machine file with a SHA-256 of what it holds.

    Raises:
        ResourceError: The disk is full; what was there before is intact.
        OutputError: The place cannot be written to; what was there before is intact.
    """
    atomic_write(path, _text(machine), "machine")


def load(path: str | PathLike[str] | None) -> "Machine":
    """Read a machine file and check all of it.

    Raises:
        DataError: It cannot be read, is damaged or newer than the program, or a number in it is
            negative or not finite.
        ArgumentError: No path is given and the environment has no home.
    """
    from trivium.cost.machine import Machine

    place = default_path() if path is None else Path(path)
    try:
        with open(place, "rb") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise _broken(place, f"it must have at most {_LARGEST:,} bytes")
        found = json.loads(text, parse_constant=_refuse)
    except OSError as error:
        raise _broken(place, f"it cannot be read; {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise _broken(place, f"it must be JSON; {error}") from error
    _check_head(found, place)
    try:
        laws = {str(kind): _law(law) for kind, law in found["laws"].items()}
        about = found.get("about", {})
        if not isinstance(about, dict) or not isinstance(found["calibrated"], bool):
            raise ArgumentError("about must be an object and calibrated a truth value")
        machine = Machine(
            laws,
            found["dtype"],
            found["threads"],
            _number("cache", found["cache"]),
            _number("fresh_above", found["fresh_above"]),
            found["calibrated"],
            about,
        )
    except KeyError as error:
        raise _broken(place, f"the field {error} is missing") from error
    except (ArgumentError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _broken(place, str(error)) from error
    if text != _text(machine).encode():
        raise _broken(place, "it is not as it was written")
    return machine


def _check_head(found: Any, place: Path) -> None:
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise _broken(place, "it must be a machine file")
    if found.get("version") != _VERSION:
        raise _broken(place, f"its version must be {_VERSION}; got {found.get('version')!r}")


def _text(machine: "Machine") -> str:
    """Return the one text that a machine has: any changed byte shows."""
    body = document(machine)
    checksum = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    return json.dumps(body | {"sha256": checksum}, indent=1, allow_nan=False) + "\n"


def _law(found: dict[str, Any]) -> Law:
    law = dict(found)
    for name in ("least", "most"):
        first, second = law[name]
        law[name] = (_number(name, first), _number(name, second))
    return Law(**law)


def _number(name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not isfinite(value) or value < 0:
        raise ArgumentError(f"{name} must be a finite number ≥ 0; got {value!r}")
    return float(value)


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _broken(place: Path, why: str) -> DataError:
    return DataError(
        f"machine: the file must be whole and of this program; {why}",
        where=str(place),
        remedy="Make it with trivium calibrate.",
        code="E-MACHINE",
    )
