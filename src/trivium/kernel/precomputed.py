"""A stored Gram matrix as a kernel."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_finite, check_shapes
from trivium._core.errors import ArgumentError
from trivium.kernel.base import Kernel

__all__ = ["Precomputed"]


@dataclass(frozen=True, eq=False)
class Precomputed(Kernel):
    """Kernel k(i, j) = M_ij, whose inputs are whole row numbers of a stored matrix M.

    Row numbers in place of rows keep everything else as it is: tiles, factors, permutations and
    subsets index them.

    Args:
        matrix: M, square, symmetric and finite, with a non-negative diagonal.

    Raises:
        ArgumentError: Not a float32 or float64 tensor, not symmetric, or a negative diagonal.
        ShapeError: Not square.
        DataError: A value is not finite.

    Example:
        >>> import torch
        >>> kernel = Precomputed(torch.tensor([[2.0, 1.0], [1.0, 3.0]]))
        >>> kernel.gram(kernel.rows)
        tensor([[2., 1.],
                [1., 3.]])
        >>> kernel.diagonal(torch.tensor([1, 1, 0]))
        tensor([3., 3., 2.])
    """

    matrix: Float[Tensor, "n n"]

    inputs = "matrix"
    differentiable = False

    def __post_init__(self) -> None:
        matrix = self.matrix
        if not isinstance(matrix, Tensor) or matrix.dtype not in (torch.float32, torch.float64):
            kind = matrix.dtype if isinstance(matrix, Tensor) else type(matrix).__name__
            raise ArgumentError(f"Precomputed: matrix must be a float tensor; got {kind}")
        check_shapes("Precomputed", {"matrix": (matrix, "n n")})
        check_finite("Precomputed", "matrix", matrix)
        values = matrix.detach()
        gap = float((values - values.mT).abs().max()) if len(values) else 0.0
        largest = float(values.abs().max()) if len(values) else 0.0
        if gap > 1e3 * torch.finfo(values.dtype).eps * largest:
            raise ArgumentError(
                f"Precomputed: matrix must be symmetric; its largest asymmetry is {gap:.3g}",
                remedy="Pass (M + M.T) / 2 if that is what you mean.",
            )
        if len(values) and float(values.diagonal().min()) < 0:
            raise ArgumentError(
                "Precomputed: matrix must have a non-negative diagonal; got "
                f"{float(values.diagonal().min()):.3g}"
            )

    @classmethod
    def examples(cls) -> Sequence["Precomputed"]:
        """Return a few small instances."""
        rows = torch.arange(24, dtype=torch.float64)
        return (cls(torch.exp(-0.1 * (rows[:, None] - rows).abs())),)

    @property
    def rows(self) -> Tensor:
        """All row numbers: the `x` that stands for the whole matrix."""
        return torch.arange(len(self.matrix), device=self.matrix.device)

    def _indices(self, x: Tensor) -> Tensor:
        n = len(self.matrix)
        low, high = float(x.min()), float(x.max())
        if x.is_floating_point() or x.shape[1] != 1 or low < 0 or high >= n:
            raise ArgumentError(
                f"Precomputed: x must be whole row numbers in [0, {n}), one per row; got "
                f"{x.dtype} of shape {tuple(x.shape)} in [{low:g}, {high:g}]",
                remedy="Pass kernel.rows for the whole matrix.",
            )
        return x[:, 0].long()

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        rows = self._indices(x)
        columns = rows if y is None else self._indices(y)
        return self.matrix[rows[:, None], columns[None, :]]

    def _diagonal(self, x: Tensor) -> Tensor:
        rows = self._indices(x)
        return self.matrix[rows, rows]
