"""Softmax regression in closed form, with everything chosen by exact leave-one-out."""

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from trivium._core.errors import NumericalError
from trivium.closedform.doors import Labelled, check_labelled, check_query, check_rule
from trivium.closedform.fitting import (
    Sample,
    add_floor,
    layer_of,
    loo_logits,
    loo_loss,
    resolve,
)
from trivium.closedform.leave_one_out import LeftOut
from trivium.closedform.path import Path
from trivium.closedform.spectrum import Spectrum, spectrum_of_rows

__all__ = ["ClosedFormClassifier"]


class ClosedFormClassifier(ClassifierMixin, BaseEstimator):
    """Linear classifier whose weights are computed, not iterated."""

    def __init__(
        self,
        ridge: str | float | None = "loo",
        *,
        intercept: str = "corrected",
        prior: Any = "half",
        temperature: str | float = "loo",
        average: bool = True,
        covariance: str = "shared",
        criterion: str = "log_loss",
    ) -> None:
        self.ridge = ridge
        self.intercept = intercept
        self.prior = prior
        self.temperature = temperature
        self.average = average
        self.covariance = covariance
        self.criterion = criterion

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ClosedFormClassifier":
        """Fit."""
        data = check_labelled(self, "ClosedFormClassifier.fit", X, y, sample_weight)
        return self._fit_rows(data, None)

    def _fit_rows(self, data: Labelled, path: Path | None) -> "ClosedFormClassifier":
        self._rule = check_rule(self, len(data.classes))
        spectrum, residual = spectrum_of_rows(
            data.rows, data.codes, data.weights, len(data.classes)
        )
        sample = Sample(LeftOut(residual, data.codes, data.weights.clamp_max(1.0)), data.weights)
        self.classes_ = data.classes
        self._learn(spectrum, sample, path)
        logits = loo_logits(spectrum, sample, self.path_, self._rule)
        self.loo_log_loss_, self.loo_accuracy_ = loo_loss(logits, sample)
        if len(data.kept) < data.n_rows:
            # A row without weight is left out of the fit already.
            everyone = self._row_logits(data.everyone)
            everyone[data.kept] = logits
            logits = everyone
        self.loo_decision_function_ = logits.numpy()
        self.loo_proba_ = torch.softmax(logits, 1).numpy()
        return self

    def _learn(self, spectrum: Spectrum, sample: Sample | None, path: Path | None) -> None:
        path = path or resolve(spectrum, sample, self._rule)
        weight, bias = layer_of(spectrum, path, self._rule)
        self._spectrum, self._sample, self.path_ = spectrum, sample, path
        self._weight, self._bias = weight, bias
        coef = weight / spectrum.unit
        if not bool(torch.isfinite(coef).all()):
            raise NumericalError(
                "ClosedFormClassifier: coefficients leave the range of float64; the largest "
                f"absolute value of X is about {spectrum.unit:.3g}",
                remedy="Scale the columns.",
            )
        full = add_floor(bias[None, :], spectrum.total)[0] - weight @ spectrum.center
        if len(self.classes_) == 2:
            coef, full = coef[1:] - coef[:1], full[1:] - full[:1]
        self.coef_, self.intercept_ = coef.numpy(), full.numpy()
        best = path.best
        self.ridge_ = float(path.ridges[best]) * spectrum.unit * spectrum.unit
        self.temperature_ = float(1 / (path.sharpness * path.scales @ path.weights))

    def _logits(self, X: Any, caller: str) -> Tensor:
        check_is_fitted(self)
        logits = self._row_logits(check_query(self, f"ClosedFormClassifier.{caller}", X))
        if not bool(torch.isfinite(logits).all()):
            raise NumericalError(
                f"ClosedFormClassifier.{caller}: scores leave the range of float64",
                remedy="Rows to predict must have the scale of the rows of the fit.",
            )
        return logits

    def _row_logits(self, rows: Tensor) -> Tensor:
        spectrum = self._spectrum
        logits = (rows / spectrum.unit - spectrum.center) @ self._weight.mT + self._bias
        return add_floor(logits, spectrum.total)

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits, prior included: (n, K) with mean zero, or their difference (n,) for two."""
        logits = self._logits(X, "decision_function")
        if logits.shape[1] == 2:
            return (logits[:, 1] - logits[:, 0]).numpy()
        return logits.numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class of each row."""
        best = self._logits(X, "predict").argmax(1).numpy()
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities of each row."""
        return torch.softmax(self._logits(X, "predict_proba"), 1).numpy()
