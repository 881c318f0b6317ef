"""One policy for positive semi-definite matrices: symmetrize, then a ladder of jitter, then say.

Everything is done in the dtype given; the callers choose float64 for what must not cancel.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import NumericalError

__all__ = ["PSDFactor", "cholesky_psd", "condition_number", "eigh_psd"]

JITTERS = (0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4)


@dataclass(frozen=True)
class PSDFactor:
    """Lower Cholesky factor of `A + jitter * mean(diag A) * I`."""

    lower: Float[Tensor, "d d"]
    jitter: float

    def solve(self, right: Float[Tensor, "d k"]) -> Float[Tensor, "d k"]:
        """Return `(A + jitter)^-1 right`."""
        return torch.cholesky_solve(right, self.lower)

    def log_det(self) -> Tensor:
        """Return the log-determinant of the factored matrix."""
        return 2 * self.lower.diagonal().log().sum()


def _finite(caller: str, matrix: Tensor) -> Tensor:
    if not bool(torch.isfinite(matrix).all()):
        raise NumericalError(
            f"{caller}: the matrix must be finite; it has "
            f"{counted(int((~torch.isfinite(matrix)).sum()), 'entry')} not finite",
            remedy="Scale the columns, or pass float64 data.",
        )
    return matrix


def _checked(caller: str, matrix: Tensor) -> Tensor:
    return _finite(caller, (matrix + matrix.mT) / 2)


def cholesky_psd(caller: str, matrix: Float[Tensor, "d d"]) -> PSDFactor:
    """Factor a positive semi-definite matrix, adding the least jitter of the ladder that works.

    Raises:
        NumericalError: Not finite, or indefinite beyond the top of the ladder; the message has
            the smallest eigenvalue.
    """
    symmetric = _checked(caller, matrix)
    scale = symmetric.diagonal().abs().mean().clamp_min(torch.finfo(matrix.dtype).tiny)
    eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for jitter in JITTERS:
        lower, info = torch.linalg.cholesky_ex(symmetric + jitter * scale * eye)
        if int(info) == 0 and bool(torch.isfinite(lower).all()):
            return PSDFactor(lower, jitter)
    smallest = float(torch.linalg.eigvalsh(symmetric)[0])
    raise NumericalError(
        f"{caller}: the matrix must be positive semi-definite; its smallest eigenvalue is "
        f"{smallest:.3g} at a mean diagonal of {float(scale):.3g}",
        remedy="Add a ridge, drop duplicate columns, or use float64.",
    )


def eigh_psd(
    caller: str, matrix: Float[Tensor, "d d"], *, lower: bool = False
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Eigenvalues (ascending, negatives set to zero) and eigenvectors of a PSD matrix.

    Args:
        caller: Public name, to put in front of messages.
        matrix: The matrix.
        lower: Whether only its lower triangle is meant; else it is symmetrized first.

    Raises:
        NumericalError: Not finite, or negative beyond rounding.
    """
    symmetric = _finite(caller, matrix) if lower else _checked(caller, matrix)
    values, vectors = torch.linalg.eigh(symmetric)
    largest = float(values.abs().max()) if len(values) else 0.0
    # A float64 sum of float32 products is indefinite by their rounding.
    floor = -largest * max(len(values) * torch.finfo(matrix.dtype).eps * 16, 1e-6)
    if len(values) and float(values[0]) < floor:
        raise NumericalError(
            f"{caller}: the matrix must be positive semi-definite; its smallest eigenvalue is "
            f"{float(values[0]):.3g}, its largest {largest:.3g}",
            remedy="Check that the weights are non-negative, or use float64.",
        )
    return values.clamp_min(0), vectors


def condition_number(values: Float[Tensor, " d"]) -> float:
    """Largest over smallest of non-negative eigenvalues; infinite for a singular matrix."""
    low, high = float(values.min()), float(values.max())
    return high / low if low > 0 else float("inf")
