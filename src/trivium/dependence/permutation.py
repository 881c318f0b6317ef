"""The permutation null: which rows may change places, and the statistic after each change.

A permutation p-value is `(1 + #{T_b >= T_0}) / (1 + B)`: never 0, and valid at every level
because the rows as given are one of the `B + 1` arrangements that are compared. Everything here
only ever adds to that count (ties, rounding), so it can lose power but not validity.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations as all_orders

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium._core.random import numpy_generator

__all__ = ["Permutations", "exceedances", "factor_null", "gram_null", "permutation_p_value"]

_TILE_BYTES = 16 * 2**20
_SMALL = 256
_SLACK = {torch.float32: 1e-5, torch.float64: 1e-10}


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

    def tiles(self, rows: int) -> Iterator[NDArray[np.int64]]:
        """Yield the orders as `(b, n_rows)` index arrays of at most `rows` rows.

        Args:
            rows: Most orders in one tile.
        """
        yield from self._listed(rows) if self.enumerated else self._drawn(rows)

    def _listed(self, rows: int) -> Iterator[NDArray[np.int64]]:
        labels = np.zeros(self.n_rows, dtype=np.int64) if self.groups is None else self.groups
        orders = np.arange(self.n_rows)[None]
        for label in np.unique(labels):
            places = np.flatnonzero(labels == label)
            blocks = np.array(list(all_orders(places)))
            orders = np.repeat(orders, len(blocks), axis=0)
            orders[:, places] = np.tile(blocks, (len(orders) // len(blocks), 1))
        for low in range(0, len(orders), rows):
            yield orders[low : low + rows]

    def _drawn(self, rows: int) -> Iterator[NDArray[np.int64]]:
        generator = numpy_generator(self.seed, "dependence", "permutation")
        identity = np.arange(self.n_rows)
        blocks = None if self.groups is None else np.argsort(self.groups, kind="stable")
        done = 0
        while done < self.count + 1:
            size = min(rows, self.count + 1 - done)
            tile = np.tile(identity, (size, 1))
            fresh = tile[1:] if done == 0 else tile
            if blocks is None or self.groups is None:
                generator.permuted(fresh, axis=1, out=fresh)
            else:
                keys = self.groups[blocks] + generator.random(fresh.shape)
                fresh[:, blocks] = blocks[np.argsort(keys, axis=1, kind="stable")]
            done += size
            yield tile


def gram_null(
    gram_x: Float[Tensor, "n n"], gram_y: Float[Tensor, "n n"], orders: Permutations
) -> Float[Tensor, " b"]:
    """Biased HSIC of `x` with each permuted `y` from two complete Gram matrices.

    `T_b = sum_ij (H K H)_ij (H L H)[p_b(i), p_b(j)] / n^2`; `T_0` is the statistic as observed.
    Above 256 rows the centered matrices are compared in float32.

    Cost: O(b n²) time, O(n²) memory.
    """
    n = len(gram_x)
    first, second = _centered(gram_x), _centered(gram_y)
    if n > _SMALL:
        return _large_gram_null(first.float(), second.float(), orders)
    parts = []
    for tile in orders.tiles(max(1, _TILE_BYTES // (4 * n * n * gram_y.element_size()))):
        index = torch.from_numpy(tile).to(gram_y.device)
        parts.append((second[index[:, :, None], index[:, None, :]] * first).sum((1, 2)))
    return torch.cat(parts) / n**2


def _large_gram_null(first: Tensor, second: Tensor, orders: Permutations) -> Tensor:
    """One order at a time through two buffers that are used again."""
    n = len(first)
    rows, both = torch.empty_like(second), torch.empty_like(second)
    found = []
    for tile in orders.tiles(256):
        for order in torch.from_numpy(tile).to(second.device):
            torch.index_select(second, 0, order, out=rows)
            torch.index_select(rows, 1, order, out=both)
            found.append(torch.dot(first.reshape(-1), both.reshape(-1)))
    return torch.stack(found) / n**2


def _centered(gram: Tensor) -> Tensor:
    mean = gram.mean(0)
    return gram - mean - mean[:, None] + mean.mean()


def factor_null(
    features: Float[Tensor, "r n"],
    target: Float[Tensor, "n s"],
    orders: Permutations,
    *,
    widths: Sequence[int] | None = None,
) -> Float[Tensor, "k b"]:
    """Biased HSIC of several columns with each permuted target, from features.

    `T_kb = || sum_i (phi_k(x_i) - mean) psi(y_{p_b(i)})' ||_F^2 / n^2`, all columns and a tile
    of permutations in one matrix product. Identity and permutations go through the same product
    in the same precision.

    Args:
        features: The columns' features, one below the other.
        target: The target's features, side by side.
        orders: The permutations; the first is the identity.
        widths: Number of features of each column; one column by default.

    Cost: O(n r s b) time, a fixed budget of memory beside the arguments.
    """
    width, n = features.shape
    rank = target.shape[1]
    centered = features - features.mean(1, keepdim=True)
    values = target - target.mean(0)
    widths = [width] if widths is None else list(widths)
    owner = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))
    per_order = rank * (n + width) * features.element_size() + 8 * n + 1
    owner = owner.to(values.device)
    # Made at once: small results between large buffers would keep the heap from being used again.
    found = values.new_zeros(len(widths), orders.count + 1)
    done = 0
    for tile in orders.tiles(max(1, _TILE_BYTES // per_order)):
        index = torch.from_numpy(np.ascontiguousarray(tile.T)).to(values.device)
        moved = values[index.reshape(-1)].reshape(n, len(tile) * rank)
        squares = (centered @ moved).square_().reshape(width, len(tile), rank).sum(-1)
        found[:, done : done + len(tile)].index_add_(0, owner, squares)
        done += len(tile)
    return found.div_(n**2)


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
