"""Metrics of one label for each item: their common doors, which turn labels into codes."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_finite
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.objective.count_metric import CountMetric
from trivium.objective.label_codes import class_values, label_codes

__all__ = ["LabelMetric", "numbers", "probability_columns"]


def numbers(caller: str, probabilities: Any) -> Float[Tensor, "..."]:
    """Return probabilities of any kind as floating numbers, a tensor with its graph.

    Raises:
        ArgumentError: They are not real numbers.
    """
    try:
        found = torch.as_tensor(
            probabilities if isinstance(probabilities, Tensor) else np.asarray(probabilities)
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{caller}: probabilities must be a table of numbers; got "
            f"{type(probabilities).__name__}"
        ) from error
    if found.is_complex():
        raise ArgumentError(f"{caller}: probabilities must be real numbers; got {found.dtype}")
    return found if found.is_floating_point() else found.double()


def probability_columns(
    caller: str, probabilities: Float[Tensor, "n *c"]
) -> Float[Tensor, "n classes"]:
    """Return one column for each class in float64; `(n,)` holds those of the second of two.

    Raises:
        ShapeError: Neither `(n,)` nor `(n, c)` with c at least 2.
        DataError: A probability is not finite, negative, or a row does not add up to 1.
    """
    if probabilities.ndim not in (1, 2) or not len(probabilities):
        raise ShapeError(
            f"{caller}: probabilities must have shape (n,) or (n, c), n at least 1; "
            f"got {tuple(probabilities.shape)}"
        )
    p = probabilities.double()
    check_finite(caller, "probabilities", p)
    p = torch.stack((1 - p, p), -1) if p.ndim == 1 else p
    rounding = 2 * torch.finfo(probabilities.dtype).eps
    loose = 1e-8 if probabilities.dtype == torch.float64 else max(1e-4, rounding)
    given = p.detach()
    if bool((given < 0).any()) or bool(((given.sum(1) - 1).abs() > loose).any()):
        raise DataError(f"{caller}: probabilities must be at least 0 and add up to 1 in each row")
    return p


@dataclass(frozen=True)
class LabelMetric(CountMetric):
    """Base of the metrics of labels: a member answers for codes 0 to c - 1 and their classes."""

    @abstractmethod
    def coded_values(
        self, target: Int[Tensor, "n"], drawn: Int[Tensor, "s n"], classes: Sequence[Any]
    ) -> Float[Tensor, "s"]:
        """Return the metric of each draw."""

    @abstractmethod
    def coded_swaps(
        self, target: Int[Tensor, "n"], drawn: Int[Tensor, "s n"], classes: Sequence[Any]
    ) -> Float[Tensor, "s n c"]:
        """Return the metric of each draw with item i changed to class j, for all i and j."""

    @abstractmethod
    def coded_expected(
        self, p: Float[Tensor, "n c"], target: Int[Tensor, "n"], classes: Sequence[Any]
    ) -> Float[Tensor, ""]:
        """Return the exact expectation, where `obstacle` has no objection."""

    @abstractmethod
    def obstacle(self, target: Int[Tensor, "n"], classes: Sequence[Any]) -> str:
        """Return why there is no exact expectation and the way out; empty where there is one."""

    @abstractmethod
    def exact_work(self, n: int, n_classes: int) -> float:
        """Return about how many multiplications `coded_expected` takes."""

    def classes_of(self, target: Any, predictions: Any) -> np.ndarray:
        """Return the classes of a prediction: the sorted values seen."""
        return class_values(type(self).__name__, None, target, predictions)

    def check_classes(self, classes: Sequence[Any]) -> None:
        """Refuse classes that the options do not fit.

        Raises:
            ArgumentError: They do not fit.
        """

    def values(self, target: Any, predictions: Any) -> Float[Tensor, "s"]:
        """Return the metric of each of s predictions; see `CountMetric.values`."""
        classes = self.classes_of(target, predictions)
        return self.coded_values(*self._coded(target, predictions, classes), classes.tolist())

    def expected(self, probabilities: Any, target: Any, classes: Any = None) -> Float[Tensor, ""]:
        """Return the exact mean of the metric under independent labels; differentiable.

        Args:
            probabilities: `(n, c)`, one column for each class, or `(n,)`: of the second of two.
            target: True labels.
            classes: Label values in the order of the columns; 0 to c - 1 by default.

        Raises:
            ArgumentError: A label or an option does not fit, or no exact form exists; the message
                names the way out.
            ShapeError: The numbers of items differ.
            DataError: The probabilities are none.
        """
        caller = type(self).__name__
        given = numbers(caller, probabilities)
        p = probability_columns(caller, given)
        kinds = class_values(caller, p.shape[1] if classes is None else classes)
        if len(kinds) != p.shape[1]:
            raise ShapeError(
                f"{caller}: {counted(p.shape[1], 'column')} must have as many classes: {kinds}"
            )
        known = kinds.tolist()
        self.check_classes(known)
        codes = label_codes(caller, "target", target, kinds).to(p.device)
        if codes.shape != p.shape[:1]:
            raise ShapeError(
                f"{caller}: axis n is {len(p)} in probabilities but target has shape "
                f"{tuple(codes.shape)}"
            )
        self.check_exact(codes, known)
        return self.coded_expected(p, codes, known).to(given.dtype)

    def check_exact(self, target: Int[Tensor, "n"], classes: Sequence[Any]) -> None:
        """Refuse to expect without an exact form.

        Raises:
            ArgumentError: There is none; the message names the way out.
        """
        why = self.obstacle(target, classes)
        if why:
            raise ArgumentError(
                f"{type(self).__name__}: expected must have an exact form; {why}",
                remedy="Or take expected_metric(..., estimator='counterfactual').",
            )

    def counterfactual(
        self, target: Any, prediction: Any, classes: Any = None
    ) -> Float[Tensor, "*s n c"]:
        r"""Return $M(z) - M(z_{-i}, j)$: what each alternative j for each item i would lose.

        Args:
            target: True labels.
            prediction: Predicted labels `(n,)`, or several draws `(s, n)`.
            classes: Label values in the order of the last axis, or their number; the sorted values
                seen by default.

        Raises:
            ArgumentError: A label or an option does not fit.
            ShapeError: The numbers of items differ.

        Cost: O(s n c) time and memory.
        """
        kinds = self.classes_of(target, prediction)
        if classes is not None:
            kinds = class_values(type(self).__name__, classes)
            self.check_classes(kinds.tolist())
        one = np.ndim(prediction) == 1
        rows = (
            (prediction[None] if isinstance(prediction, Tensor) else [prediction])
            if one
            else (prediction)
        )
        codes, drawn = self._coded(target, rows, kinds)
        known = kinds.tolist()
        now = self.coded_values(codes, drawn, known)[:, None, None]
        found = now - self.coded_swaps(codes, drawn, known)
        return found[0] if one else found

    def _coded(
        self, target: Any, predictions: Any, classes: np.ndarray
    ) -> tuple[Int[Tensor, "n"], Int[Tensor, "s n"]]:
        caller = type(self).__name__
        drawn = label_codes(caller, "prediction", predictions, classes)
        codes = label_codes(caller, "target", target, classes).to(drawn.device)
        if codes.ndim != 1 or not len(codes) or drawn.ndim != 2 or drawn.shape[1] != len(codes):
            raise ShapeError(
                f"{caller}: target and prediction must have one label for each item, at least "
                f"one; got shapes {tuple(codes.shape)}, {tuple(drawn.shape[1:])}"
            )
        return codes, drawn
