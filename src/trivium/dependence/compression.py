"""Fewer features with almost the same centered kernel: its leading principal directions."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["compress"]


def compress(
    values: Float[Tensor, "k r n"], tol: float, dtype: torch.dtype | None = None
) -> list[Float[Tensor, "s n"]]:
    """Center features over rows and keep the fewest rotated ones that hold all but `tol`.

    A column whose features do not vary keeps none.

    Args:
        values: Features of k columns.
        tol: Share of the centered trace that may be dropped.
        dtype: Of the result; that of `values` by default.

    Returns:
        Centered features of each column, at most r.

    Cost: O(k n r²) time.
    """
    centered = values - values.mean(-1, keepdim=True)
    weights, directions = torch.linalg.eigh(centered @ centered.mT)
    raw = values.square().sum((-2, -1))
    # Rounding of the centering leaves about eps² of the raw trace in a constant column.
    floor = raw * torch.finfo(values.dtype).eps * values.shape[-2]
    tails = weights.clamp_min(0).cumsum(-1)
    total = tails[:, -1]
    found = []
    for column in range(len(values)):
        if float(total[column]) <= float(floor[column]):
            found.append(values.new_zeros(0, values.shape[-1], dtype=dtype or values.dtype))
            continue
        cut = tol * total[column]
        kept = directions[column][:, tails[column] > cut]
        found.append((kept.mT @ centered[column]).to(dtype or values.dtype))
    return found
