"""The law of one kind of operator: seconds from FLOPs, bytes, calls and fresh memory."""

from dataclasses import dataclass
from math import isfinite, log2

from trivium._core.errors import ArgumentError
from trivium.cost.operation import Operation

__all__ = ["COEFFICIENTS", "Law", "beyond", "doubt", "features"]

COEFFICIENTS = ("flops", "near", "far", "calls", "fresh")
# A law is held to be good for sizes this much beyond those that it was fitted on.
_SLACK = 2.0
# What each doubling beyond that adds to the interval.
_DOUBT = 0.25
Pair = tuple[float, float]


def features(operation: Operation, cache: float, fresh_above: float) -> tuple[int | float, ...]:
    """Return what the coefficients of a law multiply.

    The bytes of a call are near where all of them fit into the cache, and far where they are
    twice as many: then each is gone before it is asked for again. Between, a share is near.
    Memory is fresh where a result is so large that the allocator asks the system for it each
    time: then every page is touched for the first time.

    Args:
        operation: The work.
        cache: Bytes of a call that stay in a cache.
        fresh_above: From this size on the allocator asks the system for each result.
    """
    calls = operation.calls or 1
    each = operation.bytes / calls
    share = min(max(2 - each / cache, 0.0), 1.0) if cache else 0.0
    near = share * operation.bytes
    fresh = operation.fresh if operation.fresh / calls >= fresh_above else 0.0
    return operation.flops, near, operation.bytes - near, operation.calls, fresh


@dataclass(frozen=True, slots=True)
class Law:
    """t = flops·c₁ + near bytes·c₂ + far bytes·c₂′ + calls·c₃ + fresh bytes·c₄, none negative.

    Args:
        flops: Seconds for a floating-point operation.
        near: Seconds for a byte in a cache.
        far: Seconds for a byte beyond it.
        calls: Seconds for a call.
        fresh: Seconds for a byte of memory that the system has to provide.
        error: Half-width of the interval: from t / (1 + error) to t · (1 + error).
        least: FLOPs and bytes of the smallest calls that it was fitted on.
        most: FLOPs and bytes of the largest.
        sizes: How many sizes it was fitted on; 0 where it was not.

    Raises:
        ArgumentError: A number is negative or not finite.
    """

    flops: float
    near: float
    far: float
    calls: float
    fresh: float
    error: float
    least: tuple[float, float] = (0.0, 0.0)
    most: tuple[float, float] = (0.0, 0.0)
    sizes: int = 0

    def __post_init__(self) -> None:
        for name in (*COEFFICIENTS, "error", "sizes"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not isfinite(value) or value < 0:
                raise ArgumentError(f"Law: {name} must be a finite number ≥ 0; got {value!r}")

    def seconds(self, operation: Operation, cache: float, fresh_above: float) -> float:
        """Return the seconds of an operation: c · `features`."""
        parts = features(operation, cache, fresh_above)
        return sum(getattr(self, n) * x for n, x in zip(COEFFICIENTS, parts, strict=True))

    def beyond(self, operation: Operation) -> float:
        """Return how many times a call is larger, or smaller, than any that was fitted.

        A factor of up to 2 counts as within: then the answer is 1.
        """
        if not self.sizes or not operation.calls:
            return 1.0
        return beyond(operation, self.least, self.most)

    def spread(self, operation: Operation) -> float:
        """Return the factor of the interval: wider by a quarter for each doubling beyond."""
        return (1 + self.error) * doubt(self.beyond(operation))


def beyond(operation: Operation, least: Pair, most: Pair) -> float:
    """Return how many times a call is outside of ranges of FLOPs and of bytes; 1 for within."""
    factor = 1.0
    each = (operation.flops / operation.calls, operation.bytes / operation.calls)
    for value, low, high in zip(each, least, most, strict=True):
        if high > 0 and value > 0:
            factor = max(factor, value / high, low / value)
    return factor if factor > _SLACK else 1.0


def doubt(factor: float) -> float:
    """Return the factor by which an interval is wider that many times beyond."""
    return 1 + _DOUBT * log2(factor)
