"""How much memory this process has held and may hold, where the system says so."""

import sys

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["memory_limit", "peak_bytes"]


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
