"""DeBERTa's buckets of distances: each its own up to half of them, then by the logarithm."""

from bisect import bisect_right
from typing import Any

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError


def check_log_buckets(caller: str, n_buckets: Any, max_distance: int) -> None:
    """Refuse buckets that do not fit the distance.

    Raises:
        ArgumentError: Fewer than 4 buckets, or half of them reach the distance.
    """
    n = int(check_number(caller, "n_buckets", n_buckets, "positive", integer=True))
    if n < 4:
        raise ArgumentError(f"{caller}: n_buckets must be at least 4; got {n}")
    if max_distance - 1 <= n // 2:
        raise ArgumentError(
            f"{caller}: max_distance must be greater than {n // 2 + 1}, beyond the distances that "
            f"have a bucket each; got {max_distance}",
            remedy="Or take fewer buckets, or n_buckets=None.",
        )


def log_starts(n_buckets: int, max_distance: int) -> list[int]:
    """Return the first distance of each bucket 1 … n, in whole numbers.

    With half = ⌊n / 2⌋ and M the distance, a distance x beyond half is in the bucket
    half + ⌈(half − 1) ln(x / half) / ln((M − 1) / half)⌉: bucket half + c begins behind the last
    x with x^(half − 1) half^(c − 1) ≤ (M − 1)^(c − 1) half^(half − 1).
    """
    half = n_buckets // 2
    wide, last = half - 1, max_distance - 1
    starts = list(range(1, half + 1))
    for c in range(1, n_buckets - half + 1):
        there = last ** (c - 1) * half**wide
        places = range(half, last**2 + 2)
        at = bisect_right(places, there, key=lambda x, c=c: x**wide * half ** (c - 1))  # type: ignore[misc]
        starts.append(half + at)
    return starts
