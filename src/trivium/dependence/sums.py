"""What every HSIC estimate is made of: five sums over two Gram matrices, however they are given."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

__all__ = ["GramSums", "factor_sums", "gram_sums"]


@dataclass(frozen=True)
class GramSums:
    """Sums over the Gram matrices K and L of n rows; leading axes are independent problems.

    Args:
        inner: `sum_ij K_ij L_ij`.
        row_x: Row sums of K.
        row_y: Row sums of L.
        diagonal_x: Diagonal of K.
        diagonal_y: Diagonal of L.
    """

    inner: Float[Tensor, "..."]
    row_x: Float[Tensor, "... n"]
    row_y: Float[Tensor, "... n"]
    diagonal_x: Float[Tensor, "... n"]
    diagonal_y: Float[Tensor, "... n"]

    def estimate(self, estimator: str) -> Float[Tensor, "..."]:
        """Return HSIC by `"biased"`, `"n-1"` or `"unbiased"`; see `trivium.dependence.hsic`."""
        n = self.row_x.shape[-1]
        if estimator == "unbiased":
            return self._unbiased(n)
        total = self.row_x.sum(-1) * self.row_y.sum(-1) / n**2
        cross = (self.row_x * self.row_y).sum(-1) * (2 / n)
        scale = n**2 if estimator == "biased" else (n - 1) ** 2
        return (self.inner - cross + total) / scale

    def _unbiased(self, n: int) -> Tensor:
        """Song et al., equation 5: the same sums without the diagonals."""
        inner = self.inner - (self.diagonal_x * self.diagonal_y).sum(-1)
        row_x, row_y = self.row_x - self.diagonal_x, self.row_y - self.diagonal_y
        total = row_x.sum(-1) * row_y.sum(-1) / ((n - 1) * (n - 2))
        cross = (row_x * row_y).sum(-1) * (2 / (n - 2))
        return (inner + total - cross) / (n * (n - 3))


def gram_sums(gram_x: Float[Tensor, "n n"], gram_y: Float[Tensor, "n n"]) -> GramSums:
    """Return the sums of two complete Gram matrices, in O(n²)."""
    return GramSums(
        (gram_x * gram_y).sum(),
        gram_x.sum(1),
        gram_y.sum(1),
        gram_x.diagonal(),
        gram_y.diagonal(),
    )


def factor_sums(phi: Float[Tensor, "... r n"], psi: Float[Tensor, "... s n"]) -> GramSums:
    """Return the sums of `phi' phi` and `psi' psi` without forming them, in O(n r s)."""
    return GramSums(
        (phi @ psi.mT).square().sum((-2, -1)),
        _row_sums(phi),
        _row_sums(psi),
        phi.square().sum(-2),
        psi.square().sum(-2),
    )


def _row_sums(phi: Tensor) -> Tensor:
    return (phi.sum(-1).unsqueeze(-2) @ phi).squeeze(-2)
