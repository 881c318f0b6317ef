r"""The normalized cross-covariance operator: dependence with each kernel's spectrum divided out."""

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.errors import NumericalError, ResourceError
from trivium.dependence.factored import FeatureProducts
from trivium.dependence.pair import Pair

__all__ = ["nocco_from_grams", "nocco_from_products"]

_MOST_ROWS = 10_000


def nocco_from_grams(pair: Pair, epsilon: float) -> Float[Tensor, ""]:
    r"""Return $\mathrm{tr}(R_X R_Y)$, $R = \bar K (\bar K + n \varepsilon I)^{-1}$, differentiably.

    $\bar K = H K H$ is the centered Gram matrix.

    Args:
        pair: The two variables.
        epsilon: ε, positive.

    Raises:
        ResourceError: More than 10,000 rows.
        NumericalError: ε is below the rounding of the centered matrices.

    Cost:
        O(n³) time, O(n²) memory, in float64.

    Source:
        Fukumizu et al., Kernel Measures of Conditional Dependence (2008).
    """
    n = pair.n_rows
    if n > _MOST_ROWS:
        raise ResourceError(
            f"hsic: normalize='nocco' must have at most {_MOST_ROWS} rows on complete matrices "
            f"(inverses of n × n); got {n}",
            remedy="Use method='factor', or mini-batches for a gradient.",
        )
    first, second = (
        _regularized(kernel.gram(rows.double() if rows.is_floating_point() else rows), epsilon)
        for kernel, rows in ((pair.kernel_x, pair.x), (pair.kernel_y, pair.y))
    )
    return (first * second).sum()


def _regularized(gram: Tensor, epsilon: float) -> Tensor:
    n, gram = len(gram), gram.double()
    centered = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    shifted = centered + n * epsilon * torch.eye(n, dtype=gram.dtype, device=gram.device)
    return torch.cholesky_solve(centered, _root(shifted, epsilon))


def _root(shifted: Tensor, epsilon: float) -> Tensor:
    root, failed = torch.linalg.cholesky_ex(shifted)
    if int(failed):
        raise NumericalError(
            "hsic: epsilon must be above the rounding of the centered matrices; got "
            f"{epsilon:g}, with which one of them is not positive definite",
            remedy="Raise epsilon.",
        )
    return root


def nocco_from_products(products: FeatureProducts, epsilon: float) -> Float[Tensor, ""]:
    """Return the same from features, in O(r³): the operators act on the span of the features.

    Args:
        products: Sums over the rows.
        epsilon: ε, positive.

    Raises:
        NumericalError: ε is below the rounding of the centered products.
    """
    n = products.n
    mean_x, mean_y = products.sum_x / n, products.sum_y / n
    roots = [
        _root(
            both - n * torch.outer(mean, mean) + n * epsilon * torch.eye(len(mean)).to(mean),
            epsilon,
        )
        for both, mean in ((products.xx, mean_x), (products.yy, mean_y))
    ]
    cross = products.xy - n * torch.outer(mean_x, mean_y)
    half = torch.linalg.solve_triangular(roots[0], cross, upper=False)
    whole = torch.linalg.solve_triangular(roots[1], half.mT, upper=False)
    return whole.square().sum()
