"""The expected metric of a classifier's own labels, to be maximized."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.expectation import Exact, GradientEstimator, Score
from trivium.expectation.expect import expect
from trivium.objective.count_metric import CountMetric
from trivium.objective.label_codes import class_values, label_codes
from trivium.objective.label_metric import LabelMetric
from trivium.objective.local_gradient import local_expectation
from trivium.objective.logits import check_logits

__all__ = ["expected_metric"]

_MOST = 2.0**26
_NAMES = ("auto", "exact", "counterfactual")
Metric = CountMetric | Callable[[np.ndarray, np.ndarray], float]


def expected_metric(
    logits: Float[Tensor, "n *c"],
    target: Any,
    metric: Metric,
    estimator: GradientEstimator | str = "auto",
    samples: int = 16,
    *,
    classes: Any = None,
) -> Float[Tensor, ""]:
    r"""Return $E[M(t, z)]$ where each label $z_i$ is drawn from the logits; maximize it.

    Args:
        logits: `(n,)` of the second of two classes, or `(n, c)`.
        target: True labels t.
        metric: A member of `CountMetric`, or any function of two arrays of labels that returns a
            number, say of scikit-learn.
        estimator: `"exact"`: the expectation itself. `"counterfactual"`: each item judged by all
            of its alternatives under draws of the others, from counts. A gradient estimator of
            `trivium.expectation`, say `Score()`: from draws of the metric alone. All three have
            derivatives of every order. `"auto"`: the first of them that serves; exact up to 2^26
            multiplications, 8,192 rows for the F1 of one class, which take half a second.
        samples: Draws, for all but `"exact"`.
        classes: Label values in the order of the columns; 0 to c - 1 by default.

    Returns:
        The value, exact or the mean over the draws; its backward is the gradient.

    Raises:
        ArgumentError: An option or a label does not fit, or the estimator cannot serve the metric.
        ShapeError: Shapes do not fit.
        DataError: NaN in logits, a row that cannot be normalized, or a metric that is not finite.

    Cost: exact O(n²) for each class, O(n c) for accuracy and costs; counterfactual O(samples n c);
    else `samples` calls of the metric.

    Example:
        >>> import torch
        >>> from trivium.objective import FBeta
        >>> logits = torch.zeros(4, requires_grad=True)
        >>> value = expected_metric(logits, [0, 0, 0, 1], FBeta())
        >>> value.backward()
        >>> (logits.grad > 0).tolist()
        [False, False, False, True]
    """
    task = _task(logits, target, classes)
    count = int(check_number("expected_metric", "samples", samples, "positive", integer=True))
    if not isinstance(metric, LabelMetric):
        found = _of_any(task, metric, estimator, count)
    else:
        metric.check_classes(task.known)
        found = _of_counts(task, metric, estimator, count)
    return found.to(logits.dtype)


@dataclass(frozen=True)
class _Task:
    """Items with independent labels, and their true classes."""

    logits: Float[Tensor, "n *c"]
    target: Int[Tensor, "n"]
    classes: np.ndarray

    @property
    def known(self) -> list[Any]:
        return self.classes.tolist()

    @property
    def distribution(self) -> Distribution:
        if self.logits.ndim == 1:
            # An infinite logit is a certain label; its log-probability is 0, not inf - inf.
            largest = torch.finfo(self.logits.dtype).max
            return Bernoulli(logits=self.logits.clamp(-largest, largest), validate_args=False)
        return Categorical(logits=self.logits, validate_args=False)

    @property
    def p(self) -> Float[Tensor, "n c"]:
        logits = self.logits.double()
        if logits.ndim == 1:  # both from the logit: no digits are lost in 1 - p
            return torch.stack(((-logits).sigmoid(), logits.sigmoid()), -1)
        return logits.softmax(1)


def _task(logits: Tensor, target: Any, classes: Any) -> _Task:
    caller = "expected_metric"
    logits = check_logits(caller, logits)
    if logits.ndim not in (1, 2) or not logits.numel():
        raise ShapeError(
            f"{caller}: logits must have shape (n,) or (n, c), n and c at least 1; "
            f"got {tuple(logits.shape)}"
        )
    n_classes = 2 if logits.ndim == 1 else logits.shape[1]
    kinds = class_values(caller, n_classes if classes is None else classes)
    if len(kinds) != n_classes:
        raise ShapeError(f"{caller}: classes must be {n_classes}, as the logits; got {len(kinds)}")
    codes = label_codes(caller, "target", target, kinds).to(logits.device)
    if codes.shape != logits.shape[:1]:
        raise ShapeError(
            f"{caller}: axis n is {len(logits)} in logits but target has shape {tuple(codes.shape)}"
        )
    return _Task(logits, codes, kinds)


def _of_counts(
    task: _Task, metric: LabelMetric, estimator: GradientEstimator | str, samples: int
) -> Tensor:
    if estimator == "exact":
        metric.check_exact(task.target, task.known)
    elif estimator == "auto":
        work = metric.exact_work(len(task.target), len(task.known))
        fits = work <= _MOST and not metric.obstacle(task.target, task.known)
        estimator = "exact" if fits else "counterfactual"
    if estimator == "exact":
        return metric.coded_expected(task.p, task.target, task.known)
    if estimator == "counterfactual":
        drawn = task.distribution.sample((samples,)).long()
        return local_expectation(
            task.p,
            drawn,
            lambda z: metric.coded_values(task.target, z, task.known),
            lambda z: metric.coded_swaps(task.target, z, task.known),
        )

    def f(z: Tensor) -> Tensor:
        return metric.coded_values(task.target, z.long(), task.known)

    return expect(f, task.distribution, _checked(estimator), samples)


def _of_any(task: _Task, metric: Any, estimator: GradientEstimator | str, samples: int) -> Tensor:
    if isinstance(metric, CountMetric | type) or not callable(metric):
        raise ArgumentError(
            "expected_metric: metric must be of one label for each item, or a function (target, "
            f"prediction) -> number; got {metric!r}",
            remedy="Give an instance, FBeta() for FBeta."
            if isinstance(metric, type)
            else "For sequences, CorpusBLEU has expected_among.",
        )
    if estimator == "counterfactual":
        raise ArgumentError(
            "expected_metric: estimator='counterfactual' must have a metric made from counts; "
            f"got {metric!r}",
            remedy="Take a member of CountMetric, or estimator=Score().",
        )
    named = {"auto": Score(), "exact": Exact()}
    chosen = named[estimator] if isinstance(estimator, str) and estimator in named else estimator
    target = task.classes[task.target.cpu().numpy()]

    def f(z: Tensor) -> Tensor:
        rows = task.classes[z.long().cpu().numpy()]
        # A copy of the target for each call: what a metric does to it must not reach the next.
        values = [_number(metric(target.copy(), row)) for row in rows]
        found = torch.tensor(values, dtype=torch.float64)
        return found.to(z.device)

    return expect(f, task.distribution, _checked(chosen), samples)


def _number(value: Any) -> float:
    try:
        if isinstance(value, str | bytes):
            raise TypeError("a text is no number, also where it reads as one")
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"expected_metric: metric must return a number; got {type(value).__name__}"
        ) from error
    if not np.isfinite(number):
        raise DataError(f"expected_metric: metric must return finite numbers; got {number}")
    return number


def _checked(estimator: GradientEstimator | str) -> GradientEstimator:
    if isinstance(estimator, GradientEstimator):
        return estimator
    listed = ", ".join(repr(name) for name in _NAMES)
    raise ArgumentError(
        f"expected_metric: estimator must be one of {listed} or a gradient estimator; "
        f"got {estimator!r}"
    )
