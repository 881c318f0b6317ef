"""Labels that the rest of the data contradicts, with a calibrated probability.

The leave-one-out logits z of a row come from a rule that never saw the row's label. A label is
modelled as the true class, kept with probability 1 - ε and otherwise replaced by another class,
all alike; `softmax(z / T)` is the probability of the true class. The rate ε and the temperature T
are those under which the given labels are most likely, so the mean of

    P(wrong | z, y) = ε (1 - p_y) / (K - 1) / [(1 - ε) p_y + ε (1 - p_y) / (K - 1)]

is ε: as many labels are wrong as the probabilities say.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium.closedform.classifier import ClosedFormClassifier

__all__ = ["Flags", "label_flags"]


@dataclass(frozen=True)
class Flags:
    """Rows in order of suspicion, and what each row's label is worth.

    Args:
        rank: Row indices, most suspicious first.
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


def _mixture(logits: Tensor, codes: Tensor, steps: int = 25) -> tuple[Tensor, Tensor, float]:
    """Fit ε and T by alternating ε's expectation step with Newton steps of log T."""
    n, n_classes = logits.shape
    index = codes[:, None]
    log_scale, rate = 0.0, 0.05
    for _ in range(steps):
        log_p = torch.log_softmax(float(np.exp(log_scale)) * logits, 1)
        p = log_p.exp()
        own = p.gather(1, index)[:, 0]
        wrong = rate * (1 - own) / (n_classes - 1)
        posterior = wrong / (wrong + (1 - rate) * own).clamp_min(1e-300)
        new = float((posterior.sum() + 0.5) / (n + 10))
        # Derivatives of the log-likelihood in log scale, through own.
        moved = logits * float(np.exp(log_scale))
        slope = moved.gather(1, index)[:, 0] - (p * moved).sum(1)
        gain = (1 - rate) - rate / (n_classes - 1)
        mixed = wrong + (1 - rate) * own
        first = gain * own * slope / mixed.clamp_min(1e-300)
        step = float(first.sum()) / max(float((first**2).sum()), 1e-12)
        log_scale += float(np.clip(step, -0.5, 0.5))
        done = abs(new - rate) < 1e-7 and abs(step) < 1e-5
        rate = new
        if done:
            break
    return posterior, own, rate


def label_flags(X: Any, y: Any, classifier: ClosedFormClassifier | None = None) -> Flags:
    """Flag labels that exact leave-one-out contradicts."""
    fitted = ClosedFormClassifier() if classifier is None else classifier
    if not hasattr(fitted, "loo_decision_function_"):
        fitted = fitted.fit(X, y)
    logits = torch.from_numpy(fitted.loo_decision_function_)
    labels = np.asarray(y)
    codes = torch.from_numpy(np.searchsorted(fitted.classes_, labels))
    posterior, own, rate = _mixture(logits, codes)
    others = logits.scatter(1, codes[:, None], -torch.inf)
    rank = torch.argsort(posterior, descending=True, stable=True)
    return Flags(
        rank=rank.numpy(),
        probability=posterior.numpy(),
        suggested=fitted.classes_[others.argmax(1).numpy()],
        own_probability=own.numpy(),
        noise_rate=rate,
        expected_wrong=float(posterior.sum()),
        classifier=fitted,
    )
