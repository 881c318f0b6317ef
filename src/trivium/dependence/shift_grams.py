"""HSIC of every cyclic shift at once, from complete Gram matrices that are never stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium.dependence.diagonal_sums import DiagonalSums
from trivium.dependence.shift import Shifts
from trivium.dependence.wrapped import WrappedGrams
from trivium.kernel import Kernel
from trivium.moment import MergeTree
from trivium.parallel import Executor, SerialExecutor

__all__ = ["gram_shifts"]

_BUDGET = 8 * 2**20  # near the caches: a larger one is slower
_SINGLE_ROWS = 2_000  # from here on single precision: rounding is far below the null's spread
_BLOCK_ROWS = 2_000  # below this the diagonals are one block of work
_BLOCKS = 16  # what comes back from a block is as long as the group
_BUFFERS = 4


def gram_shifts(  # noqa: PLR0913 - what is compared, how much at once, and where
    x: Shaped[Tensor, "n d"],
    kernels_x: Sequence[Kernel],
    y: Shaped[Tensor, "n e"],
    kernels_y: Sequence[Kernel],
    shifts: Shifts,
    *,
    budget: int = _BUDGET,
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
    executor: Executor | None = None,
) -> Float[Tensor, "a b t"]:
    r"""Biased HSIC of x with y after every member of a group of shifts, for every pair of kernels.

    With $K_d$ the wrapped diagonal d of K and m moving rows, the inner product with L shifted by t
    is $S(t) = \sum_{ij} K_{ij} L_{i+t, j+t} = \sum_d \sum_i K_d[i] L_d[i + t]$, one inverse
    transform of $\sum_d \overline{F K_d} \, F L_d$. Diagonals d and m − d of symmetric matrices
    count alike, so half of them are made. Rows that stay in place enter by a correlation each,
    and the row sums by one.

    Args:
        x: Rows of x; those of both variables are put in the order `shifts.start()` first.
        kernels_x: Kernels of x, resolved.
        y: Rows of y.
        kernels_y: Kernels of y, resolved.
        shifts: The group, with `stride` 1.
        budget: Bytes for the diagonals at hand.
        dtype: Of kernels and transforms; by default float64 up to 2,000 rows, float32 above.
        progress: Called with the diagonals done and in all.
        executor: Where blocks of diagonals are made, with one thread each: in this process by
            default. From 2,000 rows on there are several, and their sums are merged in one tree.

    Returns:
        Statistics in float64, `[..., 0]` of the rows as given.

    Cost:
        O(n² (a + b c) log n) time for c cosets, O(n a b c + budget) memory.

    Source:
        Ours, from the correlation theorem; for the exactness Koning and Hemerik, More efficient
        exact group invariance testing, Biometrika 111 (2024).
    """
    n, m = shifts.n_rows, shifts.length
    dtype = dtype or (torch.float64 if n < _SINGLE_ROWS else torch.float32)
    order = torch.from_numpy(shifts.start()).to(x.device)
    per_row = dtype.itemsize * _BUFFERS * (len(kernels_x) + len(kernels_y)) * m
    work = _Sides(
        _cast(x[order], dtype),
        tuple(kernels_x),
        _cast(y[order], dtype),
        tuple(kernels_y),
        shifts,
        dtype,
        max(1, budget // per_row),
        max(1, budget // (per_row * n // m)),
    )
    half = (m - 1) // 2
    bands = -(-half // work.size)
    step = work.size * max(1, bands if n < _BLOCK_ROWS else -(-bands // _BLOCKS))
    blocks = [(low, min(low + step, half + 1)) for low in range(1, half + 1, step)] or [(1, 1)]
    tree: MergeTree[DiagonalSums] = MergeTree()
    done = 0
    for number, sums in (executor or SerialExecutor()).each(_summed, blocks, shared=work):
        tree.add(number, sums)
        done += blocks[number][1] - blocks[number][0]
        if progress is not None:
            progress(done, half)
    return tree.total().statistics()


@dataclass(frozen=True, eq=False)
class _Sides:
    """Both variables in the order of the group, and how much is made at a time."""

    x: Shaped[Tensor, "n d"]
    kernels_x: tuple[Kernel, ...]
    y: Shaped[Tensor, "n e"]
    kernels_y: tuple[Kernel, ...]
    shifts: Shifts
    dtype: torch.dtype
    size: int
    fixed: int


def _summed(block: tuple[int, int], sides: _Sides) -> DiagonalSums:
    """Sum one block of diagonals; the first has the main one too, the last the odd ends."""
    low, high = block
    m = sides.shifts.length
    left = WrappedGrams(sides.x, sides.kernels_x, m, sides.dtype)
    right = WrappedGrams(sides.y, sides.kernels_y, m, sides.dtype)
    bases = (torch.from_numpy(base).to(sides.y.device) for base in sides.shifts.bases())
    rights = [right.permuted(base) for base in bases]
    sums = DiagonalSums(left, rights)
    if low == 1:
        sums.add_main(left, rights)
    for at in range(low, high, sides.size):
        sums.add_band(left, rights, at, min(at + sides.size, high))
    if high == (m - 1) // 2 + 1:
        if m % 2 == 0 and m > 1:
            sums.add_band(left, rights, m // 2, m // 2 + 1)
        sums.add_fixed(left, rights, sides.fixed)
    return sums


def _cast(rows: Tensor, dtype: torch.dtype) -> Tensor:
    return rows.to(dtype) if rows.is_floating_point() else rows
