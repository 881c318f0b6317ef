"""What each mistake costs: the expectation is linear, and the best decision has a closed form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_finite
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError
from trivium.objective.label_codes import class_values, distinct_values
from trivium.objective.label_metric import LabelMetric, numbers, probability_columns

__all__ = ["CostMatrix"]


@dataclass(frozen=True)
class CostMatrix(LabelMetric):
    r"""*Minus* the mean cost, $-\frac1n \sum_i C_{t_i z_i}$: larger is better, as for all metrics.

    Args:
        costs: C, a row for each true class, a column for each predicted one. Gains are negative.
        labels: Label values of rows and columns; 0 to c - 1 by default.

    Raises:
        ArgumentError: The costs are not numbers, or the labels not distinct.
        ShapeError: C is not square, or has not one row for each label.
        DataError: A cost is not finite.

    Example:
        >>> missed = CostMatrix([[0, 1], [10, 0]])
        >>> missed.value([0, 1, 1, 0], [0, 0, 1, 1])
        -2.75
        >>> missed.decide([[0.95, 0.05], [0.8, 0.2]])
        array([0, 1])

    Source: Elkan, The foundations of cost-sensitive learning (2001), for the decision.
    """

    costs: Any
    labels: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        try:
            table = torch.as_tensor(self.costs, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArgumentError(
                f"CostMatrix: costs must be a square table of numbers; got {self.costs!r}"
            ) from error
        if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 2:
            raise ShapeError(
                f"CostMatrix: costs must have shape (c, c), c at least 2; got {tuple(table.shape)}"
            )
        check_finite("CostMatrix", "costs", table)
        object.__setattr__(self, "costs", tuple(map(tuple, table.tolist())))
        if self.labels is not None:
            named = distinct_values("CostMatrix", "labels", self.labels)
            object.__setattr__(self, "labels", tuple(named.tolist()))
            if len(named) != len(table):
                raise ShapeError(
                    f"CostMatrix: labels must be {len(table)}, one for each row of costs; "
                    f"got {len(named)}"
                )

    @classmethod
    def examples(cls) -> Sequence["CostMatrix"]:
        """Return two and three classes."""
        return cls(((0, 1), (10, 0))), cls(((0, 1, 2), (3, 0, 1), (9, 1, -1)))

    def classes_of(self, target: Any, predictions: Any) -> np.ndarray:
        """Return the labels of the matrix."""
        return class_values("CostMatrix", len(self.costs) if self.labels is None else self.labels)

    def check_classes(self, classes: Sequence[Any]) -> None:
        """Refuse classes other than those of the matrix.

        Raises:
            ArgumentError: They are others.
        """
        mine = self.classes_of(None, None).tolist()
        if list(classes) != mine:
            raise ArgumentError(f"CostMatrix: classes must be {mine}; got {list(classes)}")

    def decide(self, probabilities: Any) -> np.ndarray:
        r"""Return for each item the label of least expected cost, $\arg\min_j \sum_k p_k C_{kj}$.

        Args:
            probabilities: `(n, c)`, or `(n,)`: of the second of two classes.

        Raises:
            ArgumentError: They are not real numbers.
            ShapeError: They have not one column for each class.
            DataError: They are no probabilities.
        """
        p = probability_columns("CostMatrix", numbers("CostMatrix", probabilities))
        if p.shape[1] != len(self.costs):
            raise ShapeError(
                f"CostMatrix: probabilities must have {counted(len(self.costs), 'column')}; got "
                f"{p.shape[1]}"
            )
        best = (p.detach() @ self._table(p)).argmin(1)
        return self.classes_of(None, None)[best.cpu().numpy()]

    def coded_values(
        self, target: Int[Tensor, "n"], drawn: Int[Tensor, "s n"], classes: Sequence[Any]
    ) -> Float[Tensor, "s"]:
        """Return minus the mean cost of each draw."""
        return -self._table(target)[target.expand_as(drawn), drawn].mean(1)

    def coded_swaps(
        self, target: Int[Tensor, "n"], drawn: Int[Tensor, "s n"], classes: Sequence[Any]
    ) -> Float[Tensor, "s n c"]:
        """Return minus the mean cost with one item changed."""
        each = self._table(target)[target]
        now = each.expand(len(drawn), *each.shape).gather(2, drawn[..., None])
        return self.coded_values(target, drawn, classes)[:, None, None] + (now - each) / len(target)

    def obstacle(self, target: Int[Tensor, "n"], classes: Sequence[Any]) -> str:
        """Return nothing: a linear metric has an exact form."""
        return ""

    def exact_work(self, n: int, n_classes: int) -> float:
        """Return n c."""
        return float(n) * n_classes

    def coded_expected(
        self, p: Float[Tensor, "n c"], target: Int[Tensor, "n"], classes: Sequence[Any]
    ) -> Float[Tensor, ""]:
        """Return minus the mean expected cost."""
        return -(p * self._table(target)[target]).sum() / len(target)

    def _table(self, like: Tensor) -> Float[Tensor, "c c"]:
        return torch.tensor(self.costs, dtype=torch.float64, device=like.device)
