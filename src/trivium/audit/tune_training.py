"""The head and the network: layers on top of the scores, trained on the expected metric.

Both are added to scores that have not seen the label of their row (leave-one-out), so that what
they learn is not what the closed form has learnt by heart. How many steps are right is found on
rows of the training part that are held out from it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium._core.errors import NumericalError
from trivium._core.random import derive
from trivium.audit.folds import make_folds
from trivium.audit.tune_estimator import SAMPLES, Choice
from trivium.audit.tune_metric import TuneMetric
from trivium.audit.tuned import Layers, Tuned
from trivium.objective.expected_metric import expected_metric

__all__ = ["HIDDEN", "Sample", "Training", "best_steps", "train", "training_work"]

HIDDEN = 16
_STEPS = (0, 10, 20, 40, 60)
_ROWS = 1024
_RATE = 0.05
# Labels are drawn from the softmax of twice the scores: nearer to the decision than the
# probabilities are, and still smooth.
_SHARPNESS = 2.0
_LARGEST = 1e6


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows to learn from.

    Args:
        X: Encoded columns.
        codes: Classes.
        groups: Rows with one number are identical.
        probabilities: Class probabilities by rules that have not seen the label of their row.
    """

    X: np.ndarray
    codes: np.ndarray
    groups: np.ndarray
    probabilities: np.ndarray

    def take(self, rows: np.ndarray) -> "Sample":
        """Return some of the rows."""
        return Sample(self.X[rows], self.codes[rows], self.groups[rows], self.probabilities[rows])


def training_work(n_rows: int, n_features: int, n_classes: int, n_fits: int) -> float:
    """Multiplications of training a head `n_fits` times; a network takes about twice as many."""
    rows = min(n_rows, _ROWS)
    step = rows * (n_features * (n_classes + HIDDEN) + 4 * SAMPLES * n_classes**2)
    return 2.0 * _STEPS[-1] * step * n_fits


@dataclass(frozen=True, eq=False)
class Training:
    """How a head or a network is trained.

    Args:
        kind: `"head"` or `"network"`. A network begins as the head of `start`, plus zero.
        metric: What is maximised.
        choice: The gradient estimator.
        seed: Seed of the draws and of the hidden units.
    """

    kind: str
    metric: TuneMetric
    choice: Choice
    seed: int


def best_steps(how: Training, start: Tuned, sample: Sample) -> int:
    """Return how many steps do best on a quarter of the rows, held out; 0 to 60.

    Raises:
        NumericalError: A value, a gradient or a weight is not finite or too large.
        DataError: A function of the user's fails.
    """
    folds = make_folds(sample.codes, sample.groups, 4, derive(how.seed, "held out"))
    held = sample.take(np.flatnonzero(folds == 0))
    rest = sample.take(np.flatnonzero(folds != 0))
    if len(np.unique(rest.codes)) < 2 or not len(held.codes):
        return 0
    path = _path(how, start, rest, _STEPS)
    found = [how.metric.value(held.codes, one.decide(held.probabilities, held.X)) for one in path]
    # The first of equal values: fewest steps.
    return _STEPS[int(np.argmax(np.round(found, 12)))]


def train(how: Training, start: Tuned, sample: Sample, steps: int) -> Tuned:
    """Return `start` with a head or a network that was trained on the rows.

    Args:
        how: What is trained, for what, and how.
        start: What was kept so far.
        sample: The rows.
        steps: Their number; none leaves `start` as it is.

    Raises:
        NumericalError: A value, a gradient or a weight is not finite or too large.
        DataError: A function of the user's fails.
    """
    return _path(how, start, sample, (steps,))[0] if steps else start


def _path(how: Training, start: Tuned, sample: Sample, stops: tuple[int, ...]) -> list[Tuned]:
    """What was learnt after each of the numbers of steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(how.seed, "train", how.kind))
        layers = _begin(how.kind, start, sample)
        z = torch.from_numpy((sample.X - layers.center) * layers.scale)
        base, codes = (
            torch.from_numpy(a) for a in (start.base(sample.probabilities), sample.codes)
        )
        weights = _weights(how.kind, layers)
        optimizer = torch.optim.Adam(weights.values(), lr=_RATE)
        found = [_as_tuned(start, layers, weights)] if 0 in stops else []
        for step in range(1, stops[-1] + 1):
            rows = torch.randperm(len(z))[:_ROWS] if len(z) > _ROWS else slice(None)
            optimizer.zero_grad()
            logits = _SHARPNESS * (base[rows] + _added(z[rows], weights))
            _climb(logits, codes[rows], how, weights)
            optimizer.step()
            if step in stops:
                found.append(_as_tuned(start, layers, weights))
    return found


def _climb(logits: Tensor, codes: Tensor, how: Training, weights: dict[str, Tensor]) -> None:
    """Leave the gradient of minus the expected metric in the weights.

    Raises:
        NumericalError: It, the value or a weight is not finite or too large.
    """
    sound = bool(logits.detach().abs().amax() < _LARGEST)
    if sound:
        value = expected_metric(
            logits,
            codes,
            how.metric.metric,
            how.choice.estimator,
            SAMPLES,
            classes=how.metric.n_classes,
        )
        (-value).backward()
        slopes = [w.grad for w in weights.values() if w.grad is not None]
        sound = bool(value.isfinite()) and all(bool(g.isfinite().all()) for g in slopes)
    if not sound:
        raise NumericalError("tune: the gradient and the scores must stay finite; they diverged")


def _begin(kind: str, start: Tuned, sample: Sample) -> Layers:
    """The layers of `start`, or zero; hidden units that are not used yet."""
    d, c = sample.X.shape[1], sample.probabilities.shape[1]
    old = start.layers
    if old is None:
        spread = sample.X.std(0)
        scale = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1.0), 0.0) / np.sqrt(d)
        center, weight, bias = sample.X.mean(0), np.zeros((d, c)), np.zeros(c)
    else:
        center, scale, weight, bias = old.center, old.scale, old.weight, old.bias
    h = HIDDEN if kind == "network" else 0
    hidden = torch.randn(d, h, dtype=torch.float64).numpy()
    hidden_bias = torch.randn(h, dtype=torch.float64).numpy()
    return Layers(center, scale, weight, bias, hidden, hidden_bias, np.zeros((h, c)))


def _weights(kind: str, layers: Layers) -> dict[str, Tensor]:
    names = ("weight", "bias") + (("hidden", "hidden_bias", "out") if kind == "network" else ())
    return {name: torch.from_numpy(getattr(layers, name).copy()).requires_grad_() for name in names}


def _added(z: Tensor, weights: dict[str, Tensor]) -> Tensor:
    linear = z @ weights["weight"] + weights["bias"]
    if "hidden" not in weights:
        return linear
    return linear + (z @ weights["hidden"] + weights["hidden_bias"]).relu() @ weights["out"]


def _as_tuned(start: Tuned, layers: Layers, weights: dict[str, Tensor]) -> Tuned:
    learnt = {name: value.detach().numpy().copy() for name, value in weights.items()}
    names = ("center", "scale", "weight", "bias", "hidden", "hidden_bias", "out")
    held = {name: learnt.get(name, getattr(layers, name)) for name in names}
    return Tuned(start.offsets, start.costs, Layers(**held))
