"""Class offsets: c - 1 numbers added to log-probabilities, found by exact sweeps over counts."""

import numpy as np
from jaxtyping import Float, Int64

from trivium.audit.tune_metric import TuneMetric

__all__ = ["MAX_CALLS", "calibrate_offsets", "offset_calls", "offset_work", "tune_offsets"]

MAX_CALLS = 2000
_SWEEPS = 3
_SCALINGS = 50
# In nats. A function of the user's is called once for each place, so it gets fewer.
_FINE = np.arange(-60, 61) / 10
_COARSE = np.arange(-6, 7) / 2
# Standard deviation of an offset that m rows of the rarest class can tell.
_BLUR, _WIDEST = 1.5, 0.5


def offset_calls(n_classes: int) -> int:
    """Calls of a metric that has no counts, in one search."""
    return _SWEEPS * (n_classes - 1) * len(_COARSE)


def offset_work(n_rows: int, n_classes: int) -> float:
    """Scores that one search looks at."""
    return float(_SWEEPS) * n_rows * n_classes**2


def calibrate_offsets(
    scores: Float[np.ndarray, "n c"], codes: Int64[np.ndarray, " n"]
) -> Float[np.ndarray, " c"]:
    """Return the offsets of the largest likelihood: each class is as frequent as it is expected.

    The closed form has a prior between that of the rows and the uniform one; expected costs need
    that of the rows. A class without rows gets 0; a fixed number of scaling steps, each of which
    raises the likelihood.

    Cost: O(n c) time for each of 50 steps.
    """
    rows = np.bincount(codes, minlength=scores.shape[1])
    found = np.zeros(scores.shape[1])
    seen = rows > 0
    for _ in range(_SCALINGS):
        p = np.exp(scores + found - (scores + found).max(1, keepdims=True))
        expected = (p / p.sum(1, keepdims=True)).sum(0)
        found[seen] += np.log(rows[seen] / expected[seen])
    return found - found[int(rows.argmax())] * seen


def tune_offsets(
    scores: Float[np.ndarray, "n c"], codes: Int64[np.ndarray, " n"], metric: TuneMetric
) -> Float[np.ndarray, " c"]:
    """Return the offsets that maximize a metric of the labels `argmax(scores + offsets)`.

    One class at a time, over a grid of offsets: all rows are sorted into the place from which they
    would be given the class, so the counts of every place, and the metric, come from one
    cumulative sum. The metric is then smoothed over the grid by a Gaussian of standard deviation
    1.5 / sqrt(rows of the rarest class) (0.1 to 0.5 nats): the best place of few rows is chance.

    Args:
        scores: Log-probabilities that have not seen the label of their row.
        codes: Class of each row.
        metric: What is maximized.

    Returns:
        Offsets; that of the most frequent class is 0.

    Raises:
        DataError: A function of the user's fails.

    Cost: O(n c²) time for each of at most 3 sweeps; `offset_calls` calls without counts.
    """
    rows = np.bincount(codes, minlength=metric.n_classes)
    grid = _FINE if metric.counted else _COARSE
    least = rows[rows > 0].min()
    blur = _smoother(grid, max(grid[1] - grid[0], min(_BLUR / np.sqrt(least), _WIDEST)))
    places = np.full(metric.n_classes, len(grid) // 2)
    free = [k for k in np.argsort(rows, kind="stable").tolist()[:-1] if rows[k]]
    for _ in range(_SWEEPS):
        before = places.copy()
        for k in free:
            curve = blur @ _curve(scores + grid[places], codes, k, grid - grid[places[k]], metric)
            best = np.flatnonzero(curve >= curve.max() - 1e-12)
            if curve[places[k]] < curve.max() - 1e-12:
                places[k] = best[np.argmin(np.abs(grid[best]))]
        if np.array_equal(before, places):
            break
    return grid[places]


def _smoother(grid: np.ndarray, width: float) -> np.ndarray:
    weights = np.exp(-0.5 * ((grid[:, None] - grid) / width) ** 2)
    return weights / weights.sum(1, keepdims=True)


def _curve(
    scores: np.ndarray, codes: np.ndarray, k: int, shifts: np.ndarray, metric: TuneMetric
) -> np.ndarray:
    """The metric with the scores of class k shifted by each of the shifts."""
    rest = scores.copy()
    rest[:, k] = -np.inf
    rival = rest.argmax(1)
    margin = rest.max(1) - scores[:, k]
    if not metric.counted:
        return np.array(
            [metric.value(codes, np.where(shift > margin, k, rival)) for shift in shifts]
        )
    # Row i is given class k from shift `place[i]` on, and its rival before.
    c, steps = metric.n_classes, len(shifts)
    place = np.searchsorted(shifts, margin, side="right")

    def counts(index: np.ndarray, kept: np.ndarray) -> np.ndarray:
        cells = (place * c + index)[kept]
        return np.bincount(cells, minlength=(steps + 1) * c).reshape(steps + 1, c)

    def left(index: np.ndarray, kept: np.ndarray) -> np.ndarray:
        found = counts(index, kept)
        return found.sum(0) - found.cumsum(0)[:-1]

    every = np.ones(len(codes), dtype=bool)
    predicted, tp = left(rival, every), left(rival, rival == codes)
    given = np.full(len(codes), k)
    predicted[:, k] = counts(given, every).cumsum(0)[:-1, k]
    tp[:, k] = counts(given, codes == k).cumsum(0)[:-1, k]
    support = np.bincount(codes, minlength=c)
    return metric.of_counts(tp, predicted, np.broadcast_to(support, tp.shape))
