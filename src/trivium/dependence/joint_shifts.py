"""Shifts of several variables against one another: a group, so that the joint p-value is exact.

Variable k moves by `k s` places, s = 0, ..., m - 1. With m prime to 2, ..., d - 1 no two variables
stand row against row again before s comes back to 0, so every member but the identity breaks
every pair. (All combinations of independent shifts are a group too, but in a share 1/m of them a
given pair is not broken, and no p-value of a dependent pair could be below about 1/m.)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError
from trivium._core.random import numpy_generator

__all__ = ["JointShifts"]

_SHORT = 0.99  # of the members wanted, and of the rows that could move: near enough


@dataclass(frozen=True)
class JointShifts:
    """A cyclic group of shifts of d variables with n rows, and random cosets when it is small.

    The first `length * stride` rows move, by multiples of `stride`; the rest stay (still a group).
    A coset starts from an independent random order of each variable.

    Args:
        n_rows: Rows, at least `2 * n_variables`.
        n_variables: Variables, at least 2.
        count: Members wanted, the identity among them; there are at least 99 % as many.
        seed: Seed of the shuffle, of the steps and of the cosets.

    Raises:
        ArgumentError: Fewer than two variables, too few rows, or less than one member.

    Example:
        >>> group = JointShifts(50, 3, 200)
        >>> group.length, group.stride, group.cosets, group.total
        (49, 1, 5, 245)
    """

    n_rows: int
    n_variables: int
    count: int
    seed: int = 0
    length: int = field(init=False)
    stride: int = field(init=False)

    def __post_init__(self) -> None:
        n, d = self.n_rows, self.n_variables
        if d < 2 or n < 2 * d:
            raise ArgumentError(
                f"JointShifts: there must be 2 variables and 2 rows for each of them; "
                f"got {counted(d, 'variable')} and {counted(n, 'row')}"
            )
        if self.count < 1:
            raise ArgumentError(f"JointShifts: n_permutations must be at least 1; got {self.count}")
        low = min(max(self.count, d), n)
        lengths = [m for m in range(low, min(n, 2 * low) + 1) if self._is_free(m)]
        if not lengths:
            lengths = [next(m for m in range(low, 1, -1) if self._is_free(m))]
        # Of the lengths that give enough members, the shortest that leaves almost no row in place.
        most = max(m * (n // m) for m in lengths)
        length = next(m for m in lengths if m * (n // m) >= _SHORT * most)
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "stride", n // length)

    def _is_free(self, length: int) -> bool:
        """Whether no difference of two steps has a factor in common with the length."""
        return all(math.gcd(length, step) == 1 for step in range(2, self.n_variables))

    @property
    def moved(self) -> int:
        """Rows that move."""
        return self.length * self.stride

    @property
    def cosets(self) -> int:
        """Number of cosets, the group itself among them."""
        return max(1, math.ceil(_SHORT * self.count / self.length))

    @property
    def total(self) -> int:
        """Number of members, the identity among them."""
        return self.length * self.cosets

    @property
    def steps(self) -> NDArray[np.int64]:
        """How far each variable moves at a time: 0, ..., d - 1 in random order.

        The order is random so that which variable comes first plays no part in the law of p.
        """
        return numpy_generator(self.seed, "dependence", "joint", "steps").permutation(
            self.n_variables
        )

    def start(self) -> NDArray[np.int64]:
        """Order in which the rows of all variables are taken first."""
        return numpy_generator(self.seed, "dependence", "joint").permutation(self.n_rows)

    def bases(self) -> Iterator[NDArray[np.int64]]:
        """Yield for each coset the order of the rows of each variable, `(d, n)`, after `start`."""
        places = np.tile(np.arange(self.n_rows), (self.n_variables, 1))
        yield places
        draw = numpy_generator(self.seed, "dependence", "joint", "cosets")
        for _ in range(self.cosets - 1):
            yield draw.permuted(places, axis=1)

    def orders(self) -> Iterator[NDArray[np.int64]]:
        """Yield the members of each coset as orders of rows, `(length, d, n)`, after `start`."""
        places = np.arange(self.moved)
        times = np.arange(self.length)[:, None, None] * self.stride
        moved = (places + self.steps[:, None] * times) % self.moved
        for base in self.bases():
            order = np.tile(base, (self.length, 1, 1))
            order[..., : self.moved] = np.take_along_axis(order, moved, 2)
            yield order
