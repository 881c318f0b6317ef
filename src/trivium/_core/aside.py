"""Where something is built before it takes its name: hidden, and locked while its owner lives.

The names of a target's asides follow from its own name and the machine's. A process that is killed
leaves its aside behind without the lock; who next writes the same target there removes it. What is
locked, is somebody else's or was made on another machine (whose locks may not be seen here) stays,
and so does everything where the file system has no locks.
"""

import hashlib
import os
import platform
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from trivium._core.file_lock import try_lock

__all__ = ["file_aside", "folder_aside", "remove_leftovers"]

_PREFIX = ".trivium-"
_AT_ONCE = 8  # writers of one target with names that are known; more have names of chance
_LOCKED = hasattr(os, "geteuid")  # elsewhere folders cannot be opened, nor open files renamed


@contextmanager
def file_aside(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Yield the path and the open file to write a target into; where the block fails it is removed.

    Raises:
        OSError: No file can be made beside the target.
    """
    aside, file = _make_file(target)
    with file:
        try:
            yield aside, file
        except BaseException:
            if not _LOCKED:
                file.close()
            if not _LOCKED or _is_at(file.fileno(), aside):
                with suppress(OSError):
                    aside.unlink(missing_ok=True)
            raise


@contextmanager
def folder_aside(target: Path) -> Iterator[Path]:
    """Yield the folder to build a target in; where the block fails it is removed.

    Raises:
        OSError: No folder can be made beside the target.
    """
    aside, handle = _make_folder(target)
    try:
        yield aside
    except BaseException:
        # Its name may be another writer's by now.
        if handle is None or _is_at(handle, aside):
            shutil.rmtree(aside, ignore_errors=True)
        raise
    finally:
        if handle is not None:
            os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed run left half-written in a folder that nobody else is writing to."""
    for leftover in folder.glob(f"{_PREFIX}*.tmp"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(OSError):
                leftover.unlink()


def _names(target: Path) -> Iterator[Path]:
    """Yield where it may be built, and first remove what the dead left there."""
    if _LOCKED:
        about = f"{platform.node()}\0{target.name}".encode("utf-8", "surrogateescape")
        key = hashlib.sha256(about).hexdigest()[:16]
        known = [target.parent / f"{_PREFIX}{key}-{number}.tmp" for number in range(_AT_ONCE)]
        for path in known:
            if os.path.lexists(path):
                _remove_dead(path)
        yield from known
    while True:
        yield target.parent / f"{_PREFIX}{secrets.token_hex(8)}.tmp"


def _make_file(target: Path) -> tuple[Path, BinaryIO]:
    for path in _names(target):
        try:
            file = open(path, "xb")  # noqa: SIM115 - the caller closes it
        except FileExistsError:
            continue
        if _hold(file.fileno(), path):
            return path, file
        file.close()
    raise AssertionError("unreachable")


def _make_folder(target: Path) -> tuple[Path, int | None]:
    for path in _names(target):
        try:
            path.mkdir()
        except FileExistsError:
            continue
        if not _LOCKED:
            return path, None
        with suppress(FileNotFoundError):  # taken for a dead one's before it was locked
            handle = os.open(path, os.O_RDONLY)
            if _hold(handle, path):
                return path, handle
            os.close(handle)
    raise AssertionError("unreachable")


def _hold(handle: int, path: Path) -> bool:
    """Lock what was just made; false where it was taken for a dead one's before that."""
    return _locked(handle) is not False and _is_at(handle, path)


def _remove_dead(path: Path) -> None:
    """Remove what nobody holds and this user made."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(path, flags)
    except OSError:
        return
    try:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid() or not _locked(handle) or not _is_at(handle, path):
            return
        # Only who holds the lock may rename or remove it: it is what it was.
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        elif stat.S_ISREG(found.st_mode):
            with suppress(OSError):
                path.unlink()
    finally:
        os.close(handle)


def _locked(handle: int) -> bool | None:
    try:
        return try_lock(handle)
    except OSError:
        return None


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except OSError:
        return False
