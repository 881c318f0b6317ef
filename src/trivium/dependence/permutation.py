"""The permutation null: which rows may change places, and the statistic after each change.

A permutation p-value is `(1 + #{T_b >= T_0}) / (1 + B)`: never 0, and valid at every level
because the rows as given are one of the `B + 1` arrangements that are compared. Everything here
only ever adds to that count (ties, rounding), so it can lose power but not validity.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from itertools import permutations as all_orders
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium._core.random import numpy_generator

__all__ = ["Permutations", "Stretch", "exceedances", "permutation_p_value"]

_SLACK = {torch.float32: 1e-5, torch.float64: 1e-10}


@dataclass(frozen=True)
class Stretch:
    """Where in the stream of orders some of them are.

    Args:
        first: Number of the first.
        last: Number behind the last.
        state: Of the generator there; `None` at the start.
    """

    first: int
    last: int
    state: Any = None


@dataclass(frozen=True)
class Permutations:
    """A stream of row orders: first the rows as they are, then `count` random ones.

    The stream depends on the number of rows, the groups and the seed only, never on how it is
    cut into tiles. When no more than `count + 1` orders exist, they are all listed, each once,
    and the p-value is the exact one.

    Args:
        n_rows: Rows to permute.
        count: Random orders after the first.
        groups: One label for each row; rows change places within a group only.
        seed: Seed of the stream.

    Raises:
        ArgumentError: Less than one permutation, or no two rows that may change places.
    """

    n_rows: int
    count: int
    groups: NDArray[np.int64] | None = None
    seed: int = 0
    enumerated: bool = field(init=False)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ArgumentError(
                f"Permutations: n_permutations must be at least 1; got {self.count}"
            )
        if self.movable < 2:
            raise ArgumentError(
                "Permutations: groups must have two rows in some group; "
                "got only groups of size one",
                remedy="Use coarser groups: rows change places within a group only.",
            )
        object.__setattr__(self, "enumerated", self.possible <= self.count + 1)
        if self.enumerated:
            object.__setattr__(self, "count", self.possible - 1)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of rows in each group."""
        if self.groups is None:
            return np.array([self.n_rows])
        return np.unique(self.groups, return_counts=True)[1]

    @property
    def movable(self) -> int:
        """Rows that have another row to change places with."""
        return int(self.sizes[self.sizes > 1].sum())

    @property
    def possible(self) -> int:
        """Number of distinct orders, or a number too large to list."""
        if self.movable > 12:
            return 2**62
        return math.prod(math.factorial(int(size)) for size in self.sizes)

    def stretches(self, rows: int, most: int) -> list[Stretch]:
        """Cut the stream at ends of tiles, so that each stretch can be made elsewhere.

        Args:
            rows: Most orders in one tile.
            most: Most stretches; a single one costs nothing, several draw the stream once.
        """
        total = self.count + 1
        step = rows * max(1, -(-total // (rows * most)))
        cuts = [*range(0, total, step), total]
        if self.enumerated or len(cuts) == 2:
            return [Stretch(low, high) for low, high in pairwise(cuts)]
        generator = numpy_generator(self.seed, "dependence", "permutation")
        found = []
        for low, high in pairwise(cuts):
            found.append(Stretch(low, high, generator.bit_generator.state))
            for _ in self._drawn(rows, generator, low, high):
                pass
        return found

    def tiles(self, rows: int, stretch: Stretch | None = None) -> Iterator[NDArray[np.int64]]:
        """Yield the orders as `(b, n_rows)` index arrays of at most `rows` rows.

        Args:
            rows: Most orders in one tile.
            stretch: Those of one stretch only.
        """
        stretch = stretch or Stretch(0, self.count + 1)
        if self.enumerated:
            orders = self._listed()
            for low in range(stretch.first, stretch.last, rows):
                yield orders[low : min(low + rows, stretch.last)]
            return
        generator = numpy_generator(self.seed, "dependence", "permutation")
        if stretch.state is not None:
            generator.bit_generator.state = stretch.state
        yield from self._drawn(rows, generator, stretch.first, stretch.last)

    def _listed(self) -> NDArray[np.int64]:
        labels = np.zeros(self.n_rows, dtype=np.int64) if self.groups is None else self.groups
        orders = np.arange(self.n_rows)[None]
        for label in np.unique(labels):
            places = np.flatnonzero(labels == label)
            blocks = np.array(list(all_orders(places)))
            orders = np.repeat(orders, len(blocks), axis=0)
            orders[:, places] = np.tile(blocks, (len(orders) // len(blocks), 1))
        return orders

    def _drawn(
        self, rows: int, generator: np.random.Generator, first: int, last: int
    ) -> Iterator[NDArray[np.int64]]:
        identity = np.arange(self.n_rows)
        blocks = None if self.groups is None else np.argsort(self.groups, kind="stable")
        for low in range(first, last, rows):
            tile = np.tile(identity, (min(rows, last - low), 1))
            fresh = tile[1:] if low == 0 else tile
            if blocks is None or self.groups is None:
                generator.permuted(fresh, axis=1, out=fresh)
            else:
                keys = self.groups[blocks] + generator.random(fresh.shape)
                fresh[:, blocks] = blocks[np.argsort(keys, axis=1, kind="stable")]
            yield tile


def exceedances(
    null: Float[Tensor, "... b"], observed: Float[Tensor, "..."], slack: float | None = None
) -> Tensor:
    """Count permuted statistics that reach the observed one; a near tie counts.

    The slack (1e-5 of the statistic in float32, 1e-10 in float64) is far above rounding, so that
    an order that gives the same statistic in exact arithmetic is always counted.

    Args:
        null: Permuted statistics.
        observed: The statistic of the rows as given.
        slack: Share of the statistic that counts as a tie, instead of these.
    """
    share = _SLACK[null.dtype] if slack is None else slack
    margin = share * torch.maximum(observed.abs(), null.abs().mean(-1))
    return (null >= (observed - margin).unsqueeze(-1)).sum(-1)


def permutation_p_value(count: int, n_permutations: int) -> float:
    """Return `(1 + count) / (1 + n_permutations)`.

    Example:
        >>> permutation_p_value(0, 999)
        0.001
    """
    return (1 + count) / (1 + n_permutations)
