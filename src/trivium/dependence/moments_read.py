r"""Estimates and the test of HSIC, read from moments of the fourth order.

All estimators are blind to a common shift of the features, so they are written with centered Gram
matrices A and B, whose rows sum to zero: with a and b their diagonals, the biased estimate is
$\mathrm{tr}(A B) / n^2$ and that of Song et al. (equation 5)

    (tr(AB) − n Σ a_i b_i / (n − 2) + Σ a_i Σ b_i / ((n − 1)(n − 2))) / (n (n − 3)).
"""

import warnings

import numpy as np
import torch

from trivium._core.checks import check_choice
from trivium._core.errors import DataError, TriviumWarning
from trivium.dependence.fourth import Fourth
from trivium.dependence.pair import LEAST_ROWS
from trivium.dependence.result import TestResult
from trivium.dependence.tail import Spectrum, hsic_tails
from trivium.kernel import FeatureMap

__all__ = ["alignment", "estimate", "readable", "tail_test", "tell_residual"]

_ESTIMATORS = ("unbiased", "biased", "n-1")
_LOST = 0.1  # share of a kernel's trace: beyond it the landmarks do not cover the rows


def readable(caller: str, held: Fourth, estimator: str, otherwise: str) -> Fourth | None:
    """Return the moments, or `None` with a warning where a variable is constant.

    Raises:
        ArgumentError: An unknown estimator.
        DataError: Fewer than 4 rows.
    """
    check_choice(caller, "estimator", estimator, _ESTIMATORS)
    if held.count < LEAST_ROWS:
        raise DataError(f"{caller}: the moments must hold at least 4 rows; got {held.count}")
    still = [name for name, is_still in zip("xy", held.constant, strict=True) if is_still]
    if not still:
        return held
    names = " and ".join(still)
    warnings.warn(
        f"{caller}: the features of {names} must vary; got equal rows, so {otherwise}",
        TriviumWarning,
        stacklevel=3,
    )
    return None


def tell_residual(caller: str, residual: tuple[float, float]) -> None:
    """Warn where landmarks do not cover the rows."""
    for name, lost in zip("xy", residual, strict=True):
        if lost > _LOST:
            warnings.warn(
                f"{caller}: the features of {name} leave {lost:.0%} of the kernel's trace out, as "
                "the landmarks do not cover the rows: valid, but less powerful",
                TriviumWarning,
                stacklevel=3,
            )


def estimate(held: Fourth, estimator: str, one: int = 0, two: int = 1) -> float:
    """Return HSIC of two of the variables: 0 is x, 1 is y."""
    n, sides = held.count, (held.x, held.y)
    inner = float(held.inner(sides[one], sides[two]))
    if estimator != "unbiased":
        return inner / (n if estimator == "biased" else n - 1) ** 2
    totals = float(held.totals[one] * held.totals[two])
    diagonal = float(held.norms[one, two])
    outside = inner - n * diagonal / (n - 2) + totals / ((n - 1) * (n - 2))
    return outside / (n * (n - 3))


def alignment(held: Fourth, estimator: str) -> float:
    """Return HSIC over the geometric mean of its own two; 0 where a kernel tells no rows apart."""
    own = [estimate(held, estimator, side, side) for side in (0, 1)]
    if min(own) <= 0:
        return 0.0
    return estimate(held, estimator) / float(np.sqrt(own[0]) * np.sqrt(own[1]))


def tail_test(held: Fourth, maps: tuple[FeatureMap, FeatureMap], *, constant: bool) -> TestResult:
    """Return the test; p = 1 where a variable is constant."""
    biased, unbiased, cka, p_value, method = 0.0, 0.0, 0.0, 1.0, "constant"
    if not constant:
        biased, unbiased = (estimate(held, name) for name in ("biased", "unbiased"))
        cka = alignment(held, "unbiased")
        first, second = spectra(held)
        p_value = float(hsic_tails(torch.tensor([biased]).double(), [first], second))
        ranks = f"{len(first.values)} and {len(second.values)}"
        method = (
            f"HSIC of {maps[0].n_features} by {maps[1].n_features} fixed features from moments, "
            f"ranks {ranks}, saddlepoint tail of the weighted chi-square (asymptotic)"
        )
    scales = [getattr(each.kernel, "lengthscale", None) for each in maps]
    first_scale, second_scale = (each if isinstance(each, float) else None for each in scales)
    return TestResult(
        statistic=biased,
        statistic_unbiased=unbiased,
        cka=cka,
        p_value=p_value,
        method=method,
        n_rows=held.count,
        n_effective=held.count,
        n_permutations=0,
        lengthscales=(first_scale, second_scale),
        kernels=(repr(maps[0].kernel), repr(maps[1].kernel)),
        null=np.zeros(0),
    )


def spectra(held: Fourth) -> tuple[Spectrum, Spectrum]:
    """Return what the null needs to know of x and of y."""
    squares = held.norms.diagonal().tolist()
    first, second = (
        Spectrum.of_scatter(held.second[side, side], held.count, square)
        for side, square in zip((held.x, held.y), squares, strict=True)
    )
    return first, second
