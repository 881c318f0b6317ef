"""Are two variables independent: a test whose p-value is valid at every sample size."""

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ShapeError, TriviumWarning
from trivium._core.random import RandomState, check_seed
from trivium.dependence.compression import compress
from trivium.dependence.pair import Pair, as_pair
from trivium.dependence.permutation import (
    Permutations,
    exceedances,
    factor_null,
    gram_null,
    permutation_p_value,
)
from trivium.dependence.result import TestResult
from trivium.dependence.sums import GramSums, factor_sums, gram_sums
from trivium.kernel import Kernel

__all__ = ["independence_test"]

_NULLS = ("permutation",)
_GRAM_ROWS = 1000
_EXACT = 1e-12
_RANKS = (64, 100)  # up to 1,000 rows, where the complete Gram matrix is the other way; above


def independence_test(
    x: Any,
    y: Any,
    kernel_x: Kernel | str = "auto",
    kernel_y: Kernel | str = "auto",
    null: str = "permutation",
    n_permutations: int = 1000,
    groups: Any = None,
    random_state: RandomState = 0,
) -> TestResult:
    r"""Test independence of two variables by HSIC and permutations of the rows of y.

    $p = (1 + \#\{b : T_b \ge T_0\}) / (1 + B)$, ties against rejection: never 0, and
    $P(p \le \alpha) \le \alpha$ under independence whatever the kernels, the distribution and the
    number of rows. Up to 1,000 rows the Gram matrices are complete (or their factors exact to
    1e-12); above, the statistic is $\lVert \mathrm{cov}(\varphi(x), \psi(y)) \rVert_F^2$ of
    incomplete Cholesky factors, and the level is exact whatever they leave out. When no more than
    `n_permutations + 1` orders of the rows exist, all are compared.

    The rows are put in order of their values first, so the p-value does not depend on the order
    in which they come.

    Args:
        x: Tensor or array, `(n,)` or `(n, d)`.
        y: The same, with as many rows.
        kernel_x: A kernel, or `"auto"` as for `hsic`. A kernel chosen by looking at the relation
            of x and y makes the p-value invalid.
        kernel_y: The same for y.
        null: `"permutation"`.
        n_permutations: Random permutations, at least 1.
        groups: One label for each row; rows change places within a group only, which tests
            independence given the group.
        random_state: Seed.

    Returns:
        The result; `residual` is the largest share of a kernel's trace left out.

    Raises:
        ArgumentError: An argument breaks its rule, or every group has one row.
        ShapeError: Rows that do not match.
        DataError: Fewer than 4 rows, or a value that is not finite.

    Warns:
        TriviumWarning: A constant variable or a kernel that finds no two rows alike (p = 1), a
            median distance of zero, groups of size one.

    Cost:
        Complete Gram: O(B n²) time, O(n²) memory. Factors: O(n r s B) time, O(n (r + s)) memory.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 60)
        >>> independence_test(x, x**2, n_permutations=199).p_value
        0.005

    Source:
        Gretton et al., A kernel statistical test of independence (2007); Phipson and Smyth (2010)
        for the p-value.
    """
    check_choice("independence_test", "null", null, _NULLS)
    count = int(
        check_number(
            "independence_test", "n_permutations", n_permutations, "positive", integer=True
        )
    )
    pair = as_pair("independence_test", x, y, kernel_x, kernel_y)
    blocks = _groups(groups, pair.n_rows)
    seed = check_seed(random_state)
    pair, blocks = _sorted(pair, blocks)
    orders = Permutations(pair.n_rows, count, blocks, seed)
    if pair.constant:
        names = " and ".join(pair.constant)
        _tell(f"{names} must vary; got equal rows, so p = 1")
        nothing = torch.zeros(orders.count + 1)
        return _result(pair, orders, nothing, (0.0, 0.0, 0.0, 0.0), "constant")
    sums, values, residual, route = _compare(pair, orders)
    both, own_x, own_y = sums
    spread = [float(each.estimate("unbiased")) for each in (own_x, own_y)]
    for name, own in zip("xy", spread, strict=True):
        if own <= 0:
            _tell(
                f"kernel_{name} must tell rows of {name} apart and alike; it finds all alike "
                "or no two alike, so the test has no power"
            )
    scale = (max(spread[0], 0.0) * max(spread[1], 0.0)) ** 0.5
    sizes = (float(both.estimate("biased")), float(both.estimate("unbiased")), scale, residual)
    return _result(pair, orders, values, sizes, route)


def _tell(message: str) -> None:
    warnings.warn(f"independence_test: {message}", TriviumWarning, stacklevel=3)


def _groups(groups: Any, n: int) -> NDArray[np.int64] | None:
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ShapeError(
            f"independence_test: groups must have one label for each of {n} rows; "
            f"got shape {labels.shape}"
        )
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    single = int((sizes == 1).sum())
    if 0 < single < len(sizes):
        _tell(f"groups: {single} of {len(sizes)} groups have one row, which cannot move")
    return codes.astype(np.int64)


def _sorted(pair: Pair, groups: NDArray[np.int64] | None) -> tuple[Pair, NDArray[np.int64] | None]:
    """Put the rows in order of group, x and y, so that the order given does not matter."""
    columns = [c for rows in (pair.y, pair.x) for c in rows.detach().cpu().numpy().T[::-1]]
    order = np.lexsort(columns if groups is None else [*columns, groups])
    moved = pair.take(torch.from_numpy(order).to(pair.x.device))
    return moved, None if groups is None else groups[order]


def _compare(
    pair: Pair, orders: Permutations
) -> tuple[tuple[GramSums, GramSums, GramSums], Float[Tensor, " b"], float, str]:
    """Sums, statistic of every order, residual, and the route in words."""
    with torch.no_grad():
        small = pair.n_rows <= _GRAM_ROWS
        tol = _EXACT if small else 1e-2 / pair.n_rows
        sides = [
            kernel.factor(_wide(rows), _RANKS[0 if small else 1], tol)
            for kernel, rows in ((pair.kernel_x, pair.x), (pair.kernel_y, pair.y))
        ]
        residual = max(side.relative_residual for side in sides)
        if small and residual > _EXACT:
            first = pair.kernel_x.gram(_wide(pair.x)).double()
            second = pair.kernel_y.gram(_wide(pair.y)).double()
            sums = (gram_sums(first, second), gram_sums(first, first), gram_sums(second, second))
            return sums, gram_null(first, second, orders), 0.0, "complete Gram matrices"
        phi, psi = (side.values.double().mT.contiguous() for side in sides)
        sums = (factor_sums(phi, psi), factor_sums(phi, phi), factor_sums(psi, psi))
        if not small:
            phi, psi = (compress(each[None], tol, torch.float32)[0] for each in (phi, psi))
        values = factor_null(phi, psi.T, orders)[0]
        return sums, values, residual, f"factors of rank {len(phi)} and {len(psi)}"


def _wide(rows: Tensor) -> Tensor:
    return rows.double() if rows.is_floating_point() else rows


def _result(
    pair: Pair,
    orders: Permutations,
    values: Float[Tensor, " b"],
    sizes: tuple[float, float, float, float],
    route: str,
) -> TestResult:
    biased, unbiased, scale, residual = sizes
    drawn = values[1:]
    number = "all" if orders.enumerated else str(orders.count)
    band = float(torch.quantile(drawn.double(), 0.95) - drawn.double().mean())
    return TestResult(
        statistic=max(0.0, biased),
        statistic_unbiased=unbiased,
        cka=unbiased / scale if scale > 0 else 0.0,
        p_value=permutation_p_value(int(exceedances(drawn, values[0])), orders.count),
        method=f"HSIC, {route}, {number} permutations",
        n_rows=pair.n_rows,
        n_effective=orders.movable,
        n_permutations=orders.count,
        lengthscales=pair.lengthscales,
        kernels=(repr(pair.kernel_x), repr(pair.kernel_y)),
        null=drawn.double().cpu().numpy(),
        null_band=band / scale if scale > 0 else 0.0,
        residual=residual,
    )
