"""The root of a gap between two costs: a polynomial of at most the second degree in n."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from math import isqrt

__all__ = ["root"]

_BITS = 24


def root(gap: Callable[[int], Fraction], n: int) -> tuple[Fraction, Fraction]:
    """Return bounds of the root in [n−1, n], equal ones where it is rational.

    The gap is a polynomial of at most the second degree around n where its third differences
    vanish; elsewhere the two integers are the bounds.
    """
    if n == 1:
        return Fraction(1), Fraction(1)
    if gap(n - 1) == 0:
        return Fraction(n - 1), Fraction(n - 1)
    start = max(n - 2, 1)
    values = [gap(start + i) for i in range(5)]
    once = [b - a for a, b in pairwise(values)]
    twice = [b - a for a, b in pairwise(once)]
    if len(set(twice)) > 1:
        return Fraction(n - 1), Fraction(n)
    # gap(start + t) = c + b·t + a·t²
    a, c = twice[0] / 2, values[0]
    b = once[0] - a
    if a == 0:
        root = start - c / b
        return root, root
    for low, high in _quadratic(a, b, c):
        if n - 1 <= start + high and start + low <= n:
            return start + low, start + high
    return Fraction(n - 1), Fraction(n)


def _quadratic(a: Fraction, b: Fraction, c: Fraction) -> list[tuple[Fraction, Fraction]]:
    """Return bounds of the real roots of a·t² + b·t + c."""
    square = b * b - 4 * a * c
    if square < 0:
        return []
    top, bottom = square.numerator, square.denominator
    scaled = top * bottom << (2 * _BITS)
    whole = isqrt(scaled)
    low = Fraction(whole, bottom << _BITS)
    high = low if whole * whole == scaled else Fraction(whole + 1, bottom << _BITS)
    roots = []
    for sign in (1, -1):
        ends = [(-b + sign * end) / (2 * a) for end in (low, high)]
        roots.append((min(ends), max(ends)))
    return roots
