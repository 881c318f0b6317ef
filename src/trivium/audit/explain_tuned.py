"""The training rows that made what tuning added to a score, by the path kernel of its training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium._core.errors import DataError
from trivium._core.random import derive
from trivium.audit.explained import Explained
from trivium.audit.tune_estimator import named_choice
from trivium.audit.tune_metric import TuneMetric
from trivium.audit.tune_training import Sample, Training, retrace, scored_rows
from trivium.audit.tuned import Tuned
from trivium.pathkernel.recording import Recording

__all__ = ["TUNED_METHOD", "Retraced", "trained_layers"]

TUNED_METHOD = (
    "path kernel of the training of what was kept, repeated and recorded: an exact account of "
    "which rows moved the score, not of what would happen without them"
)
_MISS = 1e-9  # another machine may round otherwise


def trained_layers(described: dict[str, Any] | None) -> bool:
    """Return whether something that was trained by gradient was kept."""
    return bool(described and described.get("trained"))


@dataclass(frozen=True)
class Retraced:
    """The trainings of the stages kept, recorded.

    Args:
        recordings: One for the head, one for the network, as far as kept.
        tuned: What they arrived at.
        sample: The rows that they learnt from.
    """

    recordings: Sequence[Recording]
    tuned: Tuned
    sample: Sample

    @classmethod
    def of(
        cls, tuned: Tuned, described: dict[str, Any], metric: TuneMetric, sample: Sample
    ) -> "Retraced":
        """Train again as the stage tune did, and record it.

        Args:
            tuned: What was kept.
            described: How: `trained`, `estimator`, `seed`, as the model's manifest has them.
            metric: What was maximized.
            sample: The rows of the run.

        Raises:
            DataError: It does not arrive at what was kept.
        """
        now, recordings = Tuned(tuned.offsets, tuned.costs), []
        for one in described["trained"]:
            seed = derive(described["seed"], "tune", one["stage"], "all")
            how = Training(one["stage"], metric, named_choice(described["estimator"]), seed)
            recording, now = retrace(how, now, sample, one["steps"])
            recordings.append(recording)
        if now.layers is None or tuned.layers is None or now.layers.distance(tuned.layers) > _MISS:
            raise DataError(
                "explain: repeating the training of the stage tune must lead to the saved layers",
                remedy="The metric's own code, torch or the run's files changed since the run: "
                "run trivium audit again.",
            )
        return cls(recordings, tuned, sample)

    def explain(self, rows: np.ndarray) -> Explained:
        """Take what was added to the scores of some rows apart.

        The score is that of the class decided over its strongest rival; its `intercept` is what
        the score was before the layers.
        """
        scores = self.tuned.scores(self.sample.probabilities[rows], self.sample.X[rows])
        base = self.tuned.base(self.sample.probabilities[rows])
        order = np.argsort(-scores, axis=1, kind="stable")
        predicted, rival = order[:, 0], order[:, 1]
        each = np.arange(len(rows))
        contributions = np.zeros((len(rows), len(self.sample.codes)))
        rest, error = np.zeros(len(rows)), 0.0
        margin = _Margin(predicted, rival)
        for recording in self.recordings:
            made = recording.made(scored_rows(self.tuned, self.sample, rows), of=margin)
            contributions[:, np.asarray(made.ids, dtype=np.int64)] += made.contributions.numpy()
            rest += made.remainder.numpy()
            error = max(error, made.completeness_error)
        before = base[each, predicted] - base[each, rival]
        found = Explained(
            rows,
            predicted,
            rival,
            scores[each, predicted] - scores[each, rival],
            before + rest,
            contributions,
            error,
        )
        missed = np.abs(found.intercept + contributions.sum(1) - found.score)
        return replace(found, error=max(error, float(missed.max() / max(1, np.abs(scores).max()))))


class _Margin:
    """How far one class is ahead of another in the scores, before they were sharpened."""

    def __init__(self, predicted: np.ndarray, rival: np.ndarray) -> None:
        self.columns = torch.from_numpy(np.stack([predicted, rival], 1))

    def __call__(self, out: Tensor) -> Tensor:
        """Return the margin of each row."""
        pair = out.gather(1, self.columns)
        return (pair[:, 0] - pair[:, 1]) / Training.SHARPNESS
