"""Softmax regression in closed form, with everything chosen by exact leave-one-out."""

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from trivium._core.errors import TriviumWarning
from trivium.closedform.doors import check_labelled, check_query, check_rule, check_scores
from trivium.closedform.head import head_from_state, head_state
from trivium.closedform.influence import Influence, explain
from trivium.closedform.learned import Learned, learn_moments, learn_rows, with_rows
from trivium.closedform.reservoir import Reservoir, check_moments
from trivium.closedform.whatif import relearn
from trivium.moment import Moments

__all__ = ["ClosedFormClassifier"]

_NO_ROWS = (
    "ClosedFormClassifier.fit_moments: without rows there is no leave-one-out; the ridge is ten "
    "times the mean variance and the temperature 1"
)
_LEFT_OUT = ("loo_log_loss_", "loo_accuracy_", "loo_decision_function_", "loo_proba_")


class ClosedFormClassifier(ClassifierMixin, BaseEstimator):
    """Softmax regression whose weights are computed, not iterated.

    For rows of class k normal with mean m_k and one covariance, the log-odds are linear:

        logit_k(x) = n [m_kᵀB x - ½ m_kᵀB m_k] / T + n tr(BW) / (2 f n_k T) + ½ ln(n_k + 1),

    with W the within-class scatter, B = (W + gI)^-1 and f = n - K. The ridge g and the
    temperature T minimize the exact leave-one-out log-loss; the rules along the ridge path are
    averaged with weights exp(-loss) times a weak prior. Means of small classes are pulled to the
    grand mean as far as leave-one-out likes (`trivium.closedform.pull`). The
    ridge is not invariant to the scale of single columns: standardize columns of different units
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

    A row alone in its class is judged by the rule without that class. A class without rows has
    the odds 1 : (n + K - 1) against the classes with rows; n - 1 instead of n in leave-one-out.

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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ClosedFormClassifier":
        """Fit to labeled rows.

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
        rule = check_rule(self, len(data.classes))
        return self._publish(data.classes, learn_rows(data, rule))

    def refit(self, X: Any, y: Any, sample_weight: Any = None) -> "ClosedFormClassifier":
        """Return a new classifier fitted to other rows with the hyperparameters of this one.

        Ridges, temperatures and weights of the path are kept, nothing is chosen again: this is
        the refit to which leave-one-out and `what_if` are equal.
        """
        check_is_fitted(self, "path_")
        new = clone(self)
        data = check_labelled(new, "ClosedFormClassifier.refit", X, y, sample_weight)
        rule = check_rule(new, len(data.classes))
        return new._publish(data.classes, learn_rows(data, rule, self.path_))

    def _publish(self, classes: np.ndarray, learned: Learned) -> "ClosedFormClassifier":
        """Set what was learned, and forget what an earlier fit had published."""
        self.coef_, self.intercept_ = learned.coefficients()
        self.n_features_in_ = self.coef_.shape[1]
        self.classes_, self.path_ = classes, learned.path
        self.ridge_, self.temperature_ = learned.ridge, learned.temperature
        self._head, self._learned = learned.head, learned
        self.loo_rows_ = learned.n_scored
        for name in _LEFT_OUT:
            self.__dict__.pop(name, None)
        if learned.logits is not None:
            self.loo_log_loss_, self.loo_accuracy_ = learned.loss, learned.accuracy
            self.loo_decision_function_ = learned.logits.numpy()
            self.loo_proba_ = torch.softmax(learned.logits, 1).numpy()
        return self

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

        Warns:
            TriviumWarning: No rows; or the moments' condition number is above 1e8 and their
                products are float32, so that their small eigenvalues are rounding.

        Raises:
            ArgumentError: Moments without labels.
            DataError: Fewer than two classes.
        """
        check_moments(moments)
        moments.condition()
        stream = Reservoir(moments.classes)
        if rows is not None:
            stream.fill(self, *rows)
        else:
            warnings.warn(_NO_ROWS, TriviumWarning, stacklevel=2)
        return self._fit_stream(moments, stream)

    def _fit_stream(self, moments: Moments, stream: Reservoir) -> "ClosedFormClassifier":
        classes = check_moments(moments)
        rule = check_rule(self, len(classes))
        return self._publish(classes, learn_moments(moments, stream, rule))

    def _logits(self, X: Any, caller: str) -> Tensor:
        check_is_fitted(self, "classes_")
        caller = f"ClosedFormClassifier.{caller}"
        return check_scores(caller, self._head.logits(check_query(self, caller, X)))

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

    def influence(self, X: Any) -> Influence:
        """Say exactly what each training row adds to the scores of `X`.

        Returns:
            Contributions (q, n) and the intercept, see `Influence`.

        Raises:
            ArgumentError: Fitted from moments, or the rule is a blend (not linear in the rows).

        Cost: O(q n r), memory O(q n).
        """
        check_is_fitted(self, "classes_")
        learned = with_rows("influence", getattr(self, "_learned", None))
        queries = check_query(self, "ClosedFormClassifier.influence", X)
        return explain(learned, queries, self.classes_)

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
        check_is_fitted(self, "classes_")
        learned = with_rows("what_if", getattr(self, "_learned", None))
        changed = relearn(learned, rows, labels, drop, self.classes_)
        return clone(self)._publish(self.classes_, changed)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return what predicting needs: arrays, and a JSON-able manifest.

        Raises:
            ArgumentError: Labels that JSON cannot hold (only text, whole numbers, floats, bools).
        """
        check_is_fitted(self, "classes_")
        tensors, described = head_state(self._head, self.classes_)
        manifest = {
            "kind": type(self).__name__,
            "ridge": self.ridge_,
            "temperature": self.temperature_,
            "loo_log_loss": getattr(self, "loo_log_loss_", None),
            **described,
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
