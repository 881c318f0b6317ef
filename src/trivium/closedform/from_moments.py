"""What a classifier fitted to moments can still say of single rows, and of other moments."""

from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from trivium._core.errors import ArgumentError, DataError
from trivium.closedform.classifier import ClosedFormClassifier
from trivium.closedform.doors import check_query, check_rule
from trivium.closedform.learned import Learned, learn_moments, left_out_of
from trivium.closedform.reservoir import Reservoir, check_moments
from trivium.moment import Moments

__all__ = ["left_out_logits", "refit_moments"]


def _learned(caller: str, classifier: ClosedFormClassifier) -> Learned:
    """Return what the classifier was solved from.

    Raises:
        ArgumentError: It is not there, or the rule is not linear.
    """
    check_is_fitted(classifier, "classes_")
    learned: Learned | None = getattr(classifier, "_learned", None)
    if learned is None or learned.rule.blend:
        raise ArgumentError(
            f"{caller}: classifier must have the moments of its fit and a linear rule; "
            "this one has not both",
            remedy='Fit with fit(X, y) or fit_moments, and covariance="shared".',
        )
    return learned


def left_out_logits(classifier: ClosedFormClassifier, X: Any, y: Any) -> np.ndarray:
    """Return left-out logits of rows that a fit has seen, also where it saw moments only.

    Each row is judged by the rule of all other rows: a rank-one change of the moments takes it
    out; ridges, temperatures and weights of the path stay. Rows that the fit has not seen get
    wrong logits, and nothing can tell.

    Args:
        classifier: Fitted by `fit` or `fit_moments`.
        X: Rows of the fit, each of weight 1.
        y: Their labels.

    Returns:
        Logits (n, K), as `loo_decision_function_` has them.

    Raises:
        ArgumentError: The rule is a blend, or was loaded from a state.
        DataError: Rows that are no finite numbers, or a label that the fit does not know.

    Cost: O(n d r) time and O(n r K) for each ridge; memory three copies of X.

    Example:
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [4.0, 4.0], [5.0, 3.0]])
        >>> fitted = ClosedFormClassifier().fit(X, [0, 0, 1, 1])
        >>> found = left_out_logits(fitted, X[:2], [0, 0])
        >>> bool(np.allclose(found, fitted.loo_decision_function_[:2]))
        True
    """
    learned = _learned("left_out_logits", classifier)
    rows, labels = check_query(classifier, "left_out_logits", X), np.asarray(y)
    known = classifier.classes_
    codes = np.searchsorted(known, labels).clip(0, len(known) - 1)
    unknown = np.flatnonzero(known[codes] != labels)
    if len(unknown):
        raise DataError(
            "left_out_logits: y must have the classes of the fit; "
            f"got {labels[unknown[0]].item()!r}",
            where=f"row {unknown[0]}",
        )
    return left_out_of(learned, rows, torch.from_numpy(codes)).numpy()


def refit_moments(classifier: ClosedFormClassifier, moments: Moments) -> ClosedFormClassifier:
    """Return a classifier solved from other moments with the hyperparameters of a fitted one.

    Ridges, temperatures and weights of the path are kept: what `refit` is for rows.

    Args:
        classifier: Fitted by `fit` or `fit_moments`.
        moments: Moments with labels.

    Raises:
        ArgumentError: Moments without labels, or the rule is a blend.
        DataError: Fewer than two classes.

    Cost: O(d³) time.

    Example:
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [4.0, 4.0], [5.0, 3.0], [9.0, 9.0]])
        >>> y = np.array([0, 0, 1, 1, 1])
        >>> fitted = ClosedFormClassifier().fit(X, y)
        >>> less = Moments(2).update(X, y).downdate(X[4:], y[4:])
        >>> found = refit_moments(fitted, less).coef_
        >>> bool(np.allclose(found, fitted.what_if(drop=[4]).coef_))
        True
    """
    _learned("refit_moments", classifier)
    new, classes = clone(classifier), check_moments(moments)
    rule = check_rule(new, len(classes))
    learned = learn_moments(moments, Reservoir(classes), rule, classifier.path_)
    return new._publish(classes, learned)
