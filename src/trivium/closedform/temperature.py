"""The temperature that minimizes the leave-one-out log-loss, with the prior outside of it.

With τ = 1/T the loss `Σ w_i [logsumexp_j(τ a_ij + o_ij) - τ a_iy - o_iy]` is convex in τ: the
root of its derivative is bracketed and found by Newton steps that fall back to bisection. One
pseudo-row with a uniform label keeps it finite when leave-one-out makes no mistake at all.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Scored", "fit_temperature", "log_loss"]

_LOWEST, _HIGHEST = 1e-8, 1e8
_STEPS = 60


@dataclass(frozen=True)
class Scored:
    """Rows whose scores are to be tempered.

    Args:
        offset: Log-prior of each class as each row sees it; -inf for an empty class.
        codes: Class of each row.
        weights: Weight of each row in the loss; 0 sets it aside.
    """

    offset: Float[Tensor, "n c"]
    codes: Int[Tensor, " n"]
    weights: Float[Tensor, " n"]


def log_loss(scores: Float[Tensor, "n c"], rows: Scored, scale: float = 1.0) -> float:
    """Weighted sum of `-log softmax(scale * scores + offset)[y]`."""
    logits = scale * scores + rows.offset
    own = logits.gather(1, rows.codes[:, None])[:, 0]
    losses = torch.where(rows.weights > 0, logits.logsumexp(1) - own, 0.0)
    return float((rows.weights * losses).sum())


class _Slopes:
    """First and second derivative of the loss in τ.

    Two classes need only the margin m = a_1 - a_0, p = sigmoid(τ m + o_1 - o_0): the derivatives
    are `Σ w (a_0 + p m) - target` and `Σ w p (1 - p) m²`. More classes lie along axis 0, which
    vectorizes.
    """

    def __init__(self, scores: Tensor, rows: Scored, target: float) -> None:
        self.scores, self.offset = scores.mT.contiguous(), rows.offset.mT.contiguous()
        self.weights, self.target = rows.weights, target
        self.two = len(self.scores) == 2
        if self.two:
            self.target -= float(rows.weights @ self.scores[0])
            self.scores = self.scores[1] - self.scores[0]
            self.offset = self.offset[1] - self.offset[0]
            self.weights = rows.weights * self.scores
            self.squares = self.weights * self.scores

    def at(self, scale: float) -> tuple[float, float]:
        """Return both derivatives at τ = scale."""
        if self.two:
            p = torch.sigmoid_((self.scores * scale).add_(self.offset))
            first = float(self.weights @ p) - self.target
            return first, float(self.squares @ (p - p.square()))
        p = torch.softmax((self.scores * scale).add_(self.offset), 0)
        weighted = p.mul_(self.scores)
        mean = weighted.sum(0)
        first = float(self.weights @ mean) - self.target
        return first, float(self.weights @ ((weighted * self.scores).sum(0) - mean.square()))


def fit_temperature(scores: Float[Tensor, "n c"], rows: Scored, start: float = 1.0) -> float:
    """Return the inverse temperature τ at the minimum of the log-loss.

    Args:
        scores: Scores with mean zero over the classes of a row (so that a uniform pseudo-label
            pulls τ to zero).
        rows: Offsets, labels and weights.
        start: First guess.

    Returns:
        τ times the largest score in [1e-8, 1e8]; 1 where no row says anything.

    Cost: O(n K) per step, about six steps.
    """
    total = float(rows.weights.sum())
    if total <= 0 or not bool(scores.any()):
        return 1.0
    target = float(rows.weights @ scores.gather(1, rows.codes[:, None])[:, 0]) * total / (total + 1)
    slopes = _Slopes(scores, rows, target)
    largest = float(torch.linalg.vector_norm(scores, torch.inf))
    low, high = _LOWEST / largest, _HIGHEST / largest
    tau = min(max(start, low), high)
    for _ in range(_STEPS):
        first, second = slopes.at(tau)
        if first > 0:
            high = tau
        else:
            low = tau
        step = tau - first / second if second > 0 else math.inf
        if not low < step < high:
            step = math.sqrt(low * high) if high > 4 * low else (low + high) / 2
        step = min(max(step, tau / 30), tau * 30)
        done = abs(step - tau) <= 1e-4 * tau
        tau = step
        if done:
            break
    return tau
