"""A quick look at very many columns: one number for each, to choose which of them are tested.

What is tested may be chosen by the same rows: a column that is left out counts as p = 1, so what is
rejected is rejected by a valid test of its own, and its p-value holds its level whatever the choice
was. A bad look costs power, never validity.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium.dependence.columns import DependenceColumn, single_features

__all__ = ["quick_look", "strongest"]

_BLOCK = 2**21  # cells of numbers that are ranked at once
WAVES = 8
_TINY = 1e-300


def strongest(
    columns: Sequence[DependenceColumn], scores: Float[np.ndarray, " k"], count: int
) -> list[int]:
    """Return the places of the columns with the largest scores, the largest first.

    Ties go by name, so the choice does not depend on the order of the columns.
    """
    names = np.array([column.name for column in columns])
    return [int(place) for place in np.lexsort((names, -scores))[:count]]


def quick_look(
    columns: Sequence[DependenceColumn],
    rows: NDArray[np.int64],
    target: Float[Tensor, "t n"],
    progress: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, " k"]:
    r"""Score each column by how much its features and the target's vary together.

    $T = \sum_{jk} (\varphi_j \cdot \psi_k)^2$, as a normal deviate of a gamma with the mean and
    the variance that chance gives (Wilson and Hilferty), so that kinds can be compared. Numbers
    have cosines of their ranks, up to eight half-waves, the slow ones weighing more; all other
    kinds have the features of their test.

    Args:
        columns: The columns.
        rows: Rows that are compared.
        target: Features of the target at these rows, centered and orthogonal.
        progress: Called with the number of columns done and in all.

    Returns:
        Scores; minus infinity where a column does not vary.

    Cost: O(n (log n + t)) time for each number. One block of columns in memory.
    """
    psi = target.double().numpy()
    powers = np.square(psi).sum(1)
    size = max(1, _BLOCK // max(1, len(rows)))
    numbers = [place for place, column in enumerate(columns) if column.kind == "number"]
    scores = np.full(len(columns), -np.inf)
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, len(columns))

    for low in range(0, len(numbers), size):
        block = numbers[low : low + size]
        values = np.stack([columns[place].values[rows] for place in block])
        scores[block] = _number_scores(values, psi, powers)
        tell(len(block))
    for place, column in enumerate(columns):
        if column.kind != "number":
            features = single_features(column.take(rows))[0].numpy()
            scores[place] = _score(features, psi, powers)
            tell(1)
    return scores


def _number_scores(
    values: Float[np.ndarray, "k n"], psi: Float[np.ndarray, "t n"], powers: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " k"]:
    total, first, second = (np.zeros(len(values)) for _ in range(3))
    for each, weight in _waves(values):
        wave = each - each.mean(1, keepdims=True)
        length = np.square(wave).sum(1)
        moves = length > 1e-9 * values.shape[1]
        share = np.where(moves, weight / np.where(moves, length, 1.0), 0.0)
        total += share * np.square(wave @ psi.T).sum(1)
        first += np.where(moves, weight, 0.0)
        second += np.where(moves, weight**2, 0.0)
    return _deviate(total, first, second, powers, values.shape[1])


def _waves(values: Float[np.ndarray, "k n"]) -> Iterator[tuple[Float[np.ndarray, "k n"], float]]:
    """Cosines of the ranks from 0 to 1, and what is missing, each with its weight."""
    missing = np.isnan(values)
    middle = _ranks(values) * (np.pi / np.maximum((~missing).sum(1, keepdims=True), 1))
    for half in range(1, WAVES + 1):
        yield np.where(missing, 0.0, np.cos(half * middle)), 1 / half
    if missing.any():
        yield missing.astype(np.float64), 1.0


def _ranks(values: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k n"]:
    """Ranks from a half on, equal values sharing their mean; those of NaN are of no use."""
    k, n = values.shape
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, 1)
    starts = np.ones((k, n), dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    place = np.arange(n)
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    ends = np.ones((k, n), dtype=bool)
    ends[:, :-1] = starts[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, n)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty((k, n))
    np.put_along_axis(ranks, order, (first + last + 1) / 2, 1)
    return ranks


def _score(
    features: Float[np.ndarray, "r n"],
    psi: Float[np.ndarray, "t n"],
    powers: Float[np.ndarray, " t"],
) -> float:
    centered = features - features.mean(1, keepdims=True)
    r, n = centered.shape
    gram = centered @ centered.T if r <= n else centered.T @ centered
    trace = float(np.trace(gram))
    if trace <= 1e-9 * n:
        return -np.inf
    total = np.square(centered @ psi.T).sum()
    total, first, second = (np.array([x]) for x in (total, trace, np.square(gram).sum()))
    return float(_deviate(total, first, second, powers, n)[0])


def _deviate(
    total: Float[np.ndarray, " k"],
    first: Float[np.ndarray, " k"],
    second: Float[np.ndarray, " k"],
    powers: Float[np.ndarray, " t"],
    n: int,
) -> Float[np.ndarray, " k"]:
    """The normal deviate of sums whose terms have these sums of weights and of their squares."""
    mean = first * powers.sum() / (n - 1)
    shape = first**2 * powers.sum() ** 2 / (2 * second * np.square(powers).sum() + _TINY)
    moves = mean > 0
    shape = np.where(moves, shape, 1.0)
    ratio = np.cbrt(total / np.where(moves, mean, 1.0))
    found: NDArray[np.float64] = (ratio - 1 + 1 / (9 * shape)) * 3 * np.sqrt(shape)
    return np.where(moves, found, -np.inf)
