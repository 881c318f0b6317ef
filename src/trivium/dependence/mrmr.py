"""HSIC mRMR: columns that say much about the target and little about each other, one by one."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["greedy_mrmr", "leftmost_largest"]

_TIE = 1e-9


def leftmost_largest(scores: Float[Tensor, " d"]) -> int:
    """Return the place of the largest score; of those equal up to rounding, the leftmost."""
    return int((scores >= scores.max() - _TIE).to(torch.uint8).argmax())


def greedy_mrmr(
    relevance: Float[Tensor, " d"],
    column: Callable[[int], Float[Tensor, " d"]],
    n_features: int,
    allowed: Tensor | None = None,
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    r"""Add the column with the largest relevance minus mean redundancy, until n are chosen.

    $k_s = \arg\max_k b_k - \frac{1}{s - 1} \sum_{l \in S} A_{kl}$.

    Args:
        relevance: b, the alignment of each column with the target.
        column: Gives column k of A, the alignments with column k.
        n_features: Columns wanted.
        allowed: Columns that may be chosen; all by default.

    Returns:
        The columns in the order chosen (of equal ones the leftmost), at most as many as are
        allowed, and their scores then.

    Cost: O(d s) time and O(d) memory for s columns, beside `column`.

    Example:
        >>> import torch
        >>> a = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
        >>> greedy_mrmr(torch.tensor([0.9, 0.8, 0.3]), lambda k: a[k], 2)[0]
        (0, 2)

    Source: Peng, Long and Ding, IEEE TPAMI 27 (2005) 1226, equation 7, with normalized HSIC.
    """
    open_ = torch.ones(len(relevance), dtype=torch.bool) if allowed is None else allowed.clone()
    redundancy = torch.zeros_like(relevance)
    order: list[int] = []
    scores: list[float] = []
    while len(order) < n_features and bool(open_.any()):
        score = relevance - redundancy / max(1, len(order))
        best = leftmost_largest(torch.where(open_, score, -torch.inf))
        order.append(best)
        scores.append(float(score[best]))
        open_[best] = False
        if len(order) < n_features:
            redundancy = redundancy + column(best)
    return tuple(order), tuple(scores)
