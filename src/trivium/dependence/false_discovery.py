"""False-discovery control over many p-values: Benjamini-Hochberg, Benjamini-Yekutieli."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trivium._core.errors import ArgumentError, DataError

__all__ = ["CORRECTIONS", "benjamini_hochberg", "benjamini_yekutieli"]


def benjamini_hochberg(p_values: ArrayLike | Sequence[float]) -> NDArray[np.float64]:
    """Return the q-values of Benjamini and Hochberg, in the order given.

    `q_(i) = min_{j >= i} min(1, m p_(j) / j)`: rejecting where `q <= alpha` keeps the expected
    share of false discoveries at most `alpha` for independent or positively dependent p-values.

    Args:
        p_values: p-values in (0, 1], one axis.

    Returns:
        One q-value for each p-value, never below it.

    Raises:
        ArgumentError: More than one axis.
        DataError: A value outside (0, 1], or NaN.

    Cost: O(m log m).

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5]).round(4).tolist()
        [0.04, 0.0533, 0.0533, 0.5]

    Source: Benjamini and Hochberg, JRSS B 57 (1995) 289.
    """
    return _step_up("benjamini_hochberg", p_values, 1.0)


def benjamini_yekutieli(p_values: ArrayLike | Sequence[float]) -> NDArray[np.float64]:
    """Return the q-values of Benjamini and Yekutieli: valid under any dependence.

    `q` of Benjamini-Hochberg times `1 + 1/2 + ... + 1/m`, capped at 1.

    Args:
        p_values: p-values in (0, 1], one axis.

    Returns:
        One q-value for each p-value.

    Raises:
        ArgumentError: More than one axis.
        DataError: A value outside (0, 1], or NaN.

    Cost: O(m log m).

    Example:
        >>> benjamini_yekutieli([0.01, 0.5]).tolist()
        [0.03, 0.75]

    Source: Benjamini and Yekutieli, Annals of Statistics 29 (2001) 1165.
    """
    size = max(1, np.size(p_values))
    return _step_up("benjamini_yekutieli", p_values, float((1 / np.arange(1, size + 1)).sum()))


def _step_up(caller: str, p_values: ArrayLike, factor: float) -> NDArray[np.float64]:
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1:
        raise ArgumentError(f"{caller}: p_values must have one axis; got shape {values.shape}")
    bad = np.flatnonzero(~((values > 0) & (values <= 1)))
    if len(bad):
        raise DataError(
            f"{caller}: p_values must be in (0, 1]; got {values[bad[0]]}", where=f"place {bad[0]}"
        )
    order = np.argsort(values, kind="stable")[::-1]
    ranks = np.arange(len(values), 0, -1)
    steps = values[order] * (factor * len(values)) / ranks
    result = np.empty_like(values)
    result[order] = np.minimum(1.0, np.minimum.accumulate(steps))
    return np.maximum(result, values)  # p * m / m can round to below p


CORRECTIONS = {"bh": benjamini_hochberg, "by": benjamini_yekutieli}
