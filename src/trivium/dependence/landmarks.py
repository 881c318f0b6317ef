"""Features of very many rows by landmarks that depend on one variable alone."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from trivium.kernel import Kernel, Nystroem

__all__ = ["landmark_maps"]

_LANDMARK_ROWS = 4096
_LANDMARK_TOL = 1e-6


def landmark_maps(
    rows: Shaped[Tensor, "n d"], grid: Sequence[Kernel], rank: int
) -> tuple[list[Nystroem], float]:
    """Nyström maps of each kernel, and the largest share of a trace that they leave out.

    The landmarks are pivots among evenly spaced rows in the order of the variable's own values:
    they do not depend on the other variable, so all members of a group see the same features.
    """
    order = torch.from_numpy(np.lexsort(rows.cpu().numpy().T[::-1])).to(rows.device)
    places = torch.linspace(0, len(rows) - 1, min(len(rows), _LANDMARK_ROWS), dtype=torch.float64)
    sample = rows[order[places.round().long().to(rows.device)]]
    sample = sample.double() if sample.is_floating_point() else sample
    maps, residual = [], 0.0
    for kernel in grid:
        factor = kernel.factor(sample, rank, _LANDMARK_TOL)
        residual = max(residual, factor.relative_residual)
        maps.append(Nystroem(kernel=kernel, n_features=rank).fit(sample[factor.pivots]))
    return maps, residual
