"""Work in counts: products of matrices, passes over numbers, walks along them, calls."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = [
    "Work",
    "batch",
    "passes",
    "product",
    "scaled",
    "steps",
    "total_count",
    "transforms",
    "walks",
]


@dataclass(frozen=True, slots=True)
class Work:
    """Work of one kind.

    Args:
        kind: `"product"` of matrices, `"batch"` of small ones in a call, `"pass"` over numbers,
            `"walk"` from number to number (sorting, counting, hashing), or `"step"`: a call.
        count: Multiply-adds of products, numbers that passes and walks look at; 0 for steps.
        bytes: Bytes read and written.
        calls: How many calls there are.
        size: Bytes of a number.
    """

    kind: str
    count: float
    bytes: float = 0.0
    calls: float = 1.0
    size: int = 8


def product(m: float, k: float, n: float, times: float = 1, size: int = 8) -> Work:
    """Return `times` products of an m × k by a k × n matrix of numbers of `size` bytes."""
    return Work("product", m * k * n * times, _moved(m, k, n, times, size), times, size)


def batch(m: float, k: float, n: float, times: float, calls: float = 1, size: int = 8) -> Work:
    """Return the same work in so many calls."""
    return Work("batch", m * k * n * times, _moved(m, k, n, times, size), calls, size)


def _moved(m: float, k: float, n: float, times: float, size: int) -> float:
    return size * (m * k + k * n + m * n) * times


def passes(numbers: float, times: float = 1, size: int = 8) -> Work:
    """Return `times` passes over numbers of `size` bytes, each read and written once."""
    return Work("pass", numbers * times, 2 * size * numbers * times, times, size)


def transforms(rows: float, length: float, size: int = 4) -> Work:
    """Return fast Fourier transforms of `rows` real series."""
    each = length * math.log2(max(2.0, length)) / 2
    return Work("pass", rows * each, 2 * size * rows * each, 2.0, size)


def walks(numbers: float, times: float = 1) -> Work:
    """Return walks from number to number: a thousand of them take as long as a call."""
    return Work("walk", numbers * times, 0.0, numbers * times / 1000)


def steps(calls: float) -> Work:
    """Return calls where there is nothing to compute."""
    return Work("step", 0.0, 0.0, calls)


def total_count(works: Iterable[Work]) -> int:
    """Return multiply-adds of products plus one for each number that a pass looks at."""
    return round(sum(work.count for work in works))


def scaled(works: Iterable[Work], times: float) -> list[Work]:
    """Return work done so many times, or a share of it."""
    return [
        replace(w, count=w.count * times, bytes=w.bytes * times, calls=w.calls * times)
        for w in works
    ]
