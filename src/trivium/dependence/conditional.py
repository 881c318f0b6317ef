"""Are two variables independent given a third: residuals of kernel features, and their products."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import DataError, ShapeError, TriviumWarning
from trivium._core.random import RandomState, check_seed
from trivium.dependence.canonical import canonical_variables
from trivium.dependence.conditional_null import ProductMean
from trivium.dependence.conditional_result import ConditionalResult
from trivium.dependence.conditioning import (
    Basis,
    Residual,
    bases_of,
    kernel_basis,
    normal_scores,
    residual_of,
    share_left,
    standardized,
    unit_share,
)
from trivium.dependence.pair import common_dtype, opened, prepared
from trivium.dependence.permutation import exceedances, permutation_p_value
from trivium.kernel import Gaussian, Kernel
from trivium.parallel import Executor, given_executor

__all__ = ["conditional_test"]

_FEWEST = 10
_RANK = 60
_TOL = 1e-4
_DETERMINED = 1e-6  # share of a variable's variance that z leaves, below which it leaves nothing
_NOT_EXACT = (
    "approximate: no exact level exists for conditional independence (Shah and Peters 2020)"
)


@dataclass(frozen=True, eq=False)
class _Variable:
    """A variable at the door: rows, the kernel if one is to be used on them as they are."""

    name: str
    rows: Shaped[Tensor, "n d"]
    kernel: Kernel | None
    constant: bool

    @property
    def words(self) -> str:
        return "Gaussian of residual normal scores" if self.kernel is None else repr(self.kernel)


def conditional_test(
    x: Any,
    y: Any,
    z: Any,
    kernels: Sequence[Kernel | str] | Kernel | str = "auto",
    null: str = "saddlepoint",
    n_draws: int = 1000,
    random_state: RandomState = 0,
    *,
    executor: Executor | None = None,
) -> ConditionalResult:
    r"""Test whether x and y are independent given z.

    $T = \lVert \frac1n \sum_i (\varphi(x_i) - \hat E[\varphi(x_i) | z_i]) \otimes (\psi(y_i) -
    \hat E[\psi(y_i) | z_i]) \otimes \chi(z_i) \rVert^2$ with kernel features φ and ψ, and χ the
    constant and, with as much weight, features of z: a dependence whose sign changes with z counts.

    **No exact level exists here**: a test of conditional independence that keeps its level for
    every distribution has no power against any (Shah and Peters 2020). This one needs good
    regressions on z: a bias that those of x and of y share counts as dependence. Against it:

    - Numbers are taken by normal scores, so outliers play no part, and p does not change when a
      column of x, y or z is replaced by an increasing function of it.
    - The mean given z is taken off x and y, and what is left divided by its size given z, *before*
      their features are made: these then hardly depend on z, and little is asked of their
      regressions. (Any function of x and z that is one-to-one in x may stand for x.)
    - Ridge, lengthscale and form (one kernel of all of z, or a sum over its columns) are those with
      the least exact leave-one-out error, and the residuals are leave-one-out ones.

    Args:
        x: Tensor or array, `(n,)` or `(n, d)`.
        y: The same, with as many rows.
        z: What is given: the same, with as many rows.
        kernels: One for all, or one for each of x, y and z. `"auto"`: as above for numbers,
            `Delta()` for booleans and whole numbers of few levels. A kernel is used on rows as they
            are, without scores or a regression before; that of z is then the only one tried.
        null: `"saddlepoint"`: the weighted chi-square limit, to any depth; `"sign"`: random signs
            of rows, p = (1 + #)/(1 + B).
        n_draws: Draws of signs, at least 1.
        random_state: Seed of the signs.
        executor: Where the regressions of x and of y are made, with one thread each: in this
            process by default. The same bits on all.

    Returns:
        The result.

    Raises:
        ArgumentError: An argument breaks its rule, or a kernel cannot serve its variable.
        ShapeError: Rows that do not match, or wrong axes.
        DataError: Fewer than 10 rows, or a value that is not finite.
        ResourceError: The executor lost its workers again and again.

    Warns:
        TriviumWarning: A constant x or y, or one that z determines (p = 1); a constant z (the test
            is then one of independence).

    Cost:
        O(n r q) time for each of 4 or 7 bases of z and 16 ridges, r at most 250, q at most 60;
        O(n³) for the null up to 1,500 rows, O(n) above.

    Example:
        >>> import numpy as np
        >>> z, e, h = np.random.default_rng(0).normal(size=(3, 300))
        >>> x, y = z + 0.5 * e, z**2 + 0.5 * h
        >>> conditional_test(x, y, z).p_value > 0.05, conditional_test(x, y + e, z).p_value < 1e-6
        (True, True)

    Source:
        Zhang, Peters, Janzing and Schölkopf, Kernel-based conditional independence test (2011);
        Shah and Peters, The hardness of conditional independence testing, Annals of Statistics 48
        (2020); the product with features of z instead of a regression of (x, z): Pogodin et al.,
        Efficient conditionally invariant representation learning, ICLR (2023). Scores and
        what is done before the features are ours.
    """
    started = time.process_time()
    check_choice("conditional_test", "null", null, ("saddlepoint", "sign"))
    count = int(check_number("conditional_test", "n_draws", n_draws, "positive", integer=True))
    seed = check_seed(random_state)
    runner = given_executor("conditional_test", executor)
    variables = _checked({"x": x, "y": y, "z": z}, kernels)
    with torch.no_grad():
        found = _tested(variables, null, count, seed, runner)
    return replace(found, seconds=time.process_time() - started)


def _checked(
    values: dict[str, Any], kernels: Sequence[Kernel | str] | Kernel | str
) -> list[_Variable]:
    caller = "conditional_test"
    sides = {name: opened(caller, name, value, "auto") for name, value in values.items()}
    rows = {name: each for name, (each, _) in sides.items()}
    n = len(rows["x"])
    for name, each in rows.items():
        if len(each) != n:
            raise ShapeError(
                f"{caller}: axis n is {n} in x but {len(each)} in {name} "
                f"(shapes {tuple(rows['x'].shape)}, {tuple(each.shape)})"
            )
    if n < _FEWEST:
        raise DataError(f"{caller}: x, y and z must have at least {_FEWEST} rows; got {n}")
    given = [kernels] * 3 if isinstance(kernels, Kernel | str) else list(kernels)
    if len(given) != len(rows):
        raise ShapeError(f"{caller}: kernels must be one for each of x, y, z; got {len(given)}")
    found = []
    for (name, each), kernel in zip(rows.items(), given, strict=True):
        still = bool((each == each[:1]).all())
        own = sides[name][1] if kernel == "auto" else kernel
        if kernel == "auto" and isinstance(own, Gaussian):
            found.append(_Variable(name, each.double(), None, still))
            continue
        ready, chosen, _ = prepared(caller, name, each, own, common_dtype(*rows.values()))
        wide = ready.double() if ready.is_floating_point() else ready
        found.append(_Variable(name, wide, chosen, still))
    order, _ = canonical_variables([each.rows for each in found])
    return [replace(each, rows=each.rows[torch.from_numpy(order)]) for each in found]


def _tested(
    variables: list[_Variable], null: str, count: int, seed: int, runner: Executor
) -> ConditionalResult:
    x, y, z = variables
    empty = ConditionalResult(
        statistic=0.0,
        p_value=1.0,
        method=f"nothing to compare ({_NOT_EXACT})",
        n_rows=len(x.rows),
        n_draws=0,
        kernels=(x.words, y.words, "Gaussian of normal scores" if z.kernel is None else z.words),
        regressions=("mean", "mean"),
        left=(0.0, 0.0),
        null=np.zeros(0),
    )
    still = [each.name for each in (x, y) if each.constant]
    if still:
        _tell(f"{' and '.join(still)} must vary; got equal rows, so p = 1")
        return empty
    if z.constant:
        _tell("z must vary; got equal rows, so x and y are tested for independence")
    bases, weight, plain = _given(z)
    determined = [each.name for each in (x, y) if _is_determined(each, plain)]
    if determined:
        names = " and ".join(determined)
        _tell(f"{names} must vary given z; got a function of z, so p = 1")
        return empty
    first, second = runner.map(_features_left, [x, y], shared=bases)
    products = ProductMean.of([first.values, second.values, weight])
    found = replace(
        empty,
        regressions=(first.basis, second.basis),
        left=(first.share, second.share),
        residual=products.residual,
        method=f"products of residuals, {_road(null, count)} ({_NOT_EXACT})",
    )
    if null == "saddlepoint":
        statistic, p_value = products.by_tail()
        return replace(found, statistic=statistic, p_value=p_value)
    values = products.by_signs(count, seed)
    reached = int(exceedances(values[1:], values[0]))
    return replace(
        found,
        statistic=float(values[0]),
        p_value=permutation_p_value(reached, count),
        n_draws=count,
        null=values[1:].numpy(),
    )


def _road(null: str, count: int) -> str:
    signs = f"{count} draws of a sign for each row"
    return signs if null == "sign" else "saddlepoint tail of the weighted chi-square"


def _tell(message: str) -> None:
    warnings.warn(f"conditional_test: {message}", TriviumWarning, stacklevel=4)


def _given(z: _Variable) -> tuple[list[Basis], Float[Tensor, "n r"], list[Basis]]:
    """Bases of z, the features that products are weighted with, and bases of z as it is."""
    one = torch.ones(len(z.rows), 1, dtype=torch.float64)
    if z.constant:
        return [], one, []
    if z.kernel is not None:
        basis = [kernel_basis(repr(z.kernel), z.rows, z.kernel)]
        return basis, torch.cat([one, unit_share(_factor(z.kernel, z.rows))], 1), basis
    varying = z.rows[:, (z.rows != z.rows[:1]).any(0)]
    scores = normal_scores(varying)
    weight = unit_share(_factor(Gaussian().resolve(scores), scores))
    unit = (varying - varying.mean(0)) / varying.std(0)
    plain = [Basis.of("linear", unit), kernel_basis("Gaussian", unit, Gaussian().resolve(unit))]
    return bases_of(scores), torch.cat([one, weight], 1), plain


def _is_determined(variable: _Variable, plain: list[Basis]) -> bool:
    """Whether a smooth function of z, in their own units, leaves nothing of a variable."""
    if variable.kernel is not None:
        values = _factor(variable.kernel, variable.rows)
    else:
        values = variable.rows - variable.rows.mean(0)
        values = values / values.std(0).clamp_min(torch.finfo(values.dtype).tiny)
    return share_left(values, plain) < _DETERMINED


def _features_left(variable: _Variable, bases: list[Basis]) -> Residual:
    """Features of a variable minus what z predicts of them."""
    if variable.kernel is not None:
        return residual_of(_factor(variable.kernel, variable.rows), bases)
    left = standardized(normal_scores(variable.rows), bases)
    with warnings.catch_warnings(action="ignore", category=TriviumWarning):  # ties, not a fault
        kernel = Gaussian().resolve(left)
    return residual_of(_factor(kernel, left), bases)


def _factor(kernel: Kernel, rows: Shaped[Tensor, "n d"]) -> Float[Tensor, "n r"]:
    return kernel.factor(rows, min(len(rows), _RANK), _TOL).values.double()
