"""The median heuristic: a lengthscale from the data's own spread."""

import warnings
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_choice, check_finite, check_number
from trivium._core.errors import ArgumentError, DataError, TriviumWarning
from trivium._core.random import RandomState, numpy_generator

__all__ = ["Lengthscale", "check_lengthscale", "median_lengthscale"]

Lengthscale = float | Literal["median"]
_MAX_ROWS = 4096
_FEW_ROWS = 64
_LISTED = 4  # distances for each row that are sorted in the end


def check_lengthscale(caller: str, value: Any) -> Lengthscale:
    """Return `value` when it is `"median"` or a positive number.

    Raises:
        ArgumentError: It is neither.
    """
    if isinstance(value, str):
        if value != "median":
            raise ArgumentError(
                f"{caller}: lengthscale must be 'median' or a positive number; got {value!r}"
            )
        return "median"
    return check_number(caller, "lengthscale", value, "positive")


def _sample(x: Tensor, max_rows: int, random_state: RandomState) -> Tensor:
    """Draw rows by their rank in the first column, so that the order of rows does not matter."""
    n = len(x)
    if n <= max_rows:
        return x
    draw = numpy_generator(random_state, "lengthscale").choice(n, max_rows, replace=False)
    draw.sort()
    order = torch.argsort(x[:, 0], stable=True)
    return x[order[torch.from_numpy(draw).to(x.device)]]


def _middle(values: Tensor) -> float:
    # By selection: to sort them all is most of the time of a test of 1,000 rows.
    half = len(values) // 2
    ordered = np.partition(values.cpu().numpy(), half)
    high = float(ordered[half])
    low = high if len(values) % 2 else float(ordered[:half].max())
    # Halved before they are added, so that the largest float does not overflow.
    return low / 2 + high / 2


def _column_middle(values: NDArray[np.float64]) -> float:
    """The median distance in one column without all distances: bisection, then a short list."""
    x = np.sort(values)
    pairs = len(x) * (len(x) - 1) // 2
    ranks = (pairs - 1) // 2, pairs // 2
    low, high = 0.0, float(x[-1] - x[0])
    before, until = _places(x, low), _places(x, high)
    while (until - before).sum() > _LISTED * len(x):
        middle = low + (high - low) / 2
        if not low < middle < high:
            break  # ties: all that is listed is one distance
        between = _places(x, middle)
        if _count(between) > ranks[1]:
            high, until = middle, between
        elif _count(between) <= ranks[0]:
            low, before = middle, between
        else:
            break  # the two middle ranks part here
    counts = until - before
    first = np.repeat(before - np.concatenate([[0], counts[:-1].cumsum()]), counts)
    listed = x[first + np.arange(counts.sum())] - np.repeat(x, counts)
    listed.sort()
    lower, upper = (listed[rank - _count(before)] for rank in ranks)
    return float(lower / 2 + upper / 2)


def _places(x: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """For each value, the end of the later ones within the distance."""
    found = np.searchsorted(x, x + distance, side="right")
    return np.maximum(found, np.arange(1, len(x) + 1))


def _count(places: NDArray[np.int64]) -> int:
    """Number of pairs within the distance."""
    return int(places.sum()) - len(places) * (len(places) + 1) // 2


def median_lengthscale(
    x: Shaped[Tensor, "n *d"],
    *,
    norm: str = "l2",
    max_rows: int = 1000,
    random_state: RandomState = 0,
) -> float:
    r"""Median of the distances between rows: $\mathrm{median}_{i<j} \lVert x_i - x_j \rVert$.

    It is scale-equivariant: multiplying `x` multiplies the lengthscale. Above `max_rows` rows the
    distances are those of a sample, drawn with a fixed seed and by rank, so that reordering
    the rows changes nothing as long as the first column has no ties.

    Args:
        x: One column `(n,)` or several `(n, d)`.
        norm: `"l2"` or `"l1"`, the norm of the kernel that will use it.
        max_rows: Rows of the sample, 2 to 4096.
        random_state: Seed of the sample.

    Returns:
        A positive finite number. When more than half of the distances are zero, it is the median of
        the others; when all are zero (a constant column), it is 1. Either is said by a warning.

    Raises:
        ArgumentError: `norm` or `max_rows` breaks its rule.
        DataError: No rows, or a value that is not finite.

    Cost:
        O(n log n) for the sample, O(max_rows² d) time and memory for the distances.

    Example:
        >>> import torch
        >>> median_lengthscale(torch.tensor([0.0, 1.0, 3.0]))
        2.0

    Source:
        Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012), section 8.
    """
    caller = "median_lengthscale"
    check_choice(caller, "norm", norm, ("l1", "l2"))
    rows = int(check_number(caller, "max_rows", max_rows, "positive", integer=True))
    if not 2 <= rows <= _MAX_ROWS:
        raise ArgumentError(f"{caller}: max_rows must be in [2, {_MAX_ROWS}]; got {rows}")
    if x.shape[0] == 0:
        raise DataError(f"{caller}: x must have at least one row; got shape {tuple(x.shape)}")
    check_finite(caller, "x", x)
    with torch.no_grad():
        sample = _sample(x.detach().reshape(len(x), -1), rows, random_state).double()
        if sample.shape[1] == 1 and len(sample) > _FEW_ROWS:
            middle = _column_middle(sample[:, 0].cpu().numpy())
            if middle > 0:
                return middle
        pairs = torch.pdist(sample, p=1.0 if norm == "l1" else 2.0)
    middle = _middle(pairs) if len(pairs) else 0.0
    if middle > 0:
        return middle
    apart = pairs[pairs > 0]
    if len(apart):
        middle = _middle(apart)
        warnings.warn(
            f"{caller}: more than half of the pairs of rows are equal, so their median distance "
            f"is 0; using {middle:.6g}, the median distance of the pairs that differ",
            TriviumWarning,
            stacklevel=2,
        )
        return middle
    warnings.warn(
        f"{caller}: all rows are equal, so no distance gives a lengthscale; using 1",
        TriviumWarning,
        stacklevel=2,
    )
    return 1.0
