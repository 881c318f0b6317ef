"""The Matthews correlation coefficient, of two or more classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium.objective.class_metric import ClassMetric, class_mean
from trivium.objective.count_metric import Counts

__all__ = ["MatthewsCorrelation"]


@dataclass(frozen=True)
class MatthewsCorrelation(ClassMetric):
    r"""Correlation of target and prediction, 0 where either is constant.

    $$\frac{n \sum_k tp_k - \sum_k t_k p_k}
           {\sqrt{(n^2 - \sum_k p_k^2)(n^2 - \sum_k t_k^2)}}$$

    with $t_k$ the items of class k and $p_k$ those predicted as it. Exact expectation for two
    classes; for more, the squares of all margins are coupled, and the counterfactual serves.

    Example:
        >>> round(MatthewsCorrelation().value([1, 1, 1, 0], [1, 0, 1, 1]), 6)
        -0.333333

    Source: Gorodkin, Computational Biology and Chemistry 28 (2004), for more than two classes.
    """

    @classmethod
    def examples(cls) -> Sequence["MatthewsCorrelation"]:
        """Return an instance."""
        return (cls(),)

    def parts(self, counts: Counts, classes: np.ndarray) -> Float[Tensor, "*draws c m"]:
        """Return hits, true and predicted items, and the products of these margins."""
        true, told = counts.support, counts.predicted
        return torch.stack((counts.tp, true, true * told, told**2, true**2), -1)

    def whole(self, total: Float[Tensor, "*draws m"]) -> Float[Tensor, "*draws"]:
        """Return the correlation."""
        hits, n, both, told, true = total.unbind(-1)
        # Differences of whole numbers are exact: a constant prediction gives exactly 0.
        spread = (n**2 - told) * (n**2 - true)
        flat = spread <= 0
        return torch.where(flat, 0.0, (n * hits - both) / torch.where(flat, 1.0, spread).sqrt())

    def obstacle(self, target: Int[Tensor, "n"], classes: np.ndarray) -> str:
        """Say that it has an exact expectation for two classes only."""
        if len(classes) == 2:
            return ""
        return f"with {len(classes)} classes all margins are coupled: it has one for two classes"

    def exact_work(self, n: int, n_classes: int) -> float:
        """Return n²."""
        return float(n) ** 2

    def coded_expected(
        self, p: Float[Tensor, "n c"], target: Int[Tensor, "n"], classes: np.ndarray
    ) -> Float[Tensor, ""]:
        """Return the mean over the grid of hits and false alarms of the second class."""

        def both_classes(one: Counts) -> Tensor:
            tp, fp, fn, tn = torch.broadcast_tensors(one.tp, one.fp, one.fn, one.tn)
            pair = Counts(
                *(torch.stack(two, -1) for two in ((tn, tp), (fn, fp), (fp, fn), (tp, tn)))
            )
            return self.score(pair, classes)

        return class_mean(p[:, 1], target == 1, both_classes)
