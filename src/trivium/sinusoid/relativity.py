"""How much of a bilinear form of position vectors depends on the offset alone."""

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_finite, check_shapes
from trivium._core.errors import ArgumentError, ShapeError

__all__ = ["relativity", "toeplitz_share"]


def relativity(
    positions: Float[Tensor, "n d"], hessian: Float[Tensor, "*h d d"] | None = None
) -> Float[Tensor, "*h"]:
    r"""Return the share of the variance of P H Pᵀ that is Toeplitz, a function of m − n.

    1 for sinusoidal P with H = I, and with any H of 2 × 2 blocks that commute with rotations,
    $\begin{pmatrix} a & b \\ -b & a \end{pmatrix}$ for each frequency. A share in [0, 1] that
    depends on the number of positions: offsets far from zero have few pairs.

    Args:
        positions: P, one row for each position in order.
        hessian: H, of one head or of several; the identity by default.

    Returns:
        One share for each head, in float64, with a gradient.

    Raises:
        ArgumentError: Not a real floating tensor.
        ShapeError: Axes that do not fit, or fewer than two positions.
        DataError: A value is not finite.

    Cost:
        O(h (n d² + n² d)) time, O(h n²) memory.

    Example:
        >>> from trivium.kernel.spectral import Geometric, cos_sin
        >>> pairs = cos_sin(torch.arange(64), Geometric().frequencies(16), torch.float64)
        >>> P = torch.stack(pairs, -1).flatten(1)
        >>> round(relativity(P).item(), 6)
        1.0
        >>> H = torch.rand(32, generator=torch.Generator().manual_seed(0)).diag()
        >>> 0.5 < relativity(P, H).item() < 1
        True

    Source:
        Su, Transformer upgrade road 1 (2021), sections 2 to 4, for the form and its conditions.
    """
    values = _real("relativity", "positions", positions)
    axes = {"positions": (positions, "n d")}
    if hessian is None:
        check_shapes("relativity", axes)
        return toeplitz_share(values @ values.mT)
    middle = _real("relativity", "hessian", hessian)
    check_shapes("relativity", {**axes, "hessian": (hessian, "... d d")})
    return toeplitz_share(values @ middle @ values.mT)


def toeplitz_share(
    matrix: Float[Tensor, "*h n n"], *, diagonal: bool = True
) -> Float[Tensor, "*h"]:
    r"""Return the share of a matrix's variance that its diagonals' means explain.

    $1 - \sum_{mn} (M_{mn} - \bar M_{m-n})^2 / \sum_{mn} (M_{mn} - \bar M)^2$.

    Args:
        matrix: M, square, of one head or of several.
        diagonal: Whether the main diagonal counts; a mixed second derivative has none.

    Returns:
        The share in float64, with a gradient; 1, with none, for a constant matrix.

    Raises:
        ArgumentError: Not a real floating tensor.
        ShapeError: Not square, or smaller than 2 × 2.
        DataError: A value is not finite.

    Example:
        >>> toeplitz_share(torch.tensor([[1.0, 2.0], [3.0, 1.0]])).item()
        1.0
    """
    values = _real("toeplitz_share", "matrix", matrix)
    n = check_shapes("toeplitz_share", {"matrix": (matrix, "... n n")})["n"]
    if n < 2:
        raise ShapeError(f"toeplitz_share: matrix must be 2 x 2 or larger; got {n} x {n}")
    offsets = torch.arange(n, device=values.device)
    offsets = (offsets[:, None] - offsets + n - 1).reshape(-1)
    flat = values.reshape(-1, n * n)
    if not diagonal:
        keep = offsets != n - 1
        flat, offsets = flat[:, keep], offsets[keep]
    flat = flat - flat.mean(1, keepdim=True)  # first, so that the sums below do not cancel
    counts = torch.bincount(offsets, minlength=2 * n - 1).clamp_min(1)
    sums = flat.new_zeros(len(flat), 2 * n - 1).index_add_(1, offsets, flat)
    means = sums / counts
    total = flat.square().sum(1)
    left = (flat - means[:, offsets]).square().sum(1)
    # Rounding of a constant is no variance.
    largest = values.detach().reshape(-1, n * n).abs().amax(1)
    still = total.detach() <= n * n * (1e-15 * largest).square()
    share = 1 - left / torch.where(still, 1.0, total)
    return torch.where(still, 1.0, share).reshape(values.shape[:-2])


def _real(caller: str, name: str, value: Tensor) -> Tensor:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        found = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ArgumentError(f"{caller}: {name} must be a real floating tensor; got {found}")
    check_finite(caller, name, value)
    return value.double()
