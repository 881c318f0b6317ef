"""Which keys a query may see, and how many pairs of query and key a kernel works on."""

from dataclasses import dataclass
from typing import Literal

from trivium._core.errors import ArgumentError

__all__ = ["Mask"]


@dataclass(frozen=True, slots=True)
class Mask:
    """The pairs of query and key that attention needs, and those that its kernel works on.

    A query at place i, counted from the start of the row, sees every key ("full"), the keys
    0..i ("causal"), or of these only the nearest: i−w+1..i ("causal" with a window w),
    |i−j| ≤ w ("full" with a window w).

    Args:
        kind: "full" or "causal".
        window: w; `None` for no window.
        kernel: "dense" works on every pair; "banded" on the needed ones; "chunked" on the square
            blocks of w×w on the diagonal.
        rolling: Whether a cache drops the keys that the window has passed.

    Raises:
        ArgumentError: The window is not positive.

    Example:
        >>> mask = Mask("causal")
        >>> mask.needed(queries=4, context=0, keys=4), mask.executed(4, 0, 4)
        (10, 16)
    """

    kind: Literal["full", "causal"] = "full"
    window: int | None = None
    kernel: Literal["dense", "banded", "chunked"] = "dense"
    rolling: bool = True

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise ArgumentError(f"Mask: window must be at least 1; got {self.window}")

    def held(self, context: int) -> int:
        """Return how many keys of a context a cache of this layer hands to the next token."""
        if self.kernel == "chunked":
            return 0
        if self.kind == "full" or self.window is None or not self.rolling:
            return context
        return min(context, self.window - 1)

    def executed(self, queries: int, context: int, keys: int) -> int:
        """Return the pairs that the kernel works on in each row."""
        if self.kernel == "dense":
            return queries * keys
        if self.kernel == "banded" or self.window is None:
            return self.needed(queries, context, keys)
        whole, rest = divmod(queries, self.window)
        return whole * self.window**2 + rest**2

    def needed(self, queries: int, context: int, keys: int) -> int:
        """Return Σ over the queries of the keys that each one sees.

        Args:
            queries: Queries of a row, the last ones of it.
            context: Tokens of the row before the first query.
            keys: Keys of the row, in a row without order between them.

        Cost:
            O(1): sums of clipped arithmetic progressions.
        """
        if self.kernel == "chunked" and self.window is not None:
            whole, rest = divmod(queries, self.window)
            return whole * _triangle(self.window) + _triangle(rest)
        if self.kind == "causal":
            cap = self.window if self.window is not None else context + queries
            return _clipped(context, queries, cap)
        if self.window is None:
            return queries * keys
        # A query itself, the keys before it, and as many after it by symmetry.
        return queries + 2 * _clipped(0, queries - 1, self.window)


def _triangle(count: int) -> int:
    return count * (count + 1) // 2


def _clipped(before: int, count: int, cap: int) -> int:
    """Return Σ min(before + i, cap) over i = 1..count."""
    growing = min(max(cap - before, 0), count)
    return growing * before + _triangle(growing) + (count - growing) * cap
