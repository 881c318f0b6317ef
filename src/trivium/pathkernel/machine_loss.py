"""What a kernel machine is trained on: a loss of its scores, its slope and its curvature."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = ["LOSSES", "MachineLoss"]


class MachineLoss(ABC):
    r"""$\sum_i \ell(f_i, y_i)$, convex in the scores.

    Attributes:
        quadratic: Its curvature is the same everywhere.
    """

    quadratic: bool = False

    @abstractmethod
    def value(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return the sum over rows."""

    @abstractmethod
    def slope(self, scores: Tensor, target: Tensor) -> Tensor:
        r"""Return $\partial \ell / \partial f$, `(n, c)`."""

    @abstractmethod
    def bend(self, scores: Tensor, target: Tensor, along: Tensor) -> Tensor:
        """Return the second derivative along a direction."""

    @abstractmethod
    def start(self, target: Tensor) -> Tensor:
        """Return the scores that every row begins with, `(c,)`."""


class _Squared(MachineLoss):
    r"""$\frac12 \| f - y \|^2$: ridge regression."""

    quadratic = True

    def value(self, scores: Tensor, target: Tensor) -> Tensor:
        return (scores - target).square().sum() / 2

    def slope(self, scores: Tensor, target: Tensor) -> Tensor:
        return scores - target

    def bend(self, scores: Tensor, target: Tensor, along: Tensor) -> Tensor:
        del scores, target
        return along.square().sum()

    def start(self, target: Tensor) -> Tensor:
        return target.mean(0)


class _Logistic(MachineLoss):
    r"""$\log \sum_c e^{f_c} - f_y$: the softmax cross-entropy."""

    def value(self, scores: Tensor, target: Tensor) -> Tensor:
        return scores.logsumexp(1).sum() - (scores * target).sum()

    def slope(self, scores: Tensor, target: Tensor) -> Tensor:
        return scores.softmax(1) - target

    def bend(self, scores: Tensor, target: Tensor, along: Tensor) -> Tensor:
        del target
        share = scores.softmax(1)
        mean = (share * along).sum(1, keepdim=True)
        return (share * (along - mean).square()).sum()

    def start(self, target: Tensor) -> Tensor:
        share = target.mean(0).clamp_min(1 / (len(target) + 1))
        return share.log()


class _SquaredHinge(MachineLoss):
    r"""$\frac12 \sum_c \max(0, 1 - s_c f_c)^2$, $s_c = \pm 1$: one class against the rest."""

    def value(self, scores: Tensor, target: Tensor) -> Tensor:
        return self._short(scores, target).square().sum() / 2

    def slope(self, scores: Tensor, target: Tensor) -> Tensor:
        return -self._short(scores, target) * (2 * target - 1)

    def bend(self, scores: Tensor, target: Tensor, along: Tensor) -> Tensor:
        return along[self._short(scores, target) > 0].square().sum()

    def start(self, target: Tensor) -> Tensor:
        return torch.zeros_like(target[0])

    @staticmethod
    def _short(scores: Tensor, target: Tensor) -> Tensor:
        return (1 - scores * (2 * target - 1)).clamp_min(0)


LOSSES: dict[str, MachineLoss] = {
    "squared": _Squared(),
    "logistic": _Logistic(),
    "squared_hinge": _SquaredHinge(),
}
