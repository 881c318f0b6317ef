"""Are two variables independent: a p-value exact at every sample size, and its far tail."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.errors import TriviumWarning
from trivium._core.peak import peak_bytes
from trivium._core.random import RandomState
from trivium.dependence.aggregate import Candidates, aggregate_null, check_kernels, penalties
from trivium.dependence.canonical import canonical_order
from trivium.dependence.nulls import NullValues, permutation_values, shift_values
from trivium.dependence.pair import Pair, as_pair
from trivium.dependence.permutation import Permutations, exceedances, permutation_p_value
from trivium.dependence.plan import Plan, row_groups
from trivium.dependence.result import TestResult
from trivium.dependence.sizes import Sizes, sizes_of, spectra_of
from trivium.dependence.tail import hsic_tails
from trivium.kernel import Kernel
from trivium.parallel import Executor, given_executor

__all__ = ["independence_test"]


def independence_test(  # noqa: PLR0913, PLR0917 - the contract's signature
    x: Any,
    y: Any,
    kernel_x: Kernel | Sequence[Kernel] | str = "auto",
    kernel_y: Kernel | Sequence[Kernel] | str = "auto",
    null: str = "shift",
    n_permutations: int = 1000,
    aggregate: bool | str = True,
    groups: Any = None,
    random_state: RandomState = 0,
    min_lag: int | None = None,
    *,
    executor: Executor | None = None,
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
        kernel_x: A kernel; `"auto"` as for `hsic`; or several, tried together without favor, such
            as `Gaussian().grid([0.5, 1, 2])` (sizes and tails are those of the middle one). A
            kernel chosen by looking at the relation of x and y makes the p-value invalid.
        kernel_y: The same for y.
        null: `"shift"`; `"permutation"`; `"saddlepoint"`: the asymptotic tail by
            `trivium.dependence.tail`, to any depth, not exact at small n; `"gamma"`: the usual
            approximation, for comparison only, too small in the tail by 3 to 30 times.
        n_permutations: Reorderings wanted, the rows as given among them for shifts; at least 1.
        aggregate: `True`: where a lengthscale is `"median"`, an eighth to twice of it are tried
            together, and the largest studentized statistic is ranked over the same group,
            still exact; lengthscales near the median are favored. `"uniform"`: without favor.
            `False`, and always for the tails: the median alone.
        groups: One label for each row; rows change places within a group only, which tests
            independence given the group. Always by permutations.
        random_state: Seed.
        min_lag: The rows are a series: they keep their order, and y is shifted by at least this
            many rows. Approximate, and only for a stationary series.
        executor: Where blocks of the null are made, with one thread each: diagonals of the Gram
            matrices, rows to be read, stretches of the permutations. In this process by default;
            the same bits on all.

    Returns:
        The result; `statistic`, `cka` and `null_band` are those of the median kernels, `null` of
        what was ranked.

    Raises:
        ArgumentError: An argument breaks its rule, or every group has one row.
        ShapeError: Rows that do not match.
        DataError: Fewer than 4 rows, or a value that is not finite.
        ResourceError: The executor lost its workers again and again.

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
    started, before = time.process_time(), peak_bytes()
    caller = "independence_test"
    plan = Plan.checked(caller, null, n_permutations, aggregate, random_state, min_lag)
    plan = plan.within(groups)
    given_executor(caller, executor)
    pair = as_pair(caller, x, y, _single("x", kernel_x), _single("y", kernel_y))
    labels = row_groups(caller, groups, pair.n_rows)
    if pair.constant:
        found = _constant(pair, plan, labels)
    else:
        sides = (
            _candidates("x", pair.x, pair.kernel_x, kernel_x, plan),
            _candidates("y", pair.y, pair.kernel_y, kernel_y, plan),
        )
        swap = False
        if plan.min_lag is None:
            pair, swap = canonical_order(pair, labels)
            labels = None if labels is None else np.sort(labels)
        with torch.no_grad():
            found = _tested(pair, sides[::-1] if swap else sides, plan, labels, executor)
        found = found.swapped() if swap else found
    return replace(
        found, seconds=time.process_time() - started, memory=max(0, peak_bytes() - before)
    )


def _candidates(name: str, rows: Tensor, kernel: Kernel, given: Any, plan: Plan) -> Candidates:
    """The kernels of one variable: the user's, or lengthscales around a median."""
    several = check_kernels(name, given)
    if several is not None:
        return Candidates(tuple(each.resolve(rows) for each in several), len(several) // 2)
    learned = given == "auto" or getattr(given, "lengthscale", None) == "median"
    adaptive = learned and plan.aggregate is not False
    return Candidates.of(kernel, adaptive=adaptive, favored=plan.aggregate != "uniform")


def _single(name: str, kernel: Any) -> Any:
    """The kernel whose sizes and tails are reported."""
    several = check_kernels(name, kernel)
    return kernel if several is None else several[len(several) // 2]


def _tell(message: str) -> None:
    warnings.warn(f"independence_test: {message}", TriviumWarning, stacklevel=4)


def _constant(pair: Pair, plan: Plan, labels: NDArray[np.int64] | None) -> TestResult:
    _tell(f"{' and '.join(pair.constant)} must vary; got equal rows, so p = 1")
    orders = Permutations(pair.n_rows, plan.count, labels, plan.seed)
    return _result(pair, (0.0, 0.0, 0.0), method="constant", n_effective=orders.movable)


def _tested(
    pair: Pair,
    sides: tuple[Candidates, ...],
    plan: Plan,
    labels: NDArray[np.int64] | None,
    executor: Executor | None,
) -> TestResult:
    """Statistic of the middle kernels, then its null."""
    orders = Permutations(pair.n_rows, plan.count, labels, plan.seed)
    if plan.null in ("saddlepoint", "gamma"):
        return _by_tail(pair, plan.null)
    sizes, residual = sizes_of(pair)
    if sizes[2] <= 0:
        _tell(
            "kernel_x and kernel_y must tell rows apart and alike; one of them finds all alike "
            "or no two alike, so the test has no power"
        )
    grids = (sides[0].kernels, sides[1].kernels)
    if plan.null == "permutation" or (orders.enumerated and plan.min_lag is None):
        values = permutation_values(pair, grids, orders, executor)
    else:
        values = shift_values(pair, grids, plan.count, plan.seed, plan.min_lag, executor)
    return _ranked(pair, sides, values, sizes, residual)


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
    pair: Pair, sides: tuple[Candidates, ...], found: NullValues, sizes: Sizes, residual: float
) -> TestResult:
    """Rank the rows as given among the members of the group."""
    first, second = sides
    middle = found.values[first.middle, second.middle]
    band = float(torch.quantile(middle[1:], 0.95) - middle[1:].mean())
    scores, words = middle, "HSIC"
    if len(first) * len(second) > 1:
        weights = penalties(first.steps, second.steps).flatten()
        scores = aggregate_null(found.values.flatten(0, 1), weights)
        words = f"HSIC, largest of {len(first)} × {len(second)} kernels"
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
