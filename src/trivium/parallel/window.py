"""A window over blocks: none is handed out far ahead of the first that has not ended."""

from collections import deque
from collections.abc import Sequence

__all__ = ["Window"]


class Window:
    """The queue of blocks that may run now; it grows as the first ones end.

    Args:
        numbers: The blocks, in their order.
        ahead: How many of them, from the first that has not ended on, may be in the queue, at work
            or ended; `None` for all.
    """

    def __init__(self, numbers: Sequence[int], ahead: int | None) -> None:
        self.queue: deque[int] = deque()
        self._numbers, self._ahead = numbers, len(numbers) if ahead is None else ahead
        self._first = self._next = 0
        self._ended: set[int] = set()
        self._fill()

    def end(self, number: int) -> None:
        """Note that a block has ended."""
        self._ended.add(number)
        while self._first < self._next and self._numbers[self._first] in self._ended:
            self._ended.remove(self._numbers[self._first])
            self._first += 1
        self._fill()

    def _fill(self) -> None:
        stop = min(self._first + self._ahead, len(self._numbers))
        self.queue.extend(self._numbers[self._next : stop])
        self._next = stop
