"""The lock of a run's folder: held while a run writes, gone with its process."""

import os
import warnings
from pathlib import Path

from trivium._core.errors import BusyError, TriviumWarning
from trivium._core.file_lock import has_locks, try_lock

__all__ = ["check_unlocked", "take_lock"]


def check_unlocked(path: Path) -> None:
    """Refuse a lock file that a run holds just now.

    Raises:
        BusyError: One does.
    """
    if not has_locks():
        if path.exists():
            raise _busy(path)
        return
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:  # taking it will say why
        return
    try:
        if try_lock(handle) is False:
            raise _busy(path)
    finally:
        os.close(handle)


def take_lock(path: Path) -> int:
    """Hold the lock file, however many runs come and go at the same time; return its handle.

    Raises:
        BusyError: Another run holds it.
    """
    if not has_locks():  # a lock file made with O_EXCL serves instead
        try:
            return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        except FileExistsError as error:
            raise _busy(path) from error
    while True:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            _flock(handle, path)
            # A run that ended in between has removed the file that we hold: take the new one.
            if os.fstat(handle).st_ino == os.stat(path).st_ino:
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _flock(handle: int, path: Path) -> None:
    locked = try_lock(handle)
    if locked is False:
        raise _busy(path)
    if locked is None:
        warnings.warn(
            "RunFolder: this file system has no locks; do not start two runs into one folder",
            TriviumWarning,
            stacklevel=5,
        )


def _busy(path: Path) -> BusyError:
    return BusyError(
        "RunFolder: only one run may write into a folder; another one is at work",
        where=str(path),
        remedy=f"Wait for it, choose another --out, or, when no run is at work, delete {path}.",
    )
