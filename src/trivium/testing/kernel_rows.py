"""Rows that a kernel can serve, for laws and examples."""

import numpy as np
import torch
from torch import Tensor

from trivium._core.errors import DataError
from trivium.kernel.base import Kernel

__all__ = ["kernel_rows", "rows_apart"]


def kernel_rows(
    kernel: Kernel,
    n: int = 24,
    n_columns: int = 3,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Return rows that `kernel` can serve: vectors, codes, texts or row numbers.

    Args:
        kernel: Its `inputs` decides.
        n: Rows.
        n_columns: Columns of vectors, characters of the longest text.
        seed: Seed of the draw.
        dtype: Type of vectors and codes.

    Raises:
        DataError: `kernel.inputs` is not one of the four kinds.
    """
    rng = np.random.default_rng(seed)
    if kernel.inputs == "vectors":
        return torch.from_numpy(rng.standard_normal((n, n_columns))).to(dtype)
    if kernel.inputs == "codes":
        return torch.from_numpy(rng.integers(0, 4, (n, 1))).to(dtype)
    if kernel.inputs == "texts":
        letters = torch.from_numpy(rng.integers(97, 100, (n, n_columns)))
        ends = torch.from_numpy(rng.integers(0, n_columns + 1, (n, 1)))
        return letters.masked_fill(torch.arange(n_columns) >= ends, -1)
    if kernel.inputs == "matrix":
        return torch.from_numpy(rng.permutation(n))
    raise DataError(
        "kernel_rows: inputs must be 'vectors', 'codes', 'texts' or 'matrix'; "
        f"got {kernel.inputs!r}"
    )


def rows_apart(x: Tensor, n: int) -> Tensor:
    """Return n of the rows, as far from kinks as any: from zero, the median and one another.

    Args:
        x: Rows of numbers.
        n: How many.
    """
    flat = x.detach().double().reshape(len(x), -1)
    chosen: list[int] = []
    kinks = torch.stack((torch.zeros_like(flat[0]), flat.median(0).values))
    gaps = torch.cdist(flat, kinks).amin(1)
    for _ in range(min(n, len(x))):
        chosen.append(int(gaps.argmax()))
        gaps = torch.minimum(gaps, torch.cdist(flat, flat[chosen[-1:]])[:, 0])
    return x[chosen]
