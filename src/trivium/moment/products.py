"""The one expensive line: the symmetric product of a block, and sums per group beside it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["group_sums", "mirror", "symmetric_product"]

PANEL = 128
"""Columns of one panel: three panels at d = 384 cost what the BLAS rank-k update costs."""

MAX_SELECTED = 64  # beyond this many groups a selector matrix costs more than scattered adds


def symmetric_product(rows: Float[Tensor, "b d"]) -> Float[Tensor, "d d"]:
    """Return rowsᵀ rows; only the lower triangle is meant, above it stand zeros or copies.

    Cost:
        About b d² multiplications instead of 2 b d², by panels of columns.
    """
    d = rows.shape[1]
    out = rows.new_zeros(d, d)
    for start in range(0, d, PANEL):
        stop = min(d, start + PANEL)
        torch.mm(rows[:, start:stop].mT, rows[:, :stop], out=out[start:stop, :stop])
    return out


def mirror(lower: Float[Tensor, "... d d"]) -> Float[Tensor, "... d d"]:
    """Fill the upper triangle from the lower one."""
    low = torch.tril(lower)
    return low + torch.tril(low, -1).mT


def group_sums(
    rows: Float[Tensor, "b d"],
    codes: Int[Tensor, " b"],
    weight: Float[Tensor, " b"] | None,
    n_groups: int,
) -> Float[Tensor, "k d"]:
    """Return Σ weight_i rows_i over each group, in the dtype of the rows.

    Cost:
        O(b d min(k, 64)); the same bits in every run, on every device.
    """
    if n_groups > MAX_SELECTED and rows.device.type == "cpu":
        scaled = rows if weight is None else rows * weight[:, None]
        return rows.new_zeros(n_groups, rows.shape[1]).index_add_(0, codes, scaled)
    selector = rows.new_zeros(n_groups, len(rows))
    index = torch.arange(len(rows), device=rows.device)
    selector[codes, index] = 1.0 if weight is None else weight
    return selector @ rows
