"""Metrics of out-of-fold predictions with bootstrap intervals, paired between models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from scipy.sparse import csr_array

from trivium._core.random import numpy_generator

__all__ = ["Estimate", "bootstrap_draws", "compare_metrics", "metric_draws", "row_log_loss"]

_FLOOR = 1e-15
_WORK = 2e7


@dataclass(frozen=True)
class Estimate:
    """A value and the central 95 % of its bootstrap distribution."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Return `mean, low, high`."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


def row_log_loss(
    probabilities: Float[np.ndarray, "n c"], codes: Int64[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Negative log-probability of each row's own class, in nats."""
    own = probabilities[np.arange(len(codes)), codes]
    return -np.log(np.clip(own, _FLOOR, 1.0))


def _macro_f1(
    counts: np.ndarray, truth: np.ndarray, guess: np.ndarray, n_classes: int
) -> np.ndarray:
    """Macro F1 for rows of `counts` (draws by cells), over the classes that occur."""

    def per_class(index: np.ndarray, kept: np.ndarray) -> np.ndarray:
        shape = (len(index), n_classes)
        pick = csr_array((kept.astype(float), (np.arange(len(index)), index)), shape=shape)
        return counts @ pick

    everything = np.ones(len(truth), dtype=bool)
    hit = per_class(truth, truth == guess)
    both = per_class(truth, everything) + per_class(guess, everything)
    present = both > 0
    f1 = np.divide(2 * hit, both, out=np.zeros_like(hit), where=present)
    return f1.sum(1) / np.maximum(present.sum(1), 1)


def bootstrap_draws(n_rows: int) -> int:
    """Return how many resamples of so many rows are drawn: counted, not timed."""
    return int(np.clip(_WORK // n_rows, 200, 1000))


def metric_draws(
    models: Mapping[str, Float[np.ndarray, "n c"]], codes: Int64[np.ndarray, " n"], seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Accuracy, macro F1 and log-loss of each model: the value first, then its bootstrap draws.

    All models see the same resampled rows, so their draws are paired.
    """
    n = len(codes)
    n_draws = bootstrap_draws(n)
    generator = numpy_generator(seed, "bootstrap")
    columns, cells = [], {}
    for name, probabilities in models.items():
        guess = probabilities.argmax(1)
        columns += [guess == codes, row_log_loss(probabilities, codes)]
        cells[name] = np.unique(codes * probabilities.shape[1] + guess, return_inverse=True)
    values = np.column_stack(columns).astype(float)
    means = np.empty((n_draws + 1, values.shape[1]))
    counts = {name: np.empty((n_draws + 1, len(cell[0]))) for name, cell in cells.items()}
    for draw in range(n_draws + 1):
        weight = np.ones(n)
        if draw:
            weight = np.bincount(generator.integers(n, size=n), minlength=n).astype(float)
        means[draw] = weight @ values / n
        for name, (found, cell_of_row) in cells.items():
            counts[name][draw] = np.bincount(cell_of_row, weight, minlength=len(found))
    out = {}
    for i, (name, probabilities) in enumerate(models.items()):
        truth, guess = np.divmod(cells[name][0], probabilities.shape[1])
        f1 = _macro_f1(counts[name], truth, guess, probabilities.shape[1])
        out[name] = {"accuracy": means[:, 2 * i], "macro_f1": f1, "log_loss": means[:, 2 * i + 1]}
    return out


def summarize(draws: np.ndarray) -> Estimate:
    """Turn a value and its draws into an estimate."""
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return Estimate(float(draws[0]), float(low), float(high))


def compare_metrics(
    draws: Mapping[str, Mapping[str, np.ndarray]], ours: str
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Estimates for every model and metric, and the paired differences of `ours` to the others."""
    models = {
        name: {metric: summarize(values).as_dict() for metric, values in metrics.items()}
        for name, metrics in draws.items()
    }
    differences = [
        {"a": ours, "b": other, "metric": metric}
        | summarize(draws[ours][metric] - draws[other][metric]).as_dict()
        for other in draws
        if other != ours
        for metric in draws[ours]
    ]
    return models, differences
