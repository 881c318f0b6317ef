"""Accuracy: the share of right labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium.objective.class_metric import ClassMetric
from trivium.objective.count_metric import Counts

__all__ = ["Accuracy"]


@dataclass(frozen=True)
class Accuracy(ClassMetric):
    r"""Share of the items that have their label: $\sum_k tp_k / n$.

    Its expectation is the mean probability of the right label, for any number of classes.

    Example:
        >>> Accuracy().value(["a", "b", "b", "c"], ["a", "b", "c", "a"])
        0.5
    """

    @classmethod
    def examples(cls) -> Sequence["Accuracy"]:
        """Return an instance."""
        return (cls(),)

    def parts(self, counts: Counts, classes: np.ndarray) -> Float[Tensor, "*draws c m"]:
        """Return hits and items of each class."""
        return torch.stack((counts.tp, counts.support), -1)

    def whole(self, total: Float[Tensor, "*draws m"]) -> Float[Tensor, "*draws"]:
        """Return hits over items."""
        return total[..., 0] / total[..., 1]

    def obstacle(self, target: Int[Tensor, "n"], classes: np.ndarray) -> str:
        """Return nothing: a linear metric has an exact form."""
        return ""

    def exact_work(self, n: int, n_classes: int) -> float:
        """Return n."""
        return float(n)

    def coded_expected(
        self, p: Float[Tensor, "n c"], target: Int[Tensor, "n"], classes: np.ndarray
    ) -> Float[Tensor, ""]:
        """Return the mean probability of the right label."""
        return p.gather(1, target[:, None]).mean()
