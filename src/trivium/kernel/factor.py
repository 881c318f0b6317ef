"""Pivoted incomplete Cholesky: a Gram matrix as F Fᵀ, with what was left out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import NumericalError

__all__ = ["Factor", "pivoted_cholesky"]


@dataclass(frozen=True, eq=False)
class Factor:
    """Rows F with K ≈ F Fᵀ; K − F Fᵀ is positive semi-definite.

    Args:
        values: F.
        residual: Trace of K − F Fᵀ, an upper bound of its largest eigenvalue and entry.
        trace: Trace of K.
        pivots: The rows that span F, in the order chosen.
    """

    values: Float[Tensor, "n r"]
    residual: float
    trace: float
    pivots: Int64[Tensor, " r"]

    @property
    def relative_residual(self) -> float:
        """Residual as a share of the trace, in [0, 1]."""
        return self.residual / self.trace if self.trace > 0 else 0.0


def _refuse(left: Tensor, scale: float) -> None:
    # Rounding can push what is left a little below zero; an indefinite matrix pushes it far.
    lowest = float(left.min())
    if not lowest >= -scale * torch.finfo(left.dtype).eps ** 0.5:
        raise NumericalError(
            f"factor: the kernel must be positive semi-definite; a remaining diagonal entry is "
            f"{lowest:.3g} at a largest diagonal of {scale:.3g}",
            remedy="Check the kernel with trivium.testing.check_kernel, or use float64.",
        )


def pivoted_cholesky(
    diagonal: Float[Tensor, " n"],
    column: Callable[[int], Float[Tensor, " n"]],
    *,
    rank: int,
    tol: float = 1e-6,
) -> Factor:
    r"""Factor a positive semi-definite matrix of which only the diagonal and columns are computed.

    Each step takes the row with the largest remaining diagonal $d_i$ as pivot and appends
    $f = (K_{\cdot i} - F F_i^\top) / \sqrt{d_i}$. Values only: no gradient flows.

    Args:
        diagonal: Diagonal of K.
        column: Gives column i of K.
        rank: Most columns of F.
        tol: Stop when the residual is at most this share of the trace.

    Returns:
        The factor; its rank is at most `rank`, and smaller when `tol` or the precision is reached.

    Raises:
        ArgumentError: `rank` or `tol` breaks its rule.
        NumericalError: The matrix is not positive semi-definite.

    Cost:
        O(n r²) time, O(n r) memory, r columns of K.

    Example:
        >>> import torch
        >>> k = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
        >>> f = pivoted_cholesky(k.diagonal(), lambda i: k[:, i], rank=2).values
        >>> torch.allclose(f @ f.T, k)
        True

    Source:
        Harbrecht, Peters and Schneider, On the low-rank approximation by the pivoted Cholesky
        decomposition, Applied Numerical Mathematics 62 (2012), algorithm 1.
    """
    check_number("factor", "rank", rank, "positive", integer=True)
    check_number("factor", "tol", tol, "non-negative")
    with torch.no_grad():
        left = diagonal.detach().clone()
        scale = float(left.max())
        _refuse(left, max(scale, -float(left.min())))
        trace = float(left.sum())
        floor = scale * torch.finfo(left.dtype).eps * 8
        rows = left.new_empty(min(rank, len(left)), len(left))
        pivots: list[int] = []
        while len(pivots) < len(rows) and float(left.sum()) > tol * trace:
            pivot = int(left.argmax())
            root = float(left[pivot])
            if root <= floor:
                break
            root **= 0.5
            done = rows[: len(pivots)]
            row = (column(pivot).detach() - done[:, pivot] @ done).div_(root)
            row[pivot] = root
            row[pivots] = 0
            rows[len(pivots)] = row
            left = left.sub_(row.square())
            left[[*pivots, pivot]] = 0
            _refuse(left, scale)
            left.clamp_min_(0)
            pivots.append(pivot)
    chosen = torch.tensor(pivots, dtype=torch.int64, device=left.device)
    return Factor(rows[: len(pivots)].mT, float(left.sum()), trace, chosen)
