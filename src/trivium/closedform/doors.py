"""What comes through the scikit-learn doors: checked arrays, label codes, checked choices."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, DataError, NumericalError
from trivium.closedform.fitting import Rule
from trivium.closedform.prior import check_prior

__all__ = [
    "Labelled",
    "check_dense",
    "check_labelled",
    "check_query",
    "check_rule",
    "check_scores",
    "check_weights",
]

RIDGES = ("loo", "lw", "oas")


@dataclass(frozen=True)
class Labelled:
    """Checked rows with positive weight.

    Args:
        rows: Rows in float64.
        codes: Position of each label in `classes`.
        weights: Positive weights.
        classes: Sorted labels.
        kept: Index of each row in the input.
        everyone: All rows of the input, those without weight too.
    """

    rows: Tensor
    codes: Tensor
    weights: Tensor
    classes: np.ndarray
    kept: np.ndarray
    everyone: Tensor

    @property
    def n_rows(self) -> int:
        """Number of rows of the input."""
        return len(self.everyone)


def check_dense(caller: str, X: Any) -> None:
    """Refuse sparse rows: centering fills them.

    Raises:
        DataError: X is sparse; the remedy names the ways that exist.
    """
    if issparse(X):
        raise DataError(
            f"{caller}: X must be dense; got a sparse matrix of shape {X.shape}",
            remedy="Pass X.toarray() if it fits in memory; else give a classifier's fit_moments "
            "Moments(n_features, dtype='float64').update(X, y), which reads sparse rows, and "
            "some dense rows. Predict in dense blocks.",
        )


def check_weights(caller: str, sample_weight: Any, rows: np.ndarray) -> np.ndarray:
    """Return float64 weights, ones when there are none.

    Raises:
        DataError: Negative or non-finite weights, or none positive.
    """
    if sample_weight is None:
        return np.ones(len(rows))
    try:
        weights = _check_sample_weight(sample_weight, rows, dtype=np.float64)
    except ValueError as error:
        raise DataError(
            f"{caller}: sample_weight must be one number a row, not all zero; {error}"
        ) from error
    if (weights < 0).any():
        row = int(np.argmax(weights < 0))
        raise DataError(
            f"{caller}: sample_weight must be non-negative; got {weights[row]}", where=f"row {row}"
        )
    if not weights.any():
        raise DataError(f"{caller}: sample_weight must be positive in at least one row")
    return weights


def check_labelled(
    estimator: Any, caller: str, X: Any, y: Any, sample_weight: Any = None
) -> Labelled:
    """Check rows and labels as scikit-learn does, and code the labels.

    Raises:
        DataError: Not numbers, not finite, lengths that differ, fewer than two rows or classes.
    """
    check_dense(caller, X)
    try:
        rows, labels = validate_data(
            estimator, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2
        )
        if labels.dtype.kind == "O":
            _sorted(caller, labels)
        check_classification_targets(labels)
    except ValueError as error:
        raise DataError(f"{caller}: {error}") from error
    weights = check_weights(caller, sample_weight, rows)
    kept = np.flatnonzero(weights > 0)
    classes, codes = _sorted(caller, labels[kept])
    if len(classes) < 2:
        raise DataError(
            f"{caller}: y must have at least two classes; got 1 class, {classes[0]!r}",
            remedy="A constant label has nothing to predict.",
        )
    everyone = torch.from_numpy(np.array(rows, dtype=np.float64, order="C"))
    return Labelled(
        everyone if len(kept) == len(rows) else everyone[torch.from_numpy(kept)],
        torch.from_numpy(codes.astype(np.int64)),
        torch.from_numpy(weights[kept]),
        classes,
        kept,
        everyone,
    )


def _sorted(caller: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct labels in order, and the place of each label among them.

    Raises:
        DataError: Words beside numbers, which have no order.
    """
    try:
        return np.unique(labels, return_inverse=True)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in labels.tolist()})
        raise DataError(
            f"{caller}: y must be labels of one kind; got {' and '.join(kinds)}",
            remedy="Write all of them as text, or all as numbers.",
        ) from error


def check_query(estimator: Any, caller: str, X: Any) -> Tensor:
    """Check rows to predict against the fitted number of features; float64.

    Raises:
        DataError: Not numbers, not finite, or another number of features.
    """
    check_dense(caller, X)
    try:
        rows = validate_data(estimator, X, dtype=[np.float64, np.float32], reset=False)
    except ValueError as error:
        raise DataError(f"{caller}: {error}") from error
    return torch.from_numpy(np.array(rows, dtype=np.float64, order="C"))


def check_scores(caller: str, scores: Tensor) -> Tensor:
    """Return scores, or predictions, that are finite.

    Raises:
        NumericalError: They are not: the rows are of another scale than those of the fit.
    """
    if not bool(torch.isfinite(scores).all()):
        raise NumericalError(
            f"{caller}: scores leave the range of float64",
            remedy="Rows to predict must have the scale of the rows of the fit.",
        )
    return scores


def check_rule(estimator: Any, n_classes: int) -> Rule:
    """Check the choices of a classifier.

    Raises:
        ArgumentError: An unknown choice or a number out of range; the message lists the rule.
    """
    name = type(estimator).__name__
    ridge = estimator.ridge
    if isinstance(ridge, str):
        check_choice(name, "ridge", ridge, RIDGES)
    elif ridge is not None:
        ridge = check_number(name, "ridge", ridge, "non-negative")
    temperature = estimator.temperature
    if isinstance(temperature, str):
        check_choice(name, "temperature", temperature, ("loo",))
    else:
        temperature = check_number(name, "temperature", temperature, "positive")
    if not isinstance(estimator.average, bool | np.bool_):
        raise ArgumentError(f"{name}: average must be True or False; got {estimator.average!r}")
    return Rule(
        ridge=ridge,
        corrected=check_choice(name, "intercept", estimator.intercept, ("corrected", "plugin"))
        == "corrected",
        prior=check_prior(name, estimator.prior, n_classes),
        temperature=temperature,
        average=bool(estimator.average),
        criterion=check_choice(name, "criterion", estimator.criterion, ("log_loss", "accuracy")),
        blend=check_choice(name, "covariance", estimator.covariance, ("shared", "blend"))
        == "blend",
    )
