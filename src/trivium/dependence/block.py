"""HSIC as an average over disjoint blocks of rows: linear in n for a fixed block."""

import math

import torch
from torch import Tensor

from trivium._core.random import torch_generator
from trivium.dependence.pair import LEAST_ROWS, Pair
from trivium.dependence.tiled import tiled_sums

__all__ = ["block_estimates"]


def block_estimates(
    pair: Pair, estimator: str, block_size: int | None, budget: int, *, own: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return HSIC of x and y, x and x, y and y, each the mean of its estimates within blocks.

    Rows are put in a random order first (of a fixed seed: a sorted table has no independent
    blocks) and cut into ⌊n / block_size⌋ blocks whose sizes differ by at most one, so that no
    row is left out. Unbiased where `estimator` is; its variance is that of n / block_size
    independent estimates.

    Args:
        pair: The two variables, their kernels learned from all rows.
        estimator: Within the blocks.
        block_size: Rows of a block, at least 4; ⌊√n⌋ when left out.
        budget: Bytes for tiles.
        own: Whether the last two are wanted.

    Cost:
        O(n block_size d) time, O(n) memory.

    Source:
        Zhang, Filippi, Gretton and Sejdinovic, Large-Scale Kernel Methods for Independence
        Testing, Statistics and Computing 28 (2018).
    """
    n = pair.n_rows
    size = max(LEAST_ROWS, math.isqrt(n)) if block_size is None else min(block_size, n)
    order = torch.randperm(n, generator=torch_generator(0, "hsic", "blocks")).to(pair.x.device)
    found = [
        torch.stack(
            [sums.estimate(estimator) for sums in tiled_sums(pair.take(rows), budget, own=own)]
        )
        for rows in order.tensor_split(n // size)
    ]
    value, own_x, own_y = torch.stack(found).mean(0)
    return value, own_x, own_y
