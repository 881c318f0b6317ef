"""Moments of a stream, and the rows kept from it on which leave-one-out runs."""

from typing import Any

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from trivium._core.errors import ArgumentError, DataError
from trivium.closedform.doors import check_dense, check_weights
from trivium.closedform.fitting import Sample
from trivium.closedform.leave_one_out import LeftOut
from trivium.closedform.spectrum import Spectrum, spectrum_of_moments
from trivium.moment import Moments, RowSample

__all__ = ["ROWS", "Reservoir", "check_moments", "spectrum_and_sample"]

ROWS = 4_000


def check_moments(moments: Moments) -> np.ndarray:
    """Return the classes of moments that a classifier can use.

    Raises:
        ArgumentError: Not moments, or without labels.
        DataError: Fewer than two classes, or more of them than rows.
    """
    caller = "ClosedFormClassifier.fit_moments"
    if not isinstance(moments, Moments):
        raise ArgumentError(f"{caller}: moments must be Moments; got {type(moments).__name__}")
    if moments.classes is None:
        raise ArgumentError(f"{caller}: moments must have labels; got none")
    if len(moments.classes) < 2:
        raise DataError(
            f"{caller}: moments must hold at least two classes; got 1 class",
            remedy="Name all classes in the first call: partial_fit(X, y, classes=...).",
        )
    rows, present = float(moments.weights.sum()), int((moments.weights > 0).sum())
    if rows <= 0 or present > rows * (1 + 1e-9):
        raise DataError(f"{caller}: moments must weigh at least a row a class; got {rows:g}")
    return moments.classes


class Reservoir:
    """Moments of a stream, with a uniform sample of at most 4,000 of its rows.

    Args:
        classes: All labels, if known.
    """

    def __init__(self, classes: Any = None) -> None:
        self.classes = classes
        self.moments = Moments(1)
        self.seen = 0
        self.sample = RowSample(ROWS)

    def add(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any = None, *, first: bool = False
    ) -> None:
        """Add rows to the moments and offer them to the reservoir."""
        rows, labels, weights = self._checked(estimator, X, y, sample_weight, reset=first)
        if first:
            self.moments = Moments(rows.shape[1], self.classes, dtype="float64")
        self.moments.update(rows, labels, weights)
        self._offer(rows[weights > 0], labels[weights > 0], weights[weights > 0])

    def fill(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> None:
        """Offer rows that the moments hold already."""
        rows, labels, weights = self._checked(estimator, X, y, sample_weight, reset=True)
        self._offer(rows[weights > 0], labels[weights > 0], weights[weights > 0])

    def _checked(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        caller = f"{type(estimator).__name__}.partial_fit"
        check_dense(caller, X)
        try:
            rows, labels = validate_data(
                estimator, X, y, dtype=[np.float64, np.float32], reset=reset
            )
            check_classification_targets(labels)
        except ValueError as error:
            raise DataError(f"{caller}: {error}") from error
        weights = check_weights(caller, sample_weight, rows)
        return np.asarray(rows, dtype=np.float64), labels, weights

    def _offer(self, rows: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> None:
        """Keep each row of the stream with the same probability."""
        numbers = self.seen + np.arange(len(rows))
        self.sample.offer(numbers, rows, labels, weights)
        self.seen += len(rows)


def spectrum_and_sample(moments: Moments, stream: Reservoir) -> tuple[Spectrum, Sample | None]:
    """Decompose moments, and express the reservoir's rows in their basis.

    Raises:
        DataError: A row of the reservoir has a class that the moments lack.
    """
    counts = moments.weights.double().cpu()
    means = torch.nan_to_num(moments.means.double().cpu())
    spectrum = spectrum_of_moments(counts, means, moments.within.double().cpu())
    kept = stream.sample
    rows, labels, weight = kept.x, kept.y, kept.weight
    if rows is None or labels is None or weight is None:
        return spectrum, None
    known = check_moments(moments)
    codes = np.searchsorted(known, labels).clip(0, len(known) - 1)
    if (known[codes] != labels).any() or bool((counts[torch.from_numpy(codes)] <= 0).any()):
        raise DataError("ClosedFormClassifier: rows must have classes that the moments hold")
    index = torch.from_numpy(codes)
    residual = spectrum.coordinates(torch.from_numpy(rows)) - spectrum.means[index]
    weights = torch.from_numpy(weight)
    return spectrum, Sample(LeftOut(residual, index, weights.clamp_max(1.0)), weights)
