"""The shift null: all cyclic shifts of one variable's rows, a group, so the p-value is exact.

Rows are shuffled once; then the statistic of the rows as given is ranked among those of every
cyclic shift of y against x. Shifts are a subgroup of the permutations, so the rank is uniform
under independence whatever the kernels and the distribution (Koning and Hemerik, Biometrika 2024),
and fast Fourier transforms give all of them at once. Where one group has too few members,
random cosets of it are added: multiplying a set `{H, H p_1, ..., H p_m}` by the inverse of a
random member leaves its law as it is, so the rank among all of them is exact too.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trivium._core.errors import ArgumentError
from trivium._core.random import numpy_generator

__all__ = ["Shifts", "smooth_length"]


def smooth_length(n: int) -> int:
    """Return the largest number up to n with no prime factor above 5: a length of fast transforms.

    Example:
        >>> smooth_length(51), smooth_length(1797)
        (50, 1728)
    """
    while not _is_smooth(n):
        n -= 1
    return n


def _is_smooth(n: int) -> bool:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


@dataclass(frozen=True)
class Shifts:
    """A group of cyclic shifts of n rows, and random cosets of it when it is too small.

    The first `length * stride` rows move, by multiples of `stride`; the rows that are left stay
    where they are (still a group). The first member is the identity.

    Args:
        n_rows: Rows.
        count: Members wanted, the identity among them; there are at least as many.
        seed: Seed of the shuffle and of the cosets.
        coarse: Take about `count` shifts by blocks of rows when there are more rows than that,
            instead of all shifts.
        shuffle: Whether the rows are shuffled first. Without it the rows are a series, and the
            p-value needs a stationary one.

    Raises:
        ArgumentError: Fewer than two rows or one shift, or a series with too few shifts.

    Example:
        >>> group = Shifts(51, 200)
        >>> group.length, group.cosets, group.total
        (50, 4, 200)
    """

    n_rows: int
    count: int
    seed: int = 0
    coarse: bool = False
    shuffle: bool = True
    length: int = field(init=False)
    stride: int = field(init=False)

    def __post_init__(self) -> None:
        if self.n_rows < 2:
            raise ArgumentError(f"Shifts: n_rows must be at least 2; got {self.n_rows}")
        if self.count < 1:
            raise ArgumentError(f"Shifts: n_permutations must be at least 1; got {self.count}")
        length = smooth_length(self.n_rows)
        if self.coarse and length > self.count:
            # Of the lengths that give enough shifts, the one that leaves the fewest rows in place.
            most = min(length, 2 * self.count)
            lengths = [m for m in range(max(self.count, 2), most + 1) if _is_smooth(m)]
            length = max([*lengths, length], key=lambda m: (m * (self.n_rows // m), -m))
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "stride", self.n_rows // length if self.coarse else 1)

    @property
    def moved(self) -> int:
        """Rows that move; the others stay where they are."""
        return self.length * self.stride

    @property
    def cosets(self) -> int:
        """Number of cosets, the group itself among them; one for a series."""
        return math.ceil(self.count / self.length) if self.shuffle else 1

    @property
    def total(self) -> int:
        """Number of members in all, the identity among them."""
        return self.length * self.cosets

    def start(self) -> NDArray[np.int64]:
        """Order in which the rows of both variables are taken first."""
        if not self.shuffle:
            return np.arange(self.n_rows)
        return numpy_generator(self.seed, "dependence", "shift").permutation(self.n_rows)

    def bases(self) -> Iterator[NDArray[np.int64]]:
        """Yield for each coset the order of the rows of y, after `start`; first the identity."""
        yield np.arange(self.n_rows)
        draw = numpy_generator(self.seed, "dependence", "cosets")
        for _ in range(self.cosets - 1):
            yield draw.permutation(self.n_rows)

    def orders(self) -> Iterator[NDArray[np.int64]]:
        """Yield every member as an order of the rows of y, after `start`: the slow road, for tests.

        Member `(coset, t)` compares row i of x with row `base[(i + t * stride) % moved]` of y.
        """
        places = np.arange(self.moved)
        for base in self.bases():
            for t in range(self.length):
                order = base.copy()
                order[: self.moved] = base[(places + t * self.stride) % self.moved]
                yield order
