"""Offsets r = i − j: a run of them where positions are consecutive, a matrix of them elsewhere."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.eager import eager
from trivium._core.errors import ShapeError

__all__ = ["by_offset", "curve_at", "is_run", "offset_matrix", "run_of_offsets", "toeplitz"]


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


def curve_at(
    curve: Callable[[Tensor], Tensor], r: Int[Tensor, "*r"], n_heads: int
) -> Float[Tensor, "*r h"]:
    """Return the values of a function at offsets, one for each head, or one for all.

    Raises:
        ShapeError: The function gives anything else.
    """
    found = curve(r)
    if eager() and found.shape not in ((*r.shape, n_heads), (*r.shape, 1)):
        raise ShapeError(
            f"curve: the result must have the shape {(*r.shape, n_heads)}, one value for each head "
            f"on a last axis, or {(*r.shape, 1)}, for offsets of shape {tuple(r.shape)}; "
            f"got {tuple(found.shape)}"
        )
    return found


def by_offset(
    curve: Callable[[Tensor], Tensor], i: Tensor, j: Tensor, n_heads: int
) -> Float[Tensor, "*b h n t"]:
    """Return a function of the offset, for every pair of positions.

    Args:
        curve: From offsets of any axes to one value for each head, on a last axis of its own.
        i: Positions of the queries, `(n)` or `(b, n)`.
        j: Positions of the keys, `(t)` or `(b, t)`.
        n_heads: Heads.

    Returns:
        `(h, n, t)`, or `(b, h, n, t)` where a position has rows; h is 1 where the function has one
        value for all heads.

    Raises:
        ShapeError: The function gives something of another shape.

    Cost:
        n + t − 1 values of the function for consecutive positions, n·t otherwise.
    """
    if is_run(i, j):
        return toeplitz(curve_at(curve, run_of_offsets(i, j), n_heads).mT, i.shape[0])
    return curve_at(curve, offset_matrix(i, j), n_heads).movedim(-1, -3)
