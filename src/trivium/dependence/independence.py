"""Are two variables independent: a p-value exact at every sample size, and its far tail."""

import resource
import sys
import time
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, ShapeError, TriviumWarning
from trivium._core.random import RandomState, check_seed
from trivium.dependence.aggregate import (
    FACTORS,
    aggregate_null,
    check_aggregate,
    kernel_grid,
    penalties,
)
from trivium.dependence.canonical import canonical_order
from trivium.dependence.nulls import NullValues, permutation_values, shift_values
from trivium.dependence.pair import Pair, as_pair
from trivium.dependence.permutation import Permutations, exceedances, permutation_p_value
from trivium.dependence.result import TestResult
from trivium.dependence.sizes import Sizes, sizes_of, spectra_of
from trivium.dependence.tail import hsic_tails
from trivium.kernel import Kernel

__all__ = ["independence_test"]

_NULLS = ("shift", "permutation", "saddlepoint", "gamma")


@dataclass(frozen=True)
class _Plan:
    """How the null is made."""

    null: str
    count: int
    aggregate: bool | str
    seed: int
    min_lag: int | None


def independence_test(  # noqa: PLR0913, PLR0917 - the contract's signature
    x: Any,
    y: Any,
    kernel_x: Kernel | str = "auto",
    kernel_y: Kernel | str = "auto",
    null: str = "shift",
    n_permutations: int = 1000,
    aggregate: bool | str = True,
    groups: Any = None,
    random_state: RandomState = 0,
    min_lag: int | None = None,
) -> TestResult:
    r"""Test independence of two variables by HSIC.

    $p = (1 + \#\{b : T_b \ge T_0\}) / (1 + B)$ over a group of reorderings of y, ties against
    rejection: never 0, and $P(p \le \alpha) \le \alpha$ under independence whatever the
    kernels, the distribution and the number of rows. With `null="shift"` the group is that of all
    cyclic shifts after one shuffle, with random cosets where it is too small (see
    `trivium.dependence.shift.Shifts`): complete Gram matrices up to 20,000 rows (8,000 with a grid
    of lengthscales on either side), features above.

    The rows are put in order of their ranks first, so p depends neither on the order in which
    they come, nor on the unit of a column, nor on which variable is called x.

    Args:
        x: Tensor or array, `(n,)` or `(n, d)`.
        y: The same, with as many rows.
        kernel_x: A kernel, or `"auto"` as for `hsic`. A kernel chosen by looking at the relation
            of x and y makes the p-value invalid.
        kernel_y: The same for y.
        null: `"shift"`; `"permutation"`; `"saddlepoint"`: the asymptotic tail by
            `trivium.dependence.tail`, to any depth, not exact at small n; `"gamma"`: the usual
            approximation, for comparison only, too small in the tail by 3 to 30 times.
        n_permutations: Reorderings wanted, the rows as given among them for shifts; at least 1.
        aggregate: `True`: where a lengthscale is `"median"`, an eighth to twice of it are tried
            together, and the largest studentised statistic is ranked over the same group,
            still exact; lengthscales near the median are favored. `"uniform"`: without favor.
            `False`, and always for the tails: the median alone.
        groups: One label for each row; rows change places within a group only, which tests
            independence given the group. Always by permutations.
        random_state: Seed.
        min_lag: The rows are a series: they keep their order, and y is shifted by at least this
            many rows. Approximate, and only for a stationary series.

    Returns:
        The result; `statistic`, `cka` and `null_band` are those of the median kernels, `null` of
        what was ranked.

    Raises:
        ArgumentError: An argument breaks its rule, or every group has one row.
        ShapeError: Rows that do not match.
        DataError: Fewer than 4 rows, or a value that is not finite.

    Warns:
        TriviumWarning: A constant variable or a kernel that finds no two rows alike (p = 1), a
            median distance of zero, groups of size one.

    Cost:
        Shifts of complete Gram matrices: O(n² log n) time for n reorderings, O(n) memory. Features:
        O(n r s) time, O(n (r + s)) memory. Permutations: O(n r s B).

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 60)
        >>> independence_test(x, x**2, n_permutations=180).p_value
        0.005555555555555556

    Source:
        Gretton et al., A kernel statistical test of independence (2007); Koning and Hemerik,
        Biometrika 111 (2024); Albert et al., Annals of Statistics 50 (2022).
    """
    started, before = time.process_time(), _peak()
    plan, labels_given = _checked(null, n_permutations, aggregate, random_state, min_lag, groups)
    pair = as_pair("independence_test", x, y, kernel_x, kernel_y)
    labels = _groups(labels_given, pair.n_rows)
    learned = tuple(_is_learned(kernel) for kernel in (kernel_x, kernel_y))
    swap = False
    if plan.min_lag is None:
        pair, swap = canonical_order(pair, labels)
        labels = None if labels is None else np.sort(labels)
    learned = learned[::-1] if swap else learned
    with torch.no_grad():
        found = _tested(pair, learned, plan, labels)
    return replace(
        found.swapped() if swap else found,
        seconds=time.process_time() - started,
        memory=max(0, _peak() - before),
    )


def _checked(
    null: str,
    n_permutations: int,
    aggregate: bool | str,
    random_state: RandomState,
    min_lag: int | None,
    groups: Any,
) -> tuple[_Plan, Any]:
    caller = "independence_test"
    check_choice(caller, "null", null, _NULLS)
    count = int(check_number(caller, "n_permutations", n_permutations, "positive", integer=True))
    if min_lag is not None:
        min_lag = int(check_number(caller, "min_lag", min_lag, "positive", integer=True))
        if null != "shift" or groups is not None:
            raise ArgumentError(
                f"{caller}: min_lag must come with null='shift' and no groups; got null={null!r}"
            )
    if groups is not None and null != "permutation":
        if null != "shift":
            raise ArgumentError(
                f"{caller}: groups must come with null='permutation'; got null={null!r}"
            )
        null = "permutation"
    plan = _Plan(null, count, check_aggregate(aggregate), check_seed(random_state), min_lag)
    return plan, groups


def _is_learned(kernel: Kernel | str) -> bool:
    return kernel == "auto" or getattr(kernel, "lengthscale", None) == "median"


def _peak() -> int:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else 1024 * size


def _tell(message: str) -> None:
    warnings.warn(f"independence_test: {message}", TriviumWarning, stacklevel=4)


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


def _tested(
    pair: Pair, learned: tuple[bool, ...], plan: _Plan, labels: NDArray[np.int64] | None
) -> TestResult:
    """Statistic of the median kernels, then its null."""
    orders = Permutations(pair.n_rows, plan.count, labels, plan.seed)
    if pair.constant:
        names = " and ".join(pair.constant)
        _tell(f"{names} must vary; got equal rows, so p = 1")
        return _result(pair, (0.0, 0.0, 0.0), method="constant", n_effective=orders.movable)
    if plan.null in ("saddlepoint", "gamma"):
        return _by_tail(pair, plan.null)
    sizes, residual = sizes_of(pair)
    if sizes[2] <= 0:
        _tell(
            "kernel_x and kernel_y must tell rows apart and alike; one of them finds all alike "
            "or no two alike, so the test has no power"
        )
    grids = [
        kernel_grid(kernel, adaptive=wanted and plan.aggregate is not False)
        for kernel, wanted in zip((pair.kernel_x, pair.kernel_y), learned, strict=True)
    ]
    if plan.null == "permutation" or (orders.enumerated and plan.min_lag is None):
        values = permutation_values(pair, (grids[0], grids[1]), orders)
    else:
        values = shift_values(pair, (grids[0], grids[1]), plan.count, plan.seed, plan.min_lag)
    return _ranked(pair, values, sizes, residual, uniform=plan.aggregate == "uniform")


def _by_tail(pair: Pair, null: str) -> TestResult:
    sizes, (first, second), residual = spectra_of(pair)
    tail = hsic_tails(torch.tensor([sizes[0]]), [first], second, gamma=null == "gamma")
    words = {
        "saddlepoint": "saddlepoint tail of the weighted chi-square (asymptotic)",
        "gamma": "gamma approximation (too small in the tail by 3 to 30 times)",
    }
    ranks = f"factors of rank {len(first.values)} and {len(second.values)}"
    return _result(
        pair,
        sizes,
        method=f"HSIC, {ranks}, {words[null]}",
        n_effective=pair.n_rows,
        p_value=float(tail),
        residual=residual,
    )


def _ranked(
    pair: Pair, found: NullValues, sizes: Sizes, residual: float, *, uniform: bool
) -> TestResult:
    """Rank the rows as given among the members of the group."""
    n_x, n_y, _ = found.values.shape
    middle = found.values[_middle(n_x), _middle(n_y)]
    band = float(torch.quantile(middle[1:], 0.95) - middle[1:].mean())
    if n_x * n_y == 1:
        scores, words = middle, "HSIC"
    else:
        weights = penalties(n_x, n_y, uniform=uniform)
        scores = aggregate_null(found.values.flatten(0, 1), weights.flatten())
        words = f"HSIC, largest of {n_x} × {n_y} lengthscales"
    count = int(exceedances(scores[1:], scores[0], found.slack))
    return _result(
        pair,
        sizes,
        method=f"{words}, {found.method}",
        n_effective=found.n_effective,
        p_value=permutation_p_value(count, found.n_permutations),
        n_permutations=found.n_permutations,
        null=scores[1:].cpu().numpy(),
        score=float(scores[0]),
        null_band=band / sizes[2] if sizes[2] > 0 else 0.0,
        residual=max(residual, found.residual),
    )


def _middle(n: int) -> int:
    return FACTORS.index(1.0) if n > 1 else 0


def _result(pair: Pair, sizes: Sizes, **rest: Any) -> TestResult:
    biased, unbiased, scale = sizes
    empty: dict[str, Any] = {"p_value": 1.0, "n_permutations": 0, "null": np.zeros(0)}
    return TestResult(
        statistic=max(0.0, biased),
        statistic_unbiased=unbiased,
        cka=unbiased / scale if scale > 0 else 0.0,
        n_rows=pair.n_rows,
        lengthscales=pair.lengthscales,
        kernels=(repr(pair.kernel_x), repr(pair.kernel_y)),
        **{**empty, **rest},
    )
