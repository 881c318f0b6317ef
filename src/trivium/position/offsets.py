"""Offsets r = i − j: a run of them where positions are consecutive, a matrix of them elsewhere."""

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["by_offset", "is_run", "offset_matrix", "run_of_offsets", "toeplitz"]


def is_run(*positions: Tensor) -> bool:
    """Return whether each tensor is one run of consecutive positions that all rows share.

    One axis says so by contract; outside of tracing it is looked at, too.
    """
    if any(at.ndim != 1 for at in positions):
        return False
    if torch.compiler.is_compiling() or any(at.is_meta for at in positions):
        return True
    return all(len(at) < 2 or bool((at.diff() == 1).all()) for at in positions)


def run_of_offsets(i: Int[Tensor, " n"], j: Int[Tensor, " t"]) -> Int[Tensor, " r"]:
    """Return the n + t − 1 offsets between two runs, from the smallest."""
    n, t = i.shape[0], j.shape[0]
    return (i[0] - j[0]) + torch.arange(1 - t, n, device=i.device)


def offset_matrix(i: Int[Tensor, "*i n"], j: Int[Tensor, "*j t"]) -> Int[Tensor, "*k n t"]:
    """Return r = i − j of every pair."""
    return i[..., :, None] - j[..., None, :]


def toeplitz(table: Tensor, n: int) -> Tensor:
    """Return the matrix `(..., n, t)` of a table over `run_of_offsets`, `(..., n + t − 1)`."""
    t = table.shape[-1] - n + 1
    if torch.compiler.is_compiling():  # windows of a free size cannot be traced
        at = torch.arange(table.shape[-1], device=table.device)
        return table[..., offset_matrix(at[:n], at[:t]) + (t - 1)]
    return table.flip(-1).unfold(-1, t, 1).flip(-2)


def by_offset(curve: Callable[[Tensor], Tensor], i: Tensor, j: Tensor) -> Tensor:
    """Return a function of the offset, for every pair of positions.

    Args:
        curve: From offsets of any axes to one value for each head, on a last axis of its own.
        i: Positions of the queries, `(n)` or `(b, n)`.
        j: Positions of the keys, `(t)` or `(b, t)`.

    Returns:
        `(h, n, t)`, or `(b, h, n, t)` where a position has rows.

    Cost:
        n + t − 1 values of the function for consecutive positions, n·t otherwise.
    """
    if is_run(i, j):
        return toeplitz(curve(run_of_offsets(i, j)).mT, i.shape[0])
    return curve(offset_matrix(i, j)).movedim(-1, -3)
