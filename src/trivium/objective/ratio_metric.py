"""Precision, recall, F-beta and Jaccard, averaged over classes as scikit-learn names it."""

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError
from trivium.objective.class_metric import ClassMetric, class_mean
from trivium.objective.count_metric import Counts
from trivium.objective.label_codes import class_values, distinct_values
from trivium.objective.poisson_binomial import poisson_binomial

__all__ = ["AVERAGES", "FBeta", "Jaccard", "Precision", "RatioMetric", "Recall"]

_LARGEST = 1e100  # so that its square is a number
AVERAGES = ("binary", "micro", "macro", "weighted")


@dataclass(frozen=True, kw_only=True)
class RatioMetric(ClassMetric):
    """Base of the ratios of counts of one class, averaged.

    Args:
        average: `"binary"`: the ratio of `pos_label`, for two classes. `"macro"`: the mean over
            classes. `"weighted"`: the mean weighted by the true items of each class; where no class
            has any, the plain mean. `"micro"`: the ratio of the summed counts.
        pos_label: The class of the binary average.
        labels: Classes to average over; all that occur in target or prediction by default, as in
            scikit-learn. Named classes count even when they do not occur.
        zero_division: Value of 0 / 0, from 0 to 1. NaN is refused: it has no expectation.

    Raises:
        ArgumentError: An option breaks its rule.
    """

    average: str = "binary"
    pos_label: Hashable = 1
    labels: Sequence[Any] | None = None
    zero_division: float = 0.0

    def __post_init__(self) -> None:
        caller = type(self).__name__
        check_choice(caller, "average", self.average, AVERAGES)
        check_number(caller, "zero_division", self.zero_division, "in [0, 1]")
        if self.labels is not None:
            if self.average == "binary":
                raise ArgumentError(
                    f"{caller}: labels must be None for average='binary'; got {self.labels!r}",
                    remedy="Name the one class with pos_label=.",
                )
            named = distinct_values(caller, "labels", self.labels)
            object.__setattr__(self, "labels", tuple(named.tolist()))

    @classmethod
    def examples(cls) -> Sequence["RatioMetric"]:
        """Return one for each average."""
        return tuple(cls(average=average) for average in AVERAGES)

    @abstractmethod
    def fraction(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """Return numerator and denominator of the ratio of each class."""

    def ratio(self, counts: Counts) -> Tensor:
        """Return the ratio, `zero_division` where it is 0 / 0."""
        above, below = self.fraction(counts)
        empty = below == 0
        return torch.where(empty, self.zero_division, above / torch.where(empty, 1.0, below))

    def classes_of(self, target: Any, predictions: Any) -> np.ndarray:
        """Return the classes seen, and those named by the options.

        Raises:
            ArgumentError: They do not go together.
        """
        caller = type(self).__name__
        seen = class_values(caller, None, target, predictions)
        if self.labels is not None:
            return class_values(caller, None, seen, np.asarray(self.labels))
        if self.average != "binary":
            return seen
        alike = isinstance(self.pos_label, str) == (seen.dtype.kind == "U")
        if len(seen) == 1 and alike and self.pos_label not in seen.tolist():
            return class_values(caller, None, seen, np.asarray([self.pos_label]))
        self.check_classes(seen.tolist())
        return seen

    def check_classes(self, classes: Sequence[Any]) -> None:
        """Refuse classes that the options do not fit; see `LabelMetric.check_classes`."""
        known, caller = list(classes), type(self).__name__
        missing = [label for label in self.labels or () if label not in known]
        if missing:
            raise ArgumentError(f"{caller}: labels must be among {known}; got {missing[0]!r}")
        if self.average == "binary" and (len(known) > 2 or self.pos_label not in known):
            raise ArgumentError(
                f"{caller}: average='binary' must have two classes, one of them pos_label="
                f"{self.pos_label!r}; got {known}",
                remedy="Choose average='macro', 'micro' or 'weighted', or labels=[...] with one.",
            )

    def chosen(self, classes: Sequence[Any]) -> list[bool]:
        """Return which classes the average is over."""
        if self.average == "binary":
            return [value == self.pos_label for value in classes]
        return [self.labels is None or value in self.labels for value in classes]

    def weights(self, counts: Counts, classes: Sequence[Any]) -> Float[Tensor, "*draws c"]:
        """Return the weight of each class in the mean."""
        chosen = torch.tensor(self.chosen(classes), device=counts.tp.device)
        if self.average == "weighted":
            support = counts.support * chosen
            none = support.sum(-1, keepdim=True) == 0
            return torch.where(none, chosen.to(support.dtype), support)
        if self.average == "macro" and self.labels is None:
            return (counts.tp + counts.fp + counts.fn > 0).to(counts.tp.dtype)
        return chosen.to(counts.tp.dtype).expand_as(counts.tp)

    def parts(self, counts: Counts, classes: Sequence[Any]) -> Float[Tensor, "*draws c m"]:
        """Return weighted ratio and weight, or for micro the counts."""
        weight = self.weights(counts, classes)
        if self.average == "micro":
            each = torch.stack((counts.tp, counts.fp, counts.fn, counts.tn), -1)
            return weight[..., None] * each
        return torch.stack((weight * self.ratio(counts), weight), -1)

    def whole(self, total: Float[Tensor, "*draws m"]) -> Float[Tensor, "*draws"]:
        """Return the mean over classes, or for micro the ratio of the sums."""
        if self.average == "micro":
            return self.ratio(Counts(*total.unbind(-1)))
        return total[..., 0] / total[..., 1]

    def obstacle(self, target: Int[Tensor, "n"], classes: Sequence[Any]) -> str:
        """Say where no exact expectation exists; see `LabelMetric.obstacle`."""
        chosen = self.chosen(classes)
        if self.average == "micro" and 1 < sum(chosen) < len(classes):
            return (
                "average='micro' over some of the classes couples hits and false alarms of one "
                "item: average over all classes, or take average='macro'"
            )
        if self.average == "macro" and self.labels is None:
            absent = sorted(set(range(len(classes))) - set(target.tolist()))
            if absent:
                return (
                    f"class {classes[absent[0]]!r} is not in target, so that the number "
                    "of classes averaged over is random: name all with labels="
                )
        return ""

    def exact_work(self, n: int, n_classes: int) -> float:
        """Return about how many multiplications the exact form takes."""
        if self.average in ("micro", "binary"):
            return float(n) ** 2
        return float(n) ** 2 * (n_classes if self.labels is None else len(self.labels))

    def coded_expected(
        self, p: Float[Tensor, "n c"], target: Int[Tensor, "n"], classes: Sequence[Any]
    ) -> Float[Tensor, ""]:
        """Return the sum of the exact means of its terms; see `LabelMetric.coded_expected`."""
        chosen = [k for k, taken in enumerate(self.chosen(classes)) if taken]
        n = len(target)
        if self.average == "micro" and len(chosen) == len(classes):
            # Each miss of one class is a false alarm of another: the hits say all.
            right = poisson_binomial(p.gather(1, target[:, None])[:, 0])
            tp = torch.arange(n + 1, dtype=p.dtype, device=p.device)
            return right @ self.ratio(Counts(tp, n - tp, n - tp, tp))
        counts = Counts.of(target, target[None], len(classes))
        weight = self.weights(counts, classes)[0]
        total = p.new_zeros(())
        for k in chosen:
            if weight[k] > 0:
                total = total + weight[k] * class_mean(p[:, k], target == k, self.ratio)
        return total / weight.sum()


@dataclass(frozen=True)
class Precision(RatioMetric):
    r"""Share of the items predicted as the class that are of it: $tp / (tp + fp)$.

    The options, and what they raise, are those of `RatioMetric`.

    Example:
        >>> Precision().value([0, 1, 1, 0], [1, 1, 0, 0])
        0.5
    """

    def fraction(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """Return tp and tp + fp."""
        return counts.tp, counts.predicted


@dataclass(frozen=True)
class Recall(RatioMetric):
    r"""Share of the items of the class that are predicted as it: $tp / (tp + fn)$.

    The options, and what they raise, are those of `RatioMetric`.

    Example:
        >>> Recall(average="macro").value(["a", "b", "b"], ["a", "a", "b"])
        0.75
    """

    def fraction(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """Return tp and tp + fn."""
        # As wide as a grid of hits and false alarms.
        return counts.tp, counts.support + 0 * counts.predicted


@dataclass(frozen=True)
class FBeta(RatioMetric):
    r"""Weighted harmonic mean of precision and recall.

    $$F_\beta = \frac{(1 + \beta^2)\, tp}{\beta^2 (tp + fn) + tp + fp}$$

    Args:
        beta: Weight of recall over precision, at least 0.
        average: This and the other options are those of `RatioMetric`.

    Raises:
        ArgumentError: An option breaks its rule.

    Example:
        >>> import torch
        >>> round(FBeta().value([0, 1, 1, 0], [1, 1, 1, 0]), 6)
        0.8
        >>> p = torch.tensor([0.5, 0.5], dtype=torch.float64)
        >>> round(FBeta().expected(p, [1, 0]).item(), 6)  # (0 + 0 + 1 + 2/3) / 4
        0.416667

    Source: van Rijsbergen (1979); Ye et al., Optimizing F-measures (2012), for its expectation.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        if check_number("FBeta", "beta", self.beta, "non-negative") > _LARGEST:
            raise ArgumentError(
                f"FBeta: beta must be at most {_LARGEST:g}; got {self.beta!r}",
                remedy="Recall() is what it tends to.",
            )
        super().__post_init__()

    @classmethod
    def examples(cls) -> Sequence["FBeta"]:
        """Return one for each average."""
        return (cls(), *(cls(0.5, average=average) for average in AVERAGES[1:]))

    def fraction(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """Return its numerator and denominator."""
        square = self.beta**2
        return (1 + square) * counts.tp, square * counts.support + counts.predicted


@dataclass(frozen=True)
class Jaccard(RatioMetric):
    r"""Intersection over union of the class: $tp / (tp + fp + fn)$.

    The options, and what they raise, are those of `RatioMetric`.

    Example:
        >>> Jaccard().value([0, 1, 1, 0], [1, 1, 0, 1])
        0.25
    """

    def fraction(self, counts: Counts) -> tuple[Tensor, Tensor]:
        """Return tp and tp + fp + fn."""
        return counts.tp, counts.tp + counts.fp + counts.fn
