"""How a dependence looks: the leading pair of functions of a column and its target, and a word."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium.dependence.columns import DependenceColumn
from trivium.dependence.text_features import words_of

__all__ = ["Leading", "leading_functions"]

_BINS = 30
_MOST_LEVELS = 12
_MOST_WORDS = 3
_LEAST_ROWS = 5
_LINE, _CURVE = 0.75, 0.6  # shares of the variance that a line, then a parabola, must explain
_TURN = 0.8  # a parabola turns within this share of the ranks
_PARTS = 20
_EDGE = 0.01

Function = tuple[list[Any], list[float]]


@dataclass(frozen=True)
class Leading:
    """The leading pair of functions and what it looks like.

    Args:
        shape: `"rising"`, `"falling"`, `"U"`, `"peak"`, `"wave"`, `"spread"`, `"levels"` or `""`.
        functions: Places and values of both, and the correlation of the two; `None` for a column
            that does not vary.
    """

    shape: str
    functions: dict[str, Any] | None


def leading_functions(
    column: DependenceColumn,
    phi: Float[Tensor, "r n"],
    target: DependenceColumn,
    psi: Float[Tensor, "s n"],
) -> Leading:
    """Return the functions f(x), g(y) with the largest covariance, and a word for their shape.

    They are the first singular vectors of the cross-covariance of the features. For numbers and
    dates they are averaged in 30 bins between the first and the last hundredth; for categories
    they are the mean of each level; for texts, of the rows that have a word.

    Args:
        column: The column.
        phi: Its centered features.
        target: The target.
        psi: Its centered features.

    Cost: O(n r s + r s min(r, s)) time.

    Source: Gretton et al., Kernel methods for measuring independence (2005), section 4 (COCO).
    """
    if not len(phi) or not len(psi):
        return Leading("", None)
    cross = phi.double() @ psi.double().mT
    left, _, right = torch.linalg.svd(cross, full_matrices=False)
    f = _standard((left[:, 0] @ phi.double()).numpy())
    g = _standard((right[0] @ psi.double()).numpy())
    sign = _orientation(target, g)
    if column.kind in ("category", "text") and target.kind in ("category", "text"):
        sign = sign or 1.0
    f, g = sign * f, sign * g
    x, y = _drawn(column, f), _drawn(target, g)
    if x is None or y is None:
        return Leading("levels" if column.kind == "category" else "", None)
    functions = {
        "x": x[0],
        "f": x[1],
        "y": y[0],
        "g": y[1],
        "correlation": float(np.mean(f * g)),
    }
    return Leading(_shape(column, f, target, g), functions)


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centered = values - values.mean()
    spread = float(centered.std())
    return centered / spread if spread > 0 else centered


def _orientation(target: DependenceColumn, g: NDArray[np.float64]) -> float:
    """The sign that lets g rise with a number, or be high at the last of two classes."""
    if target.kind in ("number", "date"):
        there = np.isfinite(target.values)
        ranks = np.argsort(np.argsort(target.values[there])).astype(float)
        line = float(np.mean((ranks - ranks.mean()) * g[there]))
        spread = float(ranks.std()) or 1.0
        if abs(line) / spread > 0.5:
            return 1.0 if line >= 0 else -1.0
        bend = float(np.mean((ranks - ranks.mean()) ** 2 * g[there]))
        return 1.0 if bend >= 0 else -1.0
    if target.kind == "category":
        codes, inverse = np.unique(target.values, return_inverse=True)
        means = np.bincount(inverse, g) / np.bincount(inverse)
        extreme = means[-1] if len(codes) == 2 else means[np.argmax(np.abs(means).round(9))]
        return 1.0 if extreme >= 0 else -1.0
    return 1.0


def _drawn(column: DependenceColumn, values: NDArray[np.float64]) -> Function | None:
    if column.kind == "category":
        return _by_level(column.values, values)
    if column.kind == "text":
        return _by_word(column.values, values)
    return _by_bin(column.values, values)


@np.errstate(over="ignore")  # numpy 1.26 also divides past the end of the array
def _by_bin(x: NDArray[np.float64], values: NDArray[np.float64]) -> Function | None:
    there = np.isfinite(x)
    x, values = x[there], values[there]
    if len(x) < 2:
        return None
    low, high = np.quantile(x, [_EDGE, 1 - _EDGE])
    inside = (x >= low) & (x <= high)
    x, values = x[inside], values[inside]
    distinct = np.unique(x)
    if len(distinct) < 2:
        return None
    if len(distinct) <= _BINS:
        place = np.searchsorted(distinct, x)
    else:
        # Scaled first: the range of a column may overflow.
        unit = (x / 2 - low / 2) / (high / 2 - low / 2)
        place = np.minimum((unit * _BINS).astype(np.int64), _BINS - 1)
    counts = np.bincount(place)
    used = counts > 0
    scale = np.abs(x).max() or 1.0
    at = np.bincount(place, x / scale)[used] / counts[used] * scale
    means = np.bincount(place, values)[used] / counts[used]
    return (at.tolist(), means.tolist()) if len(at) > 1 else None


def _by_level(codes: NDArray[np.int64], values: NDArray[np.float64]) -> Function | None:
    levels, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if len(levels) < 2:
        return None
    means = np.bincount(inverse, values) / counts
    kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_LEVELS])
    return levels[kept].tolist(), means[kept].tolist()


def _by_word(texts: list[str | None], values: NDArray[np.float64]) -> Function | None:
    """The words whose rows have the highest and the lowest mean."""
    counts: Counter[str] = Counter()
    sums: dict[str, float] = {}
    for text, value in zip(texts, values.tolist(), strict=True):
        for word in sorted(words_of(text)) if text else ():
            counts[word] += 1
            sums[word] = sums.get(word, 0.0) + value
    # Means shrunk towards 0, so that a rare word does not win by chance.
    means = {
        word: sums[word] / (count + _LEAST_ROWS)
        for word, count in counts.items()
        if count >= _LEAST_ROWS
    }
    order = sorted(means, key=lambda word: (means[word], word))
    if len(order) < 2:
        return None
    chosen = order if len(order) <= 2 * _MOST_WORDS else order[:_MOST_WORDS] + order[-_MOST_WORDS:]
    return list(chosen), [sums[word] / counts[word] for word in chosen]


def _shape(
    column: DependenceColumn,
    f: NDArray[np.float64],
    target: DependenceColumn,
    g: NDArray[np.float64],
) -> str:
    if column.kind in ("category", "text"):
        return "levels" if column.kind == "category" else ""
    form = _form(column.values, f)
    other = _form(target.values, g) if target.kind in ("number", "date") else ""
    if form in ("rising", "falling") and other in ("U", "peak"):
        return "spread"
    return form


def _form(x: NDArray[np.float64], values: NDArray[np.float64]) -> str:
    """A line, a parabola, or neither, over the ranks of x: tails do not count for more."""
    means = _by_rank(x, values)
    n = len(means)
    if n < 3:
        return "" if n < 2 else "rising" if means[1] > means[0] else "falling"
    unit = np.linspace(-1, 1, n)
    total = float(np.square(means - means.mean()).sum())
    if total <= 0:
        return ""
    line = np.polynomial.polynomial.polyfit(unit, means, 1)
    bend = np.polynomial.polynomial.polyfit(unit, means, 2)
    left = [
        float(np.square(means - np.polynomial.polynomial.polyval(unit, each)).sum()) / total
        for each in (line, bend)
    ]
    if 1 - left[0] >= _LINE:
        return "rising" if line[1] > 0 else "falling"
    if 1 - left[1] >= _CURVE and abs(bend[1]) < _TURN * 2 * abs(bend[2]):
        return "U" if bend[2] > 0 else "peak"
    return "wave"


def _by_rank(x: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of the values in twenty parts with equally many rows, or at each value of x."""
    there = np.isfinite(x)
    x, values = x[there], values[there]
    distinct, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    if len(distinct) > _PARTS:
        # The part of a value is that of its middle rank, so equal values stay together.
        middle = np.cumsum(counts) - counts / 2
        place = (middle / len(x) * _PARTS).astype(np.int64)[place]
    sums, sizes = np.bincount(place, values), np.bincount(place)
    found: NDArray[np.float64] = sums[sizes > 0] / sizes[sizes > 0]
    return found
