"""The Hilbert-Schmidt independence criterion: how far a joint distribution is from a product."""

import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import TriviumWarning
from trivium.dependence.pair import Pair, as_pair
from trivium.dependence.sums import GramSums, factor_sums
from trivium.dependence.tiled import BUDGET, tiled_sums
from trivium.kernel import Kernel

__all__ = ["hsic"]

_EXACT_ROWS = 20_000
_FACTOR_BYTES = 256 * 2**20
_RANK = 200
_TELL = 1e-3


def hsic(
    x: Any,
    y: Any,
    kernel_x: Kernel | str = "auto",
    kernel_y: Kernel | str = "auto",
    estimator: str = "unbiased",
    normalize: str | None = None,
    method: str = "auto",
    budget: int = BUDGET,
) -> Float[Tensor, ""]:
    r"""HSIC of two variables, differentiable, in tiles under a memory budget.

    $\mathrm{HSIC} = E[k l] + E[k] E[l] - 2 E[E[k] E[l]]$, zero exactly under independence for
    characteristic kernels. From n rows, with H the centering matrix:

    - `"biased"`: $\mathrm{tr}(K H L H) / n^2$; its bias is about $(1 - E k)(1 - E l) / n$.
    - `"n-1"`: the same over $(n - 1)^2$. Often called unbiased, and not: it changes the value by
      0.2 % at n = 1,000 and removes none of the bias.
    - `"unbiased"`: Song et al.; may be negative.

    Its size is not the strength of a dependence: it depends on the kernels and on n. Compare with
    permutations (`independence_test`) or normalize.

    Args:
        x: Tensor or array, `(n,)` or `(n, d)`; or n texts.
        y: The same, with as many rows.
        kernel_x: A kernel of `trivium.kernel`, or `"auto"`: `Delta()` for booleans, and for whole
            numbers and texts of few levels; else `Gaussian("median")`, `String()` for texts.
        kernel_y: The same for y.
        estimator: `"unbiased"`, `"biased"` or `"n-1"`.
        normalize: `None`, or `"cka"` to divide by $\sqrt{\mathrm{HSIC}(x, x) \mathrm{HSIC}(y, y)}$
            of the same estimator (with `"unbiased"`, the debiased alignment).
        method: `"exact"` (complete Gram matrices), `"factor"` (incomplete Cholesky, no gradient)
            or `"auto"`: exact up to 20,000 rows and where a gradient is wanted, factors above.
        budget: Bytes for the tiles.

    Returns:
        A scalar in the wider of the dtypes of x and y; sums are taken in float64. A lengthscale
        learned from the data is held constant in the gradient.

    Raises:
        ArgumentError: An unknown choice, neither numbers nor texts, or a kernel that cannot serve
            the rows.
        ShapeError: Rows that do not match.
        DataError: Fewer than 4 rows, a value that is not finite, or a missing text.

    Warns:
        TriviumWarning: A constant variable (the result is 0), a median distance of zero, or factors
            that leave more than 0.1 % of a kernel's trace out.

    Cost:
        Exact: O(n² d) time, O(n + budget) memory, with a gradient too (tiles are computed again).
        Factors: O(n r²) time, O(n r) memory, r at most 200.

    Example:
        >>> import torch
        >>> from trivium.kernel import Gaussian
        >>> x = torch.linspace(-1, 1, 100, dtype=torch.float64)
        >>> round(float(hsic(x, x.square(), normalize="cka")), 2)
        0.3

    Source:
        Gretton et al., Measuring statistical dependence with Hilbert-Schmidt norms (2005); Song
        et al., Feature selection via dependence maximization, JMLR 13 (2012), equation 5.
    """
    check_choice("hsic", "estimator", estimator, ("unbiased", "biased", "n-1"))
    check_choice("hsic", "method", method, ("auto", "exact", "factor"))
    if normalize is not None:
        check_choice("hsic", "normalize", normalize, ("cka",))
    check_number("hsic", "budget", budget, "positive", integer=True)
    pair = as_pair("hsic", x, y, kernel_x, kernel_y)
    if pair.constant:
        names = " and ".join(pair.constant)
        warnings.warn(
            f"hsic: {names} must vary; got equal rows, so the result is 0",
            TriviumWarning,
            stacklevel=2,
        )
        return (pair.x.sum() * 0 + pair.y.sum() * 0).to(pair.dtype)
    wants_gradient = torch.is_grad_enabled() and (pair.x.requires_grad or pair.y.requires_grad)
    if method == "auto":
        method = "exact" if wants_gradient or pair.n_rows <= _EXACT_ROWS else "factor"
    if method == "exact":
        both, own_x, own_y = tiled_sums(pair, budget, own=normalize is not None)
    else:
        both, own_x, own_y = _factored(pair)
    value = both.estimate(estimator)
    if normalize == "cka":
        value = _aligned(value, own_x.estimate(estimator), own_y.estimate(estimator))
    return value.to(pair.dtype)


def _aligned(value: Tensor, own_x: Tensor, own_y: Tensor) -> Tensor:
    """Divide by the geometric mean; 0 where a kernel tells no two rows apart."""
    if float(own_x.detach()) <= 0 or float(own_y.detach()) <= 0:
        return value * 0
    return value / (own_x * own_y).sqrt()


def _factored(pair: Pair) -> tuple[GramSums, GramSums, GramSums]:
    rank = max(1, min(_RANK, _FACTOR_BYTES // (16 * pair.n_rows)))
    sides = (("x", pair.x, pair.kernel_x), ("y", pair.y, pair.kernel_y))
    factors = []
    for name, rows, kernel in sides:
        factor = kernel.factor(rows, rank)
        if factor.relative_residual > _TELL:
            warnings.warn(
                f"hsic: {name}: {factor.values.shape[1]} features leave "
                f"{factor.relative_residual:.2g} of the kernel's trace out; "
                "method='exact' leaves none",
                TriviumWarning,
                stacklevel=3,
            )
        factors.append(factor.values.double().mT)
    phi, psi = factors
    return factor_sums(phi, psi), factor_sums(phi, phi), factor_sums(psi, psi)
