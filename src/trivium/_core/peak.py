"""How much memory this process has held and may hold, where the system says so."""

import sys

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["check_room", "memory_limit", "peak_bytes"]

_SLACK = 1 << 20


def peak_bytes() -> int:
    """Return the most memory that this process has held so far; 0 where nobody knows.

    Example:
        >>> peak_bytes() >= 0
        True
    """
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def memory_limit() -> int | None:
    """Return the bytes of memory that this process may map (`ulimit -v`), if there is a limit.

    Example:
        >>> limit = memory_limit()
        >>> limit is None or limit > 0
        True
    """
    if resource is None:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return limit if limit >= 0 else None


def check_room(size: int) -> None:
    """Ask for memory and give it back at once, before a library that cannot be refused asks.

    An extension in Rust ends the process, or panics with a trace of its own, where none is left.

    Args:
        size: Bytes.

    Raises:
        MemoryError: It is not there.

    Example:
        >>> check_room(1000)
    """
    import numpy as np

    np.empty(size + _SLACK, np.uint8)
