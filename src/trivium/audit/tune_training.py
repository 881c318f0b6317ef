"""The head and the network: layers on top of the scores, trained on the expected metric.

Both are added to scores that have not seen the label of their row (leave-one-out), so that what
they learn is not what the closed form has learnt by heart. How many steps are right is found on
rows of the training part that are held out from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from trivium._core.errors import NumericalError
from trivium._core.random import derive
from trivium.audit.folds import make_folds
from trivium.audit.own_stream import own_stream
from trivium.audit.tune_estimator import SAMPLES, Choice
from trivium.audit.tune_metric import TuneMetric
from trivium.audit.tuned import Layers, Tuned
from trivium.objective.expected_metric import expected_metric
from trivium.pathkernel.record import record
from trivium.pathkernel.recording import Recording

__all__ = [
    "HIDDEN",
    "Sample",
    "Training",
    "best_steps",
    "retrace",
    "scored_rows",
    "train",
    "training_work",
]

HIDDEN = 16
_STEPS = (0, 10, 20, 40, 60)
_ROWS = 1024
_RATE = 0.05
_LARGEST = 1e6
_DIVERGED = "tune: the gradient and the scores must stay finite; they diverged"


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
        metric: What is maximized.
        choice: The gradient estimator.
        seed: Seed of the draws and of the hidden units.
    """

    # Labels are drawn from the softmax of twice the scores: nearer to the decision than the
    # probabilities are, and still smooth.
    SHARPNESS: ClassVar[float] = 2.0

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


class Added(nn.Module):
    """The scores of rows with a head or a network on top, sharpened to be drawn from."""

    def __init__(self, kind: str, layers: Layers) -> None:
        super().__init__()
        (d, c), h = layers.weight.shape, layers.hidden.shape[1]
        self.head = _linear(d, c, layers.weight, layers.bias)
        network = kind == "network"
        self.hidden = _linear(d, h, layers.hidden, layers.hidden_bias) if network else None
        self.out = _linear(h, c, layers.out) if network else None

    def forward(self, z: Tensor, base: Tensor) -> Tensor:
        """Return sharpened scores, `(n, c)`."""
        added = self.head(z)
        if self.hidden is not None and self.out is not None:
            added = added + self.out(self.hidden(z).relu())
        return Training.SHARPNESS * (base + added)

    def learnt(self) -> dict[str, np.ndarray]:
        """Return the weights by their names in `Layers`."""
        found = {"weight": self.head.weight.T, "bias": self.head.bias}
        if self.hidden is not None and self.out is not None:
            found |= {"hidden": self.hidden.weight.T, "hidden_bias": self.hidden.bias}
            found |= {"out": self.out.weight.T}
        return {name: value.detach().numpy().copy() for name, value in found.items()}


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


def retrace(how: Training, start: Tuned, sample: Sample, steps: int) -> tuple[Recording, Tuned]:
    """Train as `train` does, and record it: what it kept can be asked which rows made it.

    Args:
        how: As `train` had it.
        start: As `train` had it.
        sample: As `train` had it.
        steps: At least one.

    Raises:
        NumericalError: A value, a gradient or a weight is not finite or too large.
        DataError: A function of the user's fails.
    """
    run = _Run(how, start, sample)
    with run.seeded():
        recording = record(run.net, run.optimizer, run.loss)
        with recording:
            for _ in range(steps):
                run.climb(recording)
    return recording, run.tuned()


def scored_rows(tuned: Tuned, sample: Sample, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return rows as a recorded training takes them: standardized columns and scores before."""
    layers = tuned.layers
    assert layers is not None
    z = torch.from_numpy((sample.X[rows] - layers.center) * layers.scale)
    return z, torch.from_numpy(tuned.base(sample.probabilities[rows]))


def _path(how: Training, start: Tuned, sample: Sample, stops: tuple[int, ...]) -> list[Tuned]:
    """What was learnt after each of the numbers of steps."""
    run = _Run(how, start, sample)
    with run.seeded():
        found = [run.tuned()] if 0 in stops else []
        for step in range(1, stops[-1] + 1):
            run.climb()
            if step in stops:
                found.append(run.tuned())
    return found


class _Run:
    """One training of a head or a network.

    Args:
        how: What is trained, for what, and how.
        start: What was kept so far.
        sample: The rows.
    """

    def __init__(self, how: Training, start: Tuned, sample: Sample) -> None:
        self.how, self.start = how, start
        with own_stream():
            torch.manual_seed(derive(how.seed, "train", how.kind))
            self.layers = _begin(how.kind, start, sample)
            self.state = torch.get_rng_state()
            self.net = Added(how.kind, self.layers)  # draws weights that it then replaces
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=_RATE)
        self.z = torch.from_numpy((sample.X - self.layers.center) * self.layers.scale)
        self.base = torch.from_numpy(start.base(sample.probabilities))
        self.codes = torch.from_numpy(sample.codes)

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Draw from the run's own stream, behind the hidden units."""
        with own_stream():
            torch.set_rng_state(self.state)
            yield

    def loss(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return minus the expected metric.

        Raises:
            NumericalError: The scores or the value are not finite or too large.
        """
        metric = self.how.metric
        if not bool(logits.detach().abs().amax() < _LARGEST):
            raise NumericalError(_DIVERGED)
        estimator, c = self.how.choice.estimator, metric.n_classes
        value = expected_metric(logits, codes, metric.metric, estimator, SAMPLES, classes=c)
        if not bool(value.isfinite()):
            raise NumericalError(_DIVERGED)
        return -value

    def climb(self, recording: Recording | None = None) -> None:
        """Make one step.

        Raises:
            NumericalError: A value, a gradient or a weight is not finite or too large.
        """
        n = len(self.z)
        rows = torch.randperm(n)[:_ROWS] if n > _ROWS else torch.arange(n)
        if recording is not None:
            recording.batch(rows)
        self.optimizer.zero_grad()
        loss = self.loss if recording is None else recording.loss
        loss(self.net(self.z[rows], self.base[rows]), self.codes[rows]).backward()
        slopes = [w.grad for w in self.net.parameters() if w.grad is not None]
        if not all(bool(g.isfinite().all()) for g in slopes):
            raise NumericalError(_DIVERGED)
        self.optimizer.step()

    def tuned(self) -> Tuned:
        """Return what was learnt so far."""
        learnt = self.net.learnt()
        names = ("center", "scale", "weight", "bias", "hidden", "hidden_bias", "out")
        held = {name: learnt.get(name, getattr(self.layers, name)) for name in names}
        return Tuned(self.start.offsets, self.start.costs, Layers(**held))


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


def _linear(d: int, c: int, weight: np.ndarray, bias: np.ndarray | None = None) -> nn.Linear:
    layer = nn.Linear(d, c, bias=bias is not None, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
    return layer
