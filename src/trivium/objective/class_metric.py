"""Metrics of the form h(sum over classes of phi(counts of the class)), and their counterfactuals.

Every metric of classification counts has this form: averages of ratios (phi the weighted ratio),
ratios of sums (phi the counts themselves), the correlation (phi the products of margins). Changing
one label changes the counts of two classes, each in one of four ways, so phi at five places of each
class gives the metric of every change of every item.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium.objective.count_metric import Counts
from trivium.objective.label_metric import LabelMetric
from trivium.objective.poisson_binomial import grid_mean, poisson_binomial

__all__ = ["ClassMetric", "class_mean"]


@dataclass(frozen=True)
class ClassMetric(LabelMetric):
    """Base of metrics that are a function of a sum over classes."""

    @abstractmethod
    def parts(self, counts: Counts, classes: np.ndarray) -> Float[Tensor, "*draws c m"]:
        """Return phi: what each class adds to the sum, m numbers."""

    @abstractmethod
    def whole(self, total: Float[Tensor, "*draws m"]) -> Float[Tensor, "*draws"]:
        """Return h: the metric of the sum."""

    def score(self, counts: Counts, classes: np.ndarray) -> Float[Tensor, "*draws"]:
        """Return the metric of counts, which may have been added up from parts of the data."""
        return self.whole(self.parts(counts, classes).sum(-2))

    def coded_values(
        self, target: Int[Tensor, "n"], drawn: Int[Tensor, "s n"], classes: np.ndarray
    ) -> Float[Tensor, "s"]:
        """Return the metric of each draw; see `LabelMetric.coded_values`."""
        return self.score(Counts.of(target, drawn, len(classes)), classes)

    def coded_swaps(
        self, target: Int[Tensor, "n"], drawn: Int[Tensor, "s n"], classes: np.ndarray
    ) -> Float[Tensor, "s n c"]:
        """Return the metric of each change; see `LabelMetric.coded_swaps`."""
        counts = Counts.of(target, drawn, len(classes))
        base = self.parts(counts, classes)

        def step(tp: int, fp: int) -> Tensor:
            return self.parts(counts.moved(tp, fp), classes) - base

        def of_items(step: Tensor, codes: Tensor) -> Tensor:
            return torch.take_along_dim(step, codes.expand_as(drawn)[..., None], 1)

        # The drawn label goes: a hit is missed, or a false alarm is none.
        hit = (drawn == target)[..., None]
        gone = torch.where(hit, of_items(step(-1, 0), target), of_items(step(0, -1), drawn))
        # Another comes: the right one is a hit, all others are false alarms.
        kinds = torch.arange(len(classes), device=drawn.device)
        right = (target[:, None] == kinds)[..., None]
        comes = torch.where(right, of_items(step(1, 0), target)[:, :, None], step(0, 1)[:, None])
        change = gone[:, :, None] + comes
        same = (drawn[..., None] == kinds)[..., None]
        # where, not a product: counts below 0 may have given no number, and are never chosen.
        change = torch.where(same, torch.zeros_like(change), change)
        return self.whole(base.sum(1)[:, None, None] + change)


def class_mean(
    p: Float[Tensor, "n"],
    positive: Tensor,
    ratio: Callable[[Counts], Tensor],
) -> Float[Tensor, ""]:
    """Return the exact mean of a function of one class's counts under independent labels.

    The hits are a Poisson-binomial number over the items of the class, the false alarms one over
    the others, and the two are independent.

    Args:
        p: Probability that each item is predicted as the class.
        positive: Which items are of the class.
        ratio: The function, of counts that broadcast.

    Cost: O(n²) time, O(n log n) memory.
    """
    n_positive = int(positive.sum())
    n_others = len(p) - n_positive

    def grid(tp: Tensor, fp: Tensor) -> Tensor:
        return ratio(Counts(tp, fp, n_positive - tp, n_others - fp))

    return grid_mean(poisson_binomial(p[positive]), poisson_binomial(p[~positive]), grid)
