"""Progress over columns, told seldom enough to cost nothing."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from trivium.parallel import Progress

__all__ = ["told"]

_OFTEN = 200
T = TypeVar("T")


def told(items: Sequence[T], progress: Progress | None) -> Iterator[T]:
    """Yield items, and tell of those done and in all, some two hundred times at most.

    Args:
        items: One after the other.
        progress: Who is told, if anybody.

    Example:
        >>> list(told("ab", lambda done, total: print(done, "of", total)))
        1 of 2
        2 of 2
        ['a', 'b']
    """
    total = len(items)
    apart = max(1, total // _OFTEN)
    for done, item in enumerate(items, start=1):
        yield item
        if progress is not None and (done % apart == 0 or done == total):
            progress(done, total)
