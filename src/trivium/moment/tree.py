"""Merging many parts in one fixed tree, so that the bits do not depend on who made which part."""

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar, runtime_checkable

from trivium._core.errors import ArgumentError

__all__ = ["Mergeable", "merge_tree"]


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


def merge_tree(parts: Iterable[T]) -> T:
    """Merge parts, given in the order of their rows, as a binary tree over that order.

    Neighbours are merged first, then pairs of pairs: the tree depends on the number of parts
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
    held: list[tuple[int, T]] = []
    for part in parts:
        held.append((0, part.copy()))
        while len(held) > 1 and held[-1][0] == held[-2][0]:
            level, right = held.pop()
            held[-1] = (level + 1, _merged(held[-1][1], right))
    if not held:
        raise ArgumentError("merge_tree: parts must hold at least one part; got none")
    total = held.pop()[1]
    while held:
        total = _merged(held.pop()[1], total)
    return total


def _merged(left: T, right: T) -> T:
    left.merge(right)
    return left
