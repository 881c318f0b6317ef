"""Are several variables independent of one another, all together: dHSIC with an exact p-value."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import TriviumWarning
from trivium._core.random import RandomState, check_seed
from trivium.dependence.joint_factors import factor_joint_shifts
from trivium.dependence.joint_shifts import JointShifts
from trivium.dependence.joint_sums import (
    SINGLE_ROWS,
    dhsic,
    gathered_joint_shifts,
    gram_joint_shifts,
)
from trivium.dependence.joint_variables import JointVariables, as_variables
from trivium.dependence.nulls import NullValues, permutation_values, shift_values
from trivium.dependence.permutation import Permutations, exceedances, permutation_p_value
from trivium.dependence.result import draw_null
from trivium.kernel import Kernel
from trivium.parallel import Executor, given_executor

__all__ = ["JointResult", "joint_test"]

_EXACT_ROWS = 20_000
_GRAM_ROWS = 1_000
_FEW_ROWS = 48  # up to here matrices are put in order, member by member
_CHEAPER = 8  # a product of ranks below 8 n is cheaper than half a Gram matrix
_ENOUGH = 1e-3  # share of a kernel's trace that features may leave out where both roads are open
_LARGEST_RANK = 60
_SLACK = 1e-4
_SMALL_SLACK = 1e-8


@dataclass(frozen=True)
class JointResult:
    """One test of joint independence.

    Args:
        statistic: dHSIC, the biased estimate, of all variables that vary. n times it is the
            statistic of the R package dHSIC. Its size is not a strength.
        p_value: In (0, 1], valid at every level.
        method: The null and the route, in words.
        n_rows: Rows compared.
        n_effective: Rows that may change places under the null.
        n_permutations: Reorderings compared with the rows as given.
        lengthscales: Lengthscale of each kernel, `None` for a kernel without one.
        kernels: The kernels in words.
        null: The statistic after each reordering.
        score: The statistic of the rows as given, by the same road as `null`.
        residual: Largest share of a kernel's trace that its features leave out; 0 is exact.
        seconds: CPU time.
    """

    statistic: float
    p_value: float
    method: str
    n_rows: int
    n_effective: int
    n_permutations: int
    lengthscales: tuple[float | None, ...]
    kernels: tuple[str, ...]
    null: NDArray[np.float64] = field(repr=False)
    score: float = 0.0
    residual: float = 0.0
    seconds: float = 0.0

    def plot(self, ax: Any = None) -> Any:
        """Draw the null as a histogram with the statistic as a line; return the axes.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        return draw_null(ax, self.null, self.score, self.p_value, "dHSIC")


def joint_test(
    variables: Sequence[Any],
    kernels: Sequence[Kernel | str] | Kernel | str = "auto",
    n_permutations: int = 1000,
    random_state: RandomState = 0,
    *,
    executor: Executor | None = None,
) -> JointResult:
    r"""Test whether variables are jointly independent, by dHSIC.

    $\mathrm{dHSIC} = E[\prod_k k_k] + \prod_k E[k_k] - 2 E[\prod_k E[k_k]]$: zero exactly when the
    joint distribution is the product of all its margins, for characteristic kernels. It sees three
    variables that are independent two by two and not together. With two variables it is HSIC.

    $p = (1 + \#\{b : T_b \ge T_0\}) / (1 + B)$ over a group of shifts of all variables against one
    another, with random cosets where it is too small (`trivium.dependence.joint_shifts`), ties
    against rejection: $P(p \le \alpha) \le \alpha$ under independence whatever the kernels, the
    distributions and n. Rows are put in order first: p depends neither on their order nor on units
    nor, up to four variables, on the order of the variables.

    Args:
        variables: At least two tensors or arrays, `(n,)` or `(n, d)`, with the same rows.
        kernels: One for all or one for each; `"auto"` as for `hsic`.
        n_permutations: Reorderings wanted, the rows as given among them; at least 1.
        random_state: Seed.
        executor: Where blocks of the null are made, with one thread each: in this process by
            default. The same bits on all.

    Returns:
        The result. A small p says that *some* dependence is there, not where.

    Raises:
        ArgumentError: An argument breaks its rule, or a kernel cannot serve its variable.
        ShapeError: Rows that do not match, or not one kernel for each variable.
        DataError: Fewer rows than 4 or twice the variables, or a value that is not finite.
        ResourceError: The executor lost its workers again and again.

    Warns:
        TriviumWarning: A constant variable. It is independent of all others and dHSIC is that of
            the others, which are tested; p = 1 when fewer than two vary. A median distance of zero.

    Cost:
        O(n² d B / 2) time and O(n d²) memory by complete Gram matrices, always up to 1,000 rows;
        O(n B r_1 ... r_d) by features of ranks r where that is less and they leave out at most
        0.1 %, and above 20,000 rows. Two variables: as `independence_test`.

    Example:
        >>> import numpy as np
        >>> x, y = np.random.default_rng(0).normal(size=(2, 200))
        >>> z = np.abs(np.random.default_rng(1).normal(size=200)) * np.sign(x * y)
        >>> joint_test([x, y, z]).p_value <= 0.01
        True

    Source:
        Pfister, Bühlmann, Schölkopf and Peters, Kernel-based tests for joint independence, JRSS B
        80 (2018), definition 2.6 and section 3.2; the group ours, its exactness Koning and Hemerik,
        Biometrika 111 (2024).
    """
    started = time.process_time()
    count = int(
        check_number("joint_test", "n_permutations", n_permutations, "positive", integer=True)
    )
    seed = check_seed(random_state)
    given_executor("joint_test", executor)
    given = as_variables("joint_test", variables, kernels)
    if given.constant:
        _tell_constant(given)
    with torch.no_grad():
        found = _tested(given, count, seed, executor)
    return replace(found, seconds=time.process_time() - started)


def _tell_constant(given: JointVariables) -> None:
    names = " and ".join(f"variables[{k}]" for k in given.constant)
    left = len(given.rows) - len(given.constant)
    then = "so p = 1" if left < 2 else f"so the other {left} are tested"
    warnings.warn(
        f"joint_test: {names} must vary; got equal rows, {then}", TriviumWarning, stacklevel=3
    )


def _tested(given: JointVariables, count: int, seed: int, executor: Executor | None) -> JointResult:
    varying = given.varying() if given.constant else given
    empty = JointResult(
        statistic=0.0,
        p_value=1.0,
        method="constant",
        n_rows=given.n_rows,
        n_effective=given.n_rows,
        n_permutations=0,
        lengthscales=given.lengthscales,
        kernels=tuple(repr(kernel) for kernel in given.kernels),
        null=np.zeros(0),
    )
    if len(varying.rows) < 2:
        return empty
    ready = varying.ordered()
    by = _two if len(ready.rows) == 2 else _several
    null = by(ready, count, seed, executor)
    scores = null.values[0, 0]
    statistic = scores[0]
    if SINGLE_ROWS <= ready.n_rows <= _EXACT_ROWS:
        statistic = dhsic(ready.rows, ready.kernels)
    reached = int(exceedances(scores[1:], scores[0], null.slack))
    return replace(
        empty,
        statistic=max(0.0, float(statistic)),
        p_value=permutation_p_value(reached, null.n_permutations),
        method=f"dHSIC of {len(ready.rows)} variables, {null.method}",
        n_effective=null.n_effective,
        n_permutations=null.n_permutations,
        null=scores[1:].cpu().numpy(),
        score=float(scores[0]),
        residual=null.residual,
    )


def _two(ready: JointVariables, count: int, seed: int, executor: Executor | None) -> NullValues:
    """Two variables: HSIC, by the roads of `independence_test`."""
    pair = ready.pair()
    orders = Permutations(pair.n_rows, count, seed=seed)
    grids = ((pair.kernel_x,), (pair.kernel_y,))
    if orders.enumerated:
        return permutation_values(pair, grids, orders, executor)
    return shift_values(pair, grids, count, seed, None, executor)


def _several(ready: JointVariables, count: int, seed: int, executor: Executor | None) -> NullValues:
    n = ready.n_rows
    shifts = JointShifts(n, len(ready.rows), count, seed)
    words = f"{shifts.total} joint shifts"
    words += f" in {shifts.cosets} cosets" if shifts.cosets > 1 else ""
    features, residual = _features(ready) if n > _GRAM_ROWS else (None, 0.0)
    if features is None:
        if n <= _FEW_ROWS:
            values = gathered_joint_shifts(ready.rows, ready.kernels, shifts)
        else:
            values = gram_joint_shifts(ready.rows, ready.kernels, shifts, executor=executor)
        road = "complete Gram matrices"
    else:
        values = factor_joint_shifts(features, shifts, executor=executor)
        road = f"factors of rank {', '.join(str(len(each)) for each in features)}"
    slack = _SMALL_SLACK if n < SINGLE_ROWS else _SLACK
    return NullValues(values[None, None], f"{road}, {words}", residual, shifts.moved, slack)


def _features(ready: JointVariables) -> tuple[list[Float[Tensor, "_ n"]] | None, float]:
    """Features of each variable where they are the cheaper road, or the only one."""
    n, d = ready.n_rows, len(ready.rows)
    rank = max(2, min(_LARGEST_RANK, int((_CHEAPER * n) ** (1 / d))))
    found, residual = [], 0.0
    for rows, kernel in zip(ready.rows, ready.kernels, strict=True):
        wide = rows.double() if rows.is_floating_point() and n <= _EXACT_ROWS else rows
        factor = kernel.factor(wide, rank, 1e-2 * _ENOUGH)
        residual = max(residual, factor.relative_residual)
        found.append(factor.values.mT.float().contiguous())
        if residual > _ENOUGH and n <= _EXACT_ROWS:
            return None, 0.0
    return found, residual
