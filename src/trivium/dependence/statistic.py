"""The Hilbert-Schmidt independence criterion: how far a joint distribution is from a product."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, TriviumWarning
from trivium.dependence.block import block_estimates
from trivium.dependence.factored import (
    FeatureProducts,
    feature_products,
    features_of,
    products_sums,
)
from trivium.dependence.nocco import nocco_from_grams, nocco_from_products
from trivium.dependence.pair import LEAST_ROWS, Pair, as_pair
from trivium.dependence.tiled import BUDGET, tiled_sums
from trivium.dependence.tiling import exact
from trivium.kernel import Kernel

__all__ = ["Form", "hsic", "hsic_of"]

ESTIMATORS = ("unbiased", "biased", "n-1")
_EXACT_ROWS = 20_000
_INVERSE_ROWS = 2_000
_TELL = 1e-3
_ROUNDING = 1e-12


def hsic(  # noqa: PLR0913 - the contract's signature
    x: Any,
    y: Any,
    kernel_x: Kernel | str = "auto",
    kernel_y: Kernel | str = "auto",
    estimator: str = "unbiased",
    normalize: str | None = None,
    method: str = "auto",
    *,
    epsilon: float = 1e-3,
    block_size: int | None = None,
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
        normalize: `None`; `"cka"` to divide by $\sqrt{\mathrm{HSIC}(x, x) \mathrm{HSIC}(y, y)}$
            of the same estimator (with `"unbiased"`, the debiased alignment); or `"nocco"`,
            $\mathrm{tr}(R_X R_Y)$ with $R = HKH (HKH + n \varepsilon I)^{-1}$, which tends to a
            value that no longer depends on the kernels and has one form for every `estimator`.
        method: `"exact"` (complete Gram matrices); `"factor"` (incomplete Cholesky up to two
            columns, 400 Nyström landmarks above; no gradient); `"block"` (the mean of the
            estimate over disjoint blocks of rows); or `"auto"`: exact up to 20,000 rows (2,000
            for `"nocco"`) and where a gradient is wanted, factors above.
        epsilon: Regularization ε of `"nocco"`. Directions of a kernel whose share of the variance
            is below ε play little part.
        block_size: Rows of a block, at least 4; ⌊√n⌋ when left out. Rows are put in a random
            order of a fixed seed first.
        budget: Bytes for the tiles.

    Returns:
        A scalar in the wider of the dtypes of x and y; sums are taken in float64. A lengthscale
        learned from the data is held constant in the gradient. First and second derivatives
        (kernels of plain distances, Laplace and Matérn: first); `torch.func.grad` works,
        `torch.func.vmap` does not.

    Raises:
        ArgumentError: An unknown choice, neither numbers nor texts, a kernel that cannot serve the
            rows, `"nocco"` in blocks, or a third derivative.
        ShapeError: Rows that do not match.
        DataError: Fewer than 4 rows, a value that is not finite, or a missing text.
        ResourceError: `"nocco"` on complete matrices of more than 10,000 rows.
        NumericalError: ε of `"nocco"` is below the rounding of the centered matrices.

    Warns:
        TriviumWarning: A constant variable (the result is 0), a median distance of zero, or factors
            that leave more than 0.1 % of a kernel's trace out (a tenth of ε for `"nocco"`).

    Cost:
        Exact: O(n² d) time, O(n d + budget) memory, with a gradient too (tiles are computed again).
        Factors: O(n r (r + d)) time, O(n r) memory up to two columns and O(n) above. Blocks:
        O(n block_size d) time. `"nocco"` on complete matrices: O(n³) time, O(n²) memory.

    Example:
        >>> import torch
        >>> from trivium.kernel import Gaussian
        >>> x = torch.linspace(-1, 1, 100, dtype=torch.float64)
        >>> round(float(hsic(x, x.square(), normalize="cka")), 2)
        0.3

    Source:
        Gretton et al., Measuring statistical dependence with Hilbert-Schmidt norms (2005); Song
        et al., Feature selection via dependence maximization, JMLR 13 (2012), equation 5;
        Fukumizu et al., Kernel measures of conditional dependence (2008); Zhang et al.,
        Large-scale kernel methods for independence testing (2018).
    """
    form = Form(estimator, normalize, method, epsilon, block_size, budget)
    pair = as_pair("hsic", x, y, kernel_x, kernel_y)
    if pair.constant:
        names = " and ".join(pair.constant)
        warnings.warn(
            f"hsic: {names} must vary; got equal rows, so the result is 0",
            TriviumWarning,
            stacklevel=2,
        )
    return hsic_of(pair, form)


@dataclass(frozen=True)
class Form:
    """Which number `hsic` returns and how it is computed; its arguments after the kernels.

    Raises:
        ArgumentError: An argument breaks its rule.
    """

    estimator: str = "unbiased"
    normalize: str | None = None
    method: str = "auto"
    epsilon: float = 1e-3
    block_size: int | None = None
    budget: int = BUDGET

    def __post_init__(self) -> None:
        check_choice("hsic", "estimator", self.estimator, ESTIMATORS)
        check_choice("hsic", "method", self.method, ("auto", "exact", "factor", "block"))
        if self.normalize is not None:
            check_choice("hsic", "normalize", self.normalize, ("cka", "nocco"))
        check_number("hsic", "epsilon", self.epsilon, "positive")
        check_number("hsic", "budget", self.budget, "positive", integer=True)
        if self.block_size is not None:
            size = check_number("hsic", "block_size", self.block_size, "positive", integer=True)
            if size < LEAST_ROWS:
                raise ArgumentError(f"hsic: block_size must be at least {LEAST_ROWS}; got {size}")
        if self.normalize == "nocco" and self.method == "block":
            raise ArgumentError(
                "hsic: method must be 'auto', 'exact' or 'factor' with normalize='nocco'; "
                "got 'block'"
            )


def hsic_of(pair: Pair, form: Form) -> Float[Tensor, ""]:
    """Return HSIC of a checked pair; 0, with gradient 0, where a variable is constant."""
    if pair.constant:
        return (pair.x[:0].sum() + pair.y[:0].sum()).to(pair.dtype)
    with exact(pair.x):
        value = _nocco(pair, form) if form.normalize == "nocco" else _estimate(pair, form)
    return value.to(pair.dtype)


def _estimate(pair: Pair, form: Form) -> Tensor:
    wants_own = form.normalize is not None
    method = _method(pair, form, _EXACT_ROWS)
    if method == "block":
        value, own_x, own_y = block_estimates(
            pair, form.estimator, form.block_size, form.budget, own=wants_own
        )
    else:
        sums = (
            tiled_sums(pair, form.budget, own=wants_own)
            if method == "exact"
            else products_sums(_products(pair, _TELL))
        )
        value, own_x, own_y = (each.estimate(form.estimator) for each in sums)
    return _aligned(value, own_x, own_y) if wants_own else value


def _method(pair: Pair, form: Form, most_rows: int) -> str:
    if form.method != "auto":
        return form.method
    wants_gradient = torch.is_grad_enabled() and (pair.x.requires_grad or pair.y.requires_grad)
    return "exact" if wants_gradient or pair.n_rows <= most_rows else "factor"


def _aligned(value: Tensor, own_x: Tensor, own_y: Tensor) -> Tensor:
    """Divide by the geometric mean; 0 where a kernel tells no two rows apart."""
    if float(own_x.detach()) <= 0 or float(own_y.detach()) <= 0:
        return value * 0
    return value / (own_x * own_y).sqrt()


def _nocco(pair: Pair, form: Form) -> Tensor:
    if _method(pair, form, _INVERSE_ROWS) == "exact":
        return nocco_from_grams(pair, form.epsilon)
    tell = max(form.epsilon / 10, _ROUNDING)
    products = _products(pair, tell, min(1e-6, form.epsilon / 100))
    return nocco_from_products(products, form.epsilon)


def _products(pair: Pair, tell: float, tol: float = 1e-6) -> FeatureProducts:
    with torch.no_grad():
        phi = features_of("hsic", "x", pair.kernel_x, pair.x, tell, tol)
        psi = features_of("hsic", "y", pair.kernel_y, pair.y, tell, tol)
        return feature_products(pair, phi, psi)
