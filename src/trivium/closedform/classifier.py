"""Softmax regression in closed form, with everything chosen by exact leave-one-out."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from trivium._core.errors import ArgumentError, NumericalError, TriviumWarning
from trivium.closedform.blend import fit_blend
from trivium.closedform.doors import Labelled, check_labelled, check_query, check_rule
from trivium.closedform.fitting import Rule, Sample, layer_of, loo_logits, loo_loss, resolve
from trivium.closedform.head import Head, head_from_state, head_state
from trivium.closedform.influence import Influence, influence_of
from trivium.closedform.leave_one_out import LeftOut
from trivium.closedform.path import Path
from trivium.closedform.reservoir import Reservoir, check_moments, spectrum_and_sample
from trivium.closedform.spectrum import Spectrum, spectrum_of_rows
from trivium.closedform.whatif import check_change, updated
from trivium.moment import Moments

__all__ = ["ClosedFormClassifier"]


class ClosedFormClassifier(ClassifierMixin, BaseEstimator):
    """Softmax regression whose weights are computed, not iterated.

    For rows of class k normal with mean m_k and one covariance, the log-odds are linear:

        logit_k(x) = n [m_kᵀB x - ½ m_kᵀB m_k] / T + n tr(BW) / (2 f n_k T) + ½ ln(n_k + 1),

    with W the within-class scatter, B = (W + gI)^-1 and f = n - K. The ridge g and the
    temperature T minimise the exact leave-one-out log-loss; the rules along the ridge path are
    averaged with weights exp(-loss) times a weak prior. Means of small classes are pulled to the
    grand mean as far as leave-one-out likes (`trivium.closedform.pull`). The
    ridge is not invariant to the scale of single columns: standardise columns of different units
    first (embeddings need nothing).

    Args:
        ridge: `"loo"`; `"lw"` (Ledoit-Wolf), `"oas"`; a number, in squared units of X; or None.
        intercept: `"corrected"` adds the trace term, which the `"plugin"` rule lacks.
        prior: `"half"`, `"empirical"`, `"uniform"`, or probabilities in the order of the classes.
        temperature: `"loo"` or a positive number.
        average: Average the rules along the ridge path, or take the best.
        covariance: `"shared"`; or `"blend"`, where leave-one-out decides how much of its own
            covariance each class gets (a quadratic rule; see `trivium.closedform.blend`).
        criterion: What chooses the ridge: `"log_loss"` or `"accuracy"`.

    Attributes:
        coef_: (K, d), or (1, d) for two classes.
        intercept_: (K,), or (1,).
        classes_: Sorted labels.
        ridge_: The heaviest ridge, in squared units of X.
        temperature_: Temperature of the rule.
        path_: Ridges, temperatures, losses and weights, see `trivium.closedform.path.Path`.
        loo_decision_function_: (n, K) logits of each row by the rule fitted without it, with the
            same ridges, temperatures and weights. Mean zero over classes, for two classes too.
        loo_proba_: Their softmax.
        loo_log_loss_: Their mean log-loss.
        loo_accuracy_: Their accuracy.
        loo_rows_: Number of rows that leave-one-out saw: all, or those of the reservoir.

    A row alone in its class is judged by the rule without that class: its own class then gets the
    probability of an unseen label, 1 / (n - 1 + K), and so does any class without rows.

    Cost:
        Time O(n d min(n, d) + 13 n min(n, d) K); memory three copies of X in float64.

    Example:
        >>> X = [[0.0, 1.0], [1.0, 0.0], [4.0, 4.0], [5.0, 3.0]]
        >>> ClosedFormClassifier().fit(X, ["a", "a", "b", "b"]).predict([[1.0, 1.0]]).tolist()
        ['a']

    Source:
        Su, on logistic regression in closed form; Friedman, Regularized discriminant analysis,
        1989; the rank-one identities are derived in `trivium.closedform.leave_one_out`.
    """

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

    # ---- fitting ------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ClosedFormClassifier":
        """Fit to labelled rows.

        Args:
            X: Rows of finite numbers.
            y: Labels of any sortable type, at least two.
            sample_weight: How many times each row counts. Leave-one-out removes one row's worth.

        Raises:
            DataError: Not numbers, not finite, lengths that differ, fewer than two rows or
                classes, weights that are negative or all zero.
            ArgumentError: A choice that does not exist.
            NumericalError: Coefficients that float64 cannot hold.
        """
        self.__dict__.pop("_stream", None)
        data = check_labelled(self, "ClosedFormClassifier.fit", X, y, sample_weight)
        return self._fit_rows(data, check_rule(self, len(data.classes)), None)

    def refit(self, X: Any, y: Any, sample_weight: Any = None) -> "ClosedFormClassifier":
        """Return a new classifier fitted to other rows with the hyperparameters of this one.

        Ridges, temperatures and weights of the path are kept, nothing is chosen again: this is
        the refit to which leave-one-out and `what_if` are equal.
        """
        check_is_fitted(self, "path_")
        new = clone(self)
        data = check_labelled(new, "ClosedFormClassifier.refit", X, y, sample_weight)
        return new._fit_rows(data, check_rule(new, len(data.classes)), self.path_)

    def _fit_rows(self, data: Labelled, rule: Rule, path: Path | None) -> "ClosedFormClassifier":
        n_classes = len(data.classes)
        spectrum, residual = spectrum_of_rows(data.rows, data.codes, data.weights, n_classes)
        left_out = LeftOut(residual, data.codes, data.weights.clamp_max(1.0))
        sample = Sample(left_out, data.weights)
        self.classes_ = data.classes
        logits = self._learn(spectrum, sample, rule, path)
        self._kept, self._n_rows = data.kept, data.n_rows
        if logits is not None and len(data.kept) < data.n_rows:
            # A row without weight is left out of the fit already.
            everyone = self._head.logits(data.everyone)
            everyone[torch.from_numpy(data.kept)] = logits
            self._keep_logits(everyone)
        return self

    def _keep_logits(self, logits: Tensor) -> None:
        self.loo_decision_function_ = logits.numpy()
        self.loo_proba_ = torch.softmax(logits, 1).numpy()

    def _learn(
        self, spectrum: Spectrum, sample: Sample | None, rule: Rule, path: Path | None
    ) -> Tensor | None:
        path = resolve(spectrum, sample, rule) if path is None else path.in_units(spectrum.unit)
        weight, bias = layer_of(spectrum, path, rule)
        self._head = Head(weight, bias, spectrum.center, spectrum.unit, spectrum.total)
        self._spectrum, self._sample, self._rule, self.path_ = spectrum, sample, rule, path
        self.loo_rows_ = 0
        logits = None
        if sample is not None:
            logits = loo_logits(spectrum, sample, path, rule)
            if rule.blend:
                logits = self._blend(spectrum, sample, rule, logits)
            self.loo_log_loss_, self.loo_accuracy_ = loo_loss(logits, sample)
            self.loo_rows_ = len(logits)
            self._keep_logits(logits)
        self._publish()
        return logits

    def _blend(self, spectrum: Spectrum, sample: Sample, rule: Rule, logits: Tensor) -> Tensor:
        blended = fit_blend(spectrum, sample, self.path_, rule, logits)
        self.path_, self._head = blended.path, blended.upon(self._head)
        return blended.logits

    def _publish(self) -> None:
        head, path = self._head, self.path_
        coef = head.weight / head.unit
        bias = torch.where(torch.isneginf(head.bias), head.bias[head.bias > -torch.inf].min(), 0.0)
        bias = torch.where(torch.isneginf(head.bias), bias - np.log(head.total + 1), head.bias)
        full = bias - head.weight @ head.center
        if not bool(torch.isfinite(coef).all() and torch.isfinite(full).all()):
            raise NumericalError(
                "ClosedFormClassifier: coefficients leave the range of float64; the largest "
                f"absolute value of X is about {head.unit:.3g}",
                remedy="Scale the columns.",
            )
        if len(self.classes_) == 2:
            coef, full = coef[1:] - coef[:1], full[1:] - full[:1]
        self.coef_, self.intercept_ = coef.numpy(), full.numpy()
        self.n_features_in_ = self.coef_.shape[1]
        with np.errstate(over="ignore", under="ignore"):
            ridge = np.float64(path.ridges[path.best]) * path.unit * path.unit
        self.ridge_ = float(min(ridge, np.finfo(np.float64).max))
        self.temperature_ = float(1 / (path.sharpness * path.scales @ path.weights))

    # ---- moments ------------------------------------------------------------------------

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> "ClosedFormClassifier":
        """Add rows to the moments of earlier calls and solve again.

        Leave-one-out runs on a reservoir: all rows up to 4,000, then a uniform sample of 4,000
        (`loo_rows_`); `loo_decision_function_` has the reservoir's rows. For a long stream it is
        cheaper to update `trivium.moment.Moments` and call `fit_moments` once.

        Raises:
            DataError: As `fit`; or fewer than two classes known.
        """
        held: Reservoir | None = getattr(self, "_stream", None)
        stream, first = held or Reservoir(classes), held is None
        stream.add(self, X, y, sample_weight, first=first)
        self._stream = stream
        return self._fit_stream(stream.moments, stream)

    def fit_moments(self, moments: Moments, rows: Any = None) -> "ClosedFormClassifier":
        """Fit to moments alone.

        Args:
            moments: Moments with labels.
            rows: `(X, y)`, some of the rows that the moments hold (4,000 are plenty), on which
                leave-one-out chooses ridge and temperature. Without them the ridge is ten times
                the mean variance, the temperature 1, and a warning says so.

        Raises:
            ArgumentError: Moments without labels.
            DataError: Fewer than two classes.
        """
        check_moments(moments)
        stream = Reservoir(moments.classes)
        if rows is not None:
            stream.fill(self, *rows)
        else:
            warnings.warn(
                "ClosedFormClassifier.fit_moments: without rows there is no leave-one-out; the "
                "ridge is ten times the mean variance and the temperature 1",
                TriviumWarning,
                stacklevel=2,
            )
        return self._fit_stream(moments, stream)

    def _fit_stream(self, moments: Moments, stream: Reservoir) -> "ClosedFormClassifier":
        self.classes_ = check_moments(moments)
        spectrum, sample = spectrum_and_sample(moments, stream)
        self._learn(spectrum, sample, check_rule(self, len(self.classes_)), None)
        whole = sample is not None and len(sample.weights) == int(moments.counts.sum())
        self._kept, self._n_rows = np.arange(self.loo_rows_), self.loo_rows_ if whole else 0
        return self

    # ---- predicting ---------------------------------------------------------------------

    def _logits(self, X: Any, caller: str) -> Tensor:
        check_is_fitted(self, "classes_")
        logits = self._head.logits(check_query(self, f"ClosedFormClassifier.{caller}", X))
        if not bool(torch.isfinite(logits).all()):
            raise NumericalError(
                f"ClosedFormClassifier.{caller}: scores leave the range of float64",
                remedy="Rows to predict must have the scale of the rows of the fit.",
            )
        return logits

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

    # ---- asking -------------------------------------------------------------------------

    def _rows(self, caller: str) -> tuple[Tensor, Sample]:
        check_is_fitted(self, "classes_")
        sample = getattr(self, "_sample", None)
        if sample is None or not self._n_rows:
            raise ArgumentError(
                f"ClosedFormClassifier.{caller} needs the rows of the fit; this one has moments "
                "only",
                remedy="Fit with fit(X, y).",
            )
        return sample.rows.residual + self._spectrum.means[sample.rows.codes], sample

    def influence(self, X: Any) -> Influence:
        """Say exactly what each training row adds to the scores of `X`.

        Returns:
            Contributions (q, n) and the intercept, see `Influence`.

        Raises:
            ArgumentError: Fitted from moments, or the rule is a blend (not linear in the rows).

        Cost: O(q n r), memory O(q n).
        """
        rows, sample = self._rows("influence")
        head, spectrum, path = self._head, self._spectrum, self.path_
        if not head.linear:
            raise ArgumentError(
                "ClosedFormClassifier.influence needs a linear rule; this one is a blend",
                remedy='Fit with covariance="shared".',
            )
        queries = check_query(self, "ClosedFormClassifier.influence", X)
        levels = torch.from_numpy(path.sharpness * path.scales * path.weights)
        inverse = 1 / (spectrum.values + torch.from_numpy(path.ridges)[:, None])
        metric = spectrum.counts.sum() * (levels @ inverse)
        share = path.pull.keep(spectrum.counts) / spectrum.counts.clamp_min(1e-300)
        codes = sample.rows.codes
        found = influence_of(
            spectrum.coordinates(queries), rows * sample.weights[:, None], metric, codes, share
        )
        full = np.zeros((len(queries), self._n_rows))
        all_codes = np.zeros(self._n_rows, dtype=np.int64)
        full[:, self._kept], all_codes[self._kept] = found.numpy(), codes.numpy()
        bias = torch.nan_to_num(head.bias, neginf=0.0).numpy()
        result = Influence(full, all_codes, bias, self.classes_, 0.0)
        wanted = head.logits(queries).numpy()
        error = np.abs(result.scores() - wanted).max(initial=0.0)
        return replace(
            result, completeness_error=float(error / max(1.0, np.abs(wanted).max(initial=0.0)))
        )

    def what_if(
        self, rows: Any = (), labels: Any = None, *, drop: Any = ()
    ) -> "ClosedFormClassifier":
        """Return the classifier as it would be with other labels or without some rows.

        Moments are up- and down-dated; ridges, temperatures and weights of the path are kept, so
        the result equals `refit` on the changed data (blends solve their classes again).

        Args:
            rows: Row numbers of the fit whose label changes.
            labels: Their new labels, among `classes_`.
            drop: Row numbers that go.

        Returns:
            A new classifier. Its leave-one-out attributes have the rows that stay, in order.

        Raises:
            ArgumentError: A row that does not exist or is named twice, a label nobody has, or
                fitted from moments.

        Cost: O(k r² + r³ + n r²) for k changes, and leave-one-out again.
        """
        coordinates, sample = self._rows("what_if")
        if len(self._kept) < self._n_rows:
            raise ArgumentError("ClosedFormClassifier.what_if: fit without rows of weight 0 first")
        change = check_change(rows, labels, drop, sample.rows.codes, self.classes_)
        spectrum, residual = updated(
            self._spectrum, coordinates, sample.rows.codes, sample.weights, change
        )
        weights = sample.weights[change.kept]
        left_out = LeftOut(residual, change.codes[change.kept], weights.clamp_max(1.0))
        new = clone(self)
        new.classes_ = self.classes_
        new._kept, new._n_rows = np.arange(len(weights)), len(weights)
        new._learn(spectrum, Sample(left_out, weights), self._rule, self.path_)
        return new

    # ---- keeping ------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return what predicting needs: arrays, and a JSON-able manifest.

        Raises:
            ArgumentError: Labels that JSON cannot hold (only text, whole numbers, floats, bools).
        """
        check_is_fitted(self, "classes_")
        tensors, numbers = head_state(self._head)
        labels = self.classes_.tolist()
        if not all(isinstance(label, str | int | float) for label in labels):
            raise ArgumentError(f"ClosedFormClassifier.state: labels must be plain; got {labels}")
        manifest = {
            "kind": type(self).__name__,
            "classes": labels,
            "dtype": "object" if self.classes_.dtype == object else self.classes_.dtype.str,
            "ridge": self.ridge_,
            "temperature": self.temperature_,
            "loo_log_loss": getattr(self, "loo_log_loss_", None),
            **numbers,
        }
        return tensors, manifest

    def to_torch(self) -> Any:
        """Return the linear rule as `torch.nn.Linear`, see `trivium.closedform.to_torch`."""
        from trivium.closedform.export import to_torch

        return to_torch(self)

    @classmethod
    def from_state(
        cls, tensors: dict[str, np.ndarray], manifest: dict[str, Any]
    ) -> "ClosedFormClassifier":
        """Rebuild a classifier that predicts the same bits; it has no rows to ask about.

        Raises:
            ModelError: Something is missing or does not fit together.
        """
        new = cls()
        new._head, new.classes_ = head_from_state(tensors, manifest)
        new.n_features_in_ = new._head.weight.shape[1]
        new.ridge_ = float(manifest.get("ridge", np.nan))
        new.temperature_ = float(manifest.get("temperature", np.nan))
        return new
