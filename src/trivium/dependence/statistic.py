"""The Hilbert-Schmidt independence criterion: how far a joint distribution is from a product."""

import math
import warnings
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import TriviumWarning
from trivium.dependence.pair import Pair, as_pair
from trivium.dependence.sums import GramSums, factor_sums
from trivium.kernel import Kernel

__all__ = ["hsic"]

_EXACT_ROWS = 20_000
_BUDGET = 64 * 2**20
_BUFFERS = 12
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
    budget: int = _BUDGET,
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


def tiled_sums(
    pair: Pair, budget: int = _BUDGET, *, own: bool = False
) -> tuple[GramSums, GramSums, GramSums]:
    """Return the sums over K and L, K and K, L and L, a tile at a time.

    Tiles above the diagonal count twice. With a gradient, each tile is computed again on the way
    back instead of being kept.

    Args:
        pair: The two variables.
        budget: Bytes for the tiles.
        own: Whether the last two are wanted; else their inner sums are 0.
    """
    n = pair.n_rows
    side = max(1, min(1024, n, math.isqrt(budget // (_BUFFERS * pair.dtype.itemsize))))
    device = pair.x.device
    inner = torch.zeros(3, dtype=torch.float64, device=device)
    rows = torch.zeros(2, n, dtype=torch.float64, device=device)
    graph = torch.is_grad_enabled() and (pair.x.requires_grad or pair.y.requires_grad)
    for top in range(0, n, side):
        for left in range(top, n, side):
            down, across = slice(top, min(top + side, n)), slice(left, min(left + side, n))
            work = partial(_tile, pair.kernel_x, pair.kernel_y, pair.dtype, down, across, own)
            if graph:
                sums, by_row, by_column = checkpoint(work, pair.x, pair.y, use_reentrant=False)
            else:
                sums, by_row, by_column = work(pair.x, pair.y)
            inner = inner + (1 if top == left else 2) * sums
            rows[:, down] += by_row
            if top != left:
                rows[:, across] += by_column
    diagonal_x = pair.kernel_x.diagonal(pair.x).double()
    diagonal_y = pair.kernel_y.diagonal(pair.y).double()
    return (
        GramSums(inner[0], rows[0], rows[1], diagonal_x, diagonal_y),
        GramSums(inner[1], rows[0], rows[0], diagonal_x, diagonal_x),
        GramSums(inner[2], rows[1], rows[1], diagonal_y, diagonal_y),
    )


def _tile(
    kernel_x: Kernel,
    kernel_y: Kernel,
    dtype: torch.dtype,
    down: slice,
    across: slice,
    own: bool,
    x: Tensor,
    y: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Inner sums (3,) and sums by row and by column (2, ...) of one tile of both matrices."""
    grams = []
    for kernel, rows in ((kernel_x, x), (kernel_y, y)):
        other = None if down == across else rows[across]
        grams.append(kernel.gram(rows[down], other).to(dtype))
    first, second = grams
    pairs = [(first, second)] + ([(first, first), (second, second)] if own else [])
    sums = [(a * b).sum(dtype=torch.float64) for a, b in pairs]
    sums += [torch.zeros_like(sums[0])] * (3 - len(sums))
    by_row = torch.stack([gram.sum(1, dtype=torch.float64) for gram in grams])
    by_column = torch.stack([gram.sum(0, dtype=torch.float64) for gram in grams])
    return torch.stack(sums), by_row, by_column
