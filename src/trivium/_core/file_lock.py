"""The lock on an open file or folder: held until its process lets go of it or ends, in any way."""

import errno

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["has_locks", "try_lock"]

_TAKEN = {errno.EWOULDBLOCK, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}


def has_locks() -> bool:
    """Whether this system knows such locks."""
    return fcntl is not None


def try_lock(handle: int) -> bool | None:
    """Lock without waiting.

    Args:
        handle: Of an open file or folder; closing it lets go of the lock.

    Returns:
        Whether this handle has the lock now; `None` where the system or the file system has none.

    Raises:
        OSError: It cannot be tried.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as one, open(one.name) as other:
        ...     try_lock(one.fileno()), try_lock(other.fileno())
        (True, False)
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True
