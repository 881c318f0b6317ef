"""The sums that HSIC is made of, from features of both kernels, a block of rows at a time."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import TriviumWarning
from trivium.dependence.pair import Pair
from trivium.dependence.sums import GramSums
from trivium.kernel import Kernel, Nystroem

__all__ = ["FeatureProducts", "feature_products", "features_of", "products_sums"]

_CHOLESKY_COLUMNS = 2
_CHOLESKY_RANK = 200
_CHOLESKY_BYTES = 128 * 2**20
_LANDMARKS = 400
_BLOCK = 4096

Features = Callable[[slice], Float[Tensor, "m r"]]


@dataclass(frozen=True)
class FeatureProducts:
    """Sums of features φ of x and ψ of y over the rows, in float64.

    Args:
        phi: Features of a slice of the rows of x.
        psi: Features of a slice of the rows of y.
        sum_x: Σ φ.
        sum_y: Σ ψ.
        xx: Σ φφᵀ.
        yy: Σ ψψᵀ.
        xy: Σ φψᵀ.
        n: Rows.
    """

    phi: Features
    psi: Features
    sum_x: Float[Tensor, " r"]
    sum_y: Float[Tensor, " s"]
    xx: Float[Tensor, "r r"]
    yy: Float[Tensor, "s s"]
    xy: Float[Tensor, "r s"]
    n: int


def features_of(
    caller: str, name: str, kernel: Kernel, rows: Tensor, tell: float, tol: float = 1e-6
) -> Features:
    """Return features of a kernel on these rows, and say what they leave out.

    Up to two columns, and for codes and stored matrices, incomplete Cholesky: its pivots reach
    `tol` within the rank. In more columns its greedy pivots are the outliers, and Nyström with
    as many random landmarks leaves less out at a tenth of the time.

    Args:
        caller: The public name that was called.
        name: The variable's name.
        kernel: Resolved.
        rows: All rows.
        tell: Share of the trace left out above which a warning says so.
        tol: Share of the trace at which incomplete Cholesky stops.

    Warns:
        TriviumWarning: More than `tell` is left out.
    """
    n = len(rows)
    if kernel.inputs == "vectors" and rows.shape[1] > _CHOLESKY_COLUMNS:
        fitted = Nystroem(kernel=kernel, n_features=min(_LANDMARKS, n)).fit(rows)
        rank = fitted.n_features

        def features(part: slice) -> Tensor:
            return fitted.transform(rows[part]).double()

        left = _left_out(kernel, rows, features)
    else:
        room = _CHOLESKY_BYTES // (rows.element_size() * n)
        factor = kernel.factor(rows, max(1, min(_CHOLESKY_RANK, room)), tol)
        rank, left = factor.values.shape[1], factor.relative_residual

        def features(part: slice) -> Tensor:
            return factor.values[part].double()

    if left > tell:
        warnings.warn(
            f"{caller}: {name}: {counted(rank, 'feature')} leave {left:.2g} of the kernel's trace "
            "out; "
            "method='exact' leaves none",
            TriviumWarning,
            stacklevel=5,
        )
    return features


def _blocks(n: int) -> list[slice]:
    return [slice(at, min(at + _BLOCK, n)) for at in range(0, n, _BLOCK)]


def _left_out(kernel: Kernel, rows: Tensor, features: Features) -> float:
    """Share of the trace that features leave out, from a block of rows spread over all."""
    step = -(-len(rows) // _BLOCK)
    part = slice(0, len(rows), step)
    whole = float(kernel.diagonal(rows[part]).double().sum())
    kept = float(features(part).square().sum())
    return max(0.0, 1 - kept / whole) if whole > 0 else 0.0


def feature_products(pair: Pair, phi: Features, psi: Features) -> FeatureProducts:
    """Sum the products of features, in O(n r s) time and O(r s + block) memory."""
    first, second = phi(slice(0, 1)), psi(slice(0, 1))
    r, s = first.shape[1], second.shape[1]
    sum_x, sum_y = first.new_zeros(r), first.new_zeros(s)
    xx, yy, xy = first.new_zeros(r, r), first.new_zeros(s, s), first.new_zeros(r, s)
    for part in _blocks(pair.n_rows):
        left, right = phi(part), psi(part)
        sum_x += left.sum(0)
        sum_y += right.sum(0)
        xx.addmm_(left.mT, left)
        yy.addmm_(right.mT, right)
        xy.addmm_(left.mT, right)
    return FeatureProducts(phi, psi, sum_x, sum_y, xx, yy, xy, pair.n_rows)


def products_sums(products: FeatureProducts) -> tuple[GramSums, GramSums, GramSums]:
    """Return the sums over K and L, K and K, L and L, from a second pass for rows and diagonals."""
    sides = []
    for features, total in ((products.phi, products.sum_x), (products.psi, products.sum_y)):
        rows, diagonal = (total.new_empty(products.n) for _ in range(2))
        for part in _blocks(products.n):
            block = features(part)
            rows[part] = block @ total
            diagonal[part] = block.square().sum(1)
        sides.append((rows, diagonal))
    (row_x, diagonal_x), (row_y, diagonal_y) = sides
    return (
        GramSums(products.xy.square().sum(), row_x, row_y, diagonal_x, diagonal_y),
        GramSums(products.xx.square().sum(), row_x, row_x, diagonal_x, diagonal_x),
        GramSums(products.yy.square().sum(), row_y, row_y, diagonal_y, diagonal_y),
    )
