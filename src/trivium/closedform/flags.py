"""Labels that the rest of the data contradicts, with a calibrated probability.

The leave-one-out logits z of a row come from a rule that never saw the row's label. A label is
modeled as the true class, kept with probability 1 - ε and otherwise replaced by another class,
all alike; `softmax(z / T)` is the probability of the true class. The rate ε and the temperature T
are those under which the given labels are most likely, so the mean of

    P(wrong | z, y) = ε (1 - p_y) / (K - 1) / [(1 - ε) p_y + ε (1 - p_y) / (K - 1)]

is ε: as many labels are wrong as the probabilities say.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.base import clone
from torch import Tensor

from trivium._core.checks import check_shapes
from trivium._core.errors import ArgumentError
from trivium.closedform.classifier import ClosedFormClassifier

__all__ = ["Flags", "LabelNoise", "label_flags", "label_noise"]

_STEPS = 40
_TINY = 1e-300


@dataclass(frozen=True)
class Flags:
    """Rows in order of suspicion, and what each row's label is worth.

    Args:
        rank: Row numbers (from 0), most suspicious first: `rank[:20]` are the first to look at.
        probability: For each row, the probability that its given label is wrong.
        suggested: For each row, the class that the rest of the data gives it, other than its own.
        own_probability: For each row, the leave-one-out probability of its given label.
        noise_rate: Estimated share of wrong labels, ε.
        expected_wrong: Expected number of wrong labels, the sum of `probability`.
        classifier: The fitted classifier behind the leave-one-out.
    """

    rank: np.ndarray
    probability: np.ndarray
    suggested: np.ndarray
    own_probability: np.ndarray
    noise_rate: float
    expected_wrong: float
    classifier: ClosedFormClassifier


@dataclass(frozen=True)
class LabelNoise:
    """Under what rows are judged: the share of wrong labels, and 1 / T.

    Args:
        rate: Share of wrong labels, ε.
        scale: Inverse temperature of the logits, 1 / T.
    """

    rate: float
    scale: float

    def judge(
        self, logits: Float[np.ndarray, "n c"], codes: Int64[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Judge labels by left-out logits, also those of rows that the two were not fitted to.

        Args:
            logits: Leave-one-out logits.
            codes: Given class of each row.

        Returns:
            For each row the probability that its label is wrong, that of its label by the logits,
            and the most likely other class.
        """
        index = torch.from_numpy(codes)
        scores = torch.from_numpy(logits)
        wrong, own = _judged(scores * self.scale, index, self.rate)[:2]
        others = scores.scatter(1, index[:, None], -torch.inf).argmax(1)
        return wrong.numpy(), own.numpy(), others.numpy()


def _judged(moved: Tensor, codes: Tensor, rate: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return P(wrong), p_y, all probabilities and the likelihood of each given label."""
    p = torch.softmax(moved, 1)
    own = p.gather(1, codes[:, None])[:, 0]
    wrong = rate * (1 - own) / (moved.shape[1] - 1)
    mixed = (wrong + (1 - rate) * own).clamp_min(_TINY)
    return wrong / mixed, own, p, mixed


def label_noise(logits: Float[np.ndarray, "n c"], codes: Int64[np.ndarray, " n"]) -> LabelNoise:
    """Fit the share of wrong labels and the temperature to leave-one-out logits.

    Args:
        logits: Leave-one-out logits.
        codes: Given class of each row.

    Cost: O(n K) for each of about ten steps.

    Example:
        >>> logits = np.where(np.eye(2)[[0, 1] * 50] > 0, 3.0, -3.0)
        >>> 0 < label_noise(logits, np.array([0, 1] * 50)).rate < 0.05
        True
    """
    return _mixture(torch.from_numpy(logits), torch.from_numpy(codes))[3]


def _mixture(logits: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, float, LabelNoise]:
    """Fit ε by expectation steps and T by scoring steps.

    Returns P(wrong), p_y, ε, and under what the first two are.

    Ten pseudo-rows with half a wrong label keep ε away from zero and from a half.
    """
    n, n_classes = logits.shape
    index = codes[:, None]
    scale, rate = 1.0, 0.05
    for _ in range(_STEPS):
        moved, used = scale * logits, LabelNoise(rate, scale)
        posterior, own, p, mixed = _judged(moved, codes, rate)
        slope = moved.gather(1, index)[:, 0] - (p * moved).sum(1)
        gain = (1 - rate - rate / (n_classes - 1)) * own * slope / mixed
        step = float(gain.sum()) / max(float(gain @ gain), _TINY)
        new = float((posterior.sum() + 0.5) / (n + 10))
        done = abs(new - rate) < 1e-6 and abs(step) < 1e-4
        rate, scale = new, scale * math.exp(min(max(step, -0.5), 0.5))
        scale = min(max(scale, 1e-3), 1e3)
        if done:
            break
    return posterior, own, rate, used


def label_flags(X: Any, y: Any, classifier: ClosedFormClassifier | None = None) -> Flags:
    """Rank labels by how strongly exact leave-one-out contradicts them.

    Args:
        X: Rows.
        y: Given labels, at least two classes.
        classifier: A classifier fitted to the same rows and labels, to spare the fit; an unfitted
            one (a copy is fitted); or None for `ClosedFormClassifier()`.

    Returns:
        One entry per row, see `Flags`.

    Raises:
        DataError: As `ClosedFormClassifier.fit`.
        ShapeError: The classifier was fitted to another number of rows.
        ArgumentError: A label that the classifier does not know.

    Cost: One fit, and O(n K) for each of about ten steps.

    Example:
        >>> X = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [0.05], [5.05], [0.15], [5.15]]
        >>> flags = label_flags(X, [0, 0, 0, 1, 1, 1, 0, 1, 1, 1])
        >>> int(flags.rank[0]), int(flags.suggested[8])
        (8, 0)

    Source:
        The noise model is that of Natarajan et al., Learning with noisy labels, 2013, with its
        rate and temperature fitted by maximum likelihood to leave-one-out logits.
    """
    fitted = ClosedFormClassifier() if classifier is None else classifier
    if not hasattr(fitted, "loo_decision_function_"):
        fitted = clone(fitted).fit(X, y)
    logits = torch.from_numpy(fitted.loo_decision_function_)
    labels = np.asarray(y)
    check_shapes("label_flags", {"y": (labels, "n"), "loo_decision_function_": (logits, "n c")})
    codes = np.searchsorted(fitted.classes_, labels).clip(0, logits.shape[1] - 1)
    unknown = np.flatnonzero(fitted.classes_[codes] != labels)
    if len(unknown):
        raise ArgumentError(
            f"label_flags: y must have the classes of the classifier; got {labels[unknown[0]]!r}",
            where=f"row {unknown[0]}",
        )
    index = torch.from_numpy(codes)
    posterior, own, rate, _ = _mixture(logits, index)
    others = logits.scatter(1, index[:, None], -torch.inf)
    rank = torch.argsort(posterior, descending=True, stable=True).numpy()
    return Flags(
        rank=rank,
        probability=posterior.numpy(),
        suggested=fitted.classes_[others.argmax(1).numpy()],
        own_probability=own.numpy(),
        noise_rate=rate,
        expected_wrong=float(posterior.sum()),
        classifier=fitted,
    )
