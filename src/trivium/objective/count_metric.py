"""A metric made from counts: the counts merge, so a metric of any change of one item is cheap."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["CountMetric", "Counts"]


@dataclass(frozen=True)
class Counts:
    """True and false positives and negatives of each class, each class against the rest.

    They are sums over items: `a + b` are the counts of both parts together, in any order.

    Args:
        tp: Items of the class that are predicted as it.
        fp: Items of other classes that are predicted as it.
        fn: Items of the class that are predicted as another.
        tn: All others.

    Example:
        >>> target, drawn = torch.tensor([0, 1, 1]), torch.tensor([[0, 1, 0]])
        >>> counts = Counts.of(target, drawn, 2)
        >>> counts.tp.tolist(), counts.fp.tolist(), counts.fn.tolist()
        ([[1.0, 1.0]], [[1.0, 0.0]], [[0.0, 1.0]])
    """

    tp: Float[Tensor, "*#draws #c"]
    fp: Float[Tensor, "*#draws #c"]
    fn: Float[Tensor, "*#draws #c"]
    tn: Float[Tensor, "*#draws #c"]

    @classmethod
    def of(cls, target: Int[Tensor, "n"], drawn: Int[Tensor, "s n"], n_classes: int) -> "Counts":
        """Count s labelings of the same items.

        Args:
            target: True classes, 0 to c - 1.
            drawn: Predicted classes of each draw.
            n_classes: c.

        Cost: O(s (n + c)) time.
        """
        none = torch.zeros(len(drawn), n_classes, dtype=torch.float64, device=drawn.device)
        hits = (drawn == target).to(none.dtype)
        tp = none.scatter_add(1, target.expand_as(drawn), hits)
        predicted = none.scatter_add(1, drawn, torch.ones_like(hits))
        support = none[0].scatter_add(0, target, torch.ones_like(hits[0]))
        fp, fn = predicted - tp, support - tp
        return cls(tp, fp, fn, len(target) - tp - fp - fn)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )

    def moved(self, tp: int = 0, fp: int = 0) -> "Counts":
        """Return the counts with so many more hits and false alarms among the same items."""
        return Counts(self.tp + tp, self.fp + fp, self.fn - tp, self.tn - fp)

    @property
    def support(self) -> Float[Tensor, "*draws c"]:
        """Items of each class."""
        return self.tp + self.fn

    @property
    def predicted(self) -> Float[Tensor, "*draws c"]:
        """Items predicted as each class."""
        return self.tp + self.fp


@dataclass(frozen=True)
class CountMetric(ABC):
    """Interface of the metrics that are functions of sums of counts; larger is better for each.

    A member has three faces. `value`: the metric of one prediction. `expected`: its exact mean
    when the labels are drawn independently from given probabilities. `counterfactual`: how much
    the metric of a drawn prediction would lose by each alternative for each item, all from the
    counts; the local gradient of `expected_metric` is made of it.
    """

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence["CountMetric"]:
        """Return a few small instances for conformance tests and the catalog."""

    @abstractmethod
    def values(self, target: Any, predictions: Any) -> Float[Tensor, "s"]:
        """Return the metric of each of s predictions of the same items.

        Raises:
            ArgumentError: A label or an option does not fit the data.
            ShapeError: The numbers of items differ.
        """

    def value(self, target: Any, prediction: Any) -> float:
        """Return the metric of one prediction.

        Args:
            target: True labels, one for each item.
            prediction: Predicted labels, in the same order.

        Raises:
            ArgumentError: A label or an option does not fit the data.
            ShapeError: The numbers of items differ.
        """
        one = prediction[None] if isinstance(prediction, Tensor) else [prediction]
        return float(self.values(target, one)[0])

    @abstractmethod
    def expected(self, probabilities: Any, target: Any, classes: Any = None) -> Float[Tensor, ""]:
        """Return the exact mean of the metric under independent labels, with its gradient.

        Raises:
            ArgumentError: No exact form exists; the message names the way out.
        """

    @abstractmethod
    def counterfactual(
        self, target: Any, prediction: Any, classes: Any = None
    ) -> Float[Tensor, "*s n c"]:
        """Return the metric of the prediction minus the metric with each item changed to each.

        Raises:
            ArgumentError: A label or an option does not fit the data.
            ShapeError: The numbers of items differ.
        """
