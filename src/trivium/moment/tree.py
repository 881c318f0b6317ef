"""Merging many parts in one fixed tree, so that the bits do not depend on who made which part."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError

__all__ = ["MergeTree", "Mergeable", "merge_tree"]


@runtime_checkable
class Mergeable(Protocol):
    """Anything that adds up: `Moments`, `CrossMoments`, or your own sums."""

    def copy(self) -> Any:
        """Return the same rows, sharing nothing."""
        ...

    def merge(self, other: Any) -> Any:
        """Add the rows of `other` in place."""
        ...


T = TypeVar("T", bound="Mergeable")


class MergeTree(Generic[T]):
    """Parts put together as they come, in the one tree over their numbers.

    Neighbors are merged first, then pairs of pairs; what has no neighbor at the end is merged
    from the right. The tree depends on the number of parts only, so the bits do too.

    Example:
        >>> import torch
        >>> from trivium.moment import Moments
        >>> tree = MergeTree()
        >>> for number in (2, 0, 1):
        ...     tree.add(number, Moments(1).update(torch.full((1, 1), float(number))))
        >>> tree.total().mean.item()
        1.0
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], T] = {}
        self._n = 0

    def add(self, number: int, part: T) -> None:
        """Take the part of that number, which is changed from here on."""
        self._n += 1
        level, place = 0, number
        while (level, place ^ 1) in self._held:
            other = self._held.pop((level, place ^ 1))
            part = _merged(other, part) if place & 1 else _merged(part, other)
            level, place = level + 1, place >> 1
        self._held[level, place] = part

    def total(self) -> T:
        """Return all parts merged, and keep none of them.

        Raises:
            ArgumentError: No part at all, or a number is missing.
        """
        # Whole trees left at the end: one for each bit of the count, the widest first.
        left = sorted(self._held, reverse=True)
        starts = [place << level for level, place in left]
        if not left or starts != [*accumulate((1 << level for level, _ in left), initial=0)][:-1]:
            raise ArgumentError(
                "MergeTree.total: parts must be numbered 0, 1, 2, ...; got "
                f"{counted(self._n, 'part')}" + (" with a gap" if left else "")
            )
        total = self._held.pop(left.pop())
        while left:
            total = _merged(self._held.pop(left.pop()), total)
        return total

    def __len__(self) -> int:
        return self._n


def merge_tree(parts: Iterable[T]) -> T:
    """Merge parts, given in the order of their rows, as a binary tree over that order.

    Neighbors are merged first, then pairs of pairs: the tree depends on the number of parts
    only, and rounding grows with its depth log₂ b for b parts. Parts made by other processes give
    the same bits as parts made here. The parts are not changed.

    Args:
        parts: Part 0, part 1, …; an iterator is read as it comes, log₂ b parts held at a time.

    Raises:
        ArgumentError: No part at all.

    Cost:
        b merges.

    Example:
        >>> import torch
        >>> from trivium.moment import Moments
        >>> parts = [Moments(1).update(x) for x in torch.arange(6.0).reshape(3, 2, 1)]
        >>> merge_tree(parts).total.item()
        17.5
    """
    tree: MergeTree[T] = MergeTree()
    for number, part in enumerate(parts):
        tree.add(number, part.copy())
    if not tree:
        raise ArgumentError("merge_tree: parts must hold at least one part; got none")
    return tree.total()


def _merged(left: T, right: T) -> T:
    left.merge(right)
    return left
