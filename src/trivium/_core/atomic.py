"""Whole or not at all: a file or a folder appears under its name only when it is complete.

Everything is built beside the target, forced to disk and renamed over it, so a full disk, a crash
or a kill at any moment leaves what was there before. What a killed process has built is removed by
who next writes the same target.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from trivium._core.aside import file_aside, folder_aside, remove_leftovers
from trivium._core.errors import OutputError, ResourceError

__all__ = [
    "atomic_folder",
    "atomic_open",
    "atomic_write",
    "check_free",
    "named_errors",
    "remove_leftovers",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


@contextmanager
def named_errors(caller: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `ResourceError` (disk full) or an `OutputError` that says where."""
    try:
        yield
    except (OutputError, ResourceError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise ResourceError(
                f"{caller}: could not write; {reason}",
                where=str(path),
                remedy="Free some space or choose another place; what was there before is intact.",
            ) from error
        raise OutputError(
            f"{caller}: could not write; {reason}",
            where=str(path),
            remedy="Choose a path that you may write to.",
        ) from error


def atomic_write(
    path: str | os.PathLike[str], data: bytes | str, caller: str = "atomic_write"
) -> None:
    """Write a file whole: temporary file in the same folder, fsync, rename, fsync of the folder.

    A link at `path` is replaced by the file; what it pointed to is not touched.

    Args:
        path: The file to make or replace; its folder must exist.
        data: Bytes, or text that is stored as UTF-8.
        caller: Public name to put in front of messages.

    Raises:
        ResourceError: The disk is full (exit code 5); the old file is intact.
        OutputError: The place cannot be written to; the old file is intact.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "report.json")
        ...     atomic_write(path, "{}")
        ...     path.read_text()
        '{}'
    """
    with atomic_open(path, caller) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def atomic_open(path: str | os.PathLike[str], caller: str = "atomic_write") -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when the block ends without an error.

    Args:
        path: The file to make or replace; its folder must exist.
        caller: Public name to put in front of messages.

    Raises:
        ResourceError: The disk is full.
        OutputError: The place cannot be written to.
    """
    target = Path(path)
    with named_errors(caller, target):
        with file_aside(target) as (aside, file):
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":  # where no open file can be renamed
                file.close()
            os.replace(aside, target)
        _settle(target.parent)


@contextmanager
def atomic_folder(
    path: str | os.PathLike[str], *, overwrite: bool = False, caller: str = "atomic_folder"
) -> Iterator[Path]:
    """Build a folder aside and give it its name when the block ends without an error.

    With `overwrite`, the old folder is renamed to `.NAME.trivium-old`, the new one takes the name,
    and the old one is removed. POSIX has no single step for this: a kill between the two renames
    leaves the old folder under that name, and the next call puts it back before it starts.

    Args:
        path: The folder to make.
        overwrite: Whether an existing folder may be replaced.
        caller: Public name to put in front of messages.

    Yields:
        The folder to write into.

    Raises:
        OutputError: `path` exists and `overwrite` is false, or is a link or a file.
        ResourceError: The disk is full.
    """
    target = Path(path)
    old = target.parent / f".{target.name}.trivium-old"
    with named_errors(caller, target):
        if old.is_dir() and not os.path.lexists(target):
            os.replace(old, target)
        check_free(target, caller, overwrite=overwrite)
        with folder_aside(target) as aside:
            yield aside
            _sync_tree(aside)
            if target.is_dir():
                shutil.rmtree(old, ignore_errors=True)
                os.replace(target, old)
            _take_name(aside, target, old)
        _settle(target.parent)
        shutil.rmtree(old, ignore_errors=True)


def check_free(target: Path, caller: str, *, overwrite: bool) -> None:
    """Refuse to build a folder where something is, unless it is a folder to replace.

    Raises:
        OutputError: A link or a file, or a folder without `overwrite`.
    """
    if not os.path.lexists(target) or (overwrite and target.is_dir() and not target.is_symlink()):
        return
    kind = "a folder" if target.is_dir() else "a file"
    raise OutputError(
        f"{caller}: path must be free; got {'a link' if target.is_symlink() else kind}",
        where=str(target),
        remedy="Choose another path, or remove it.",
    )


def _take_name(aside: Path, target: Path, old: Path) -> None:
    try:
        os.replace(aside, target)
    except BaseException:
        if old.is_dir() and not os.path.lexists(target):
            os.replace(old, target)
        raise


def _settle(folder: Path) -> None:
    """Force a rename to disk; it has happened, so a failure here must not say otherwise."""
    with suppress(OSError):
        _sync(folder)


def _sync(path: Path) -> None:
    """Force a file or folder to disk where the system can do it."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EROFS}:
            raise
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(Path(root, name))
        _sync(Path(root))
