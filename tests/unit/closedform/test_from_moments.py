"""Rows judged, and classifiers solved again, from moments alone."""

import numpy as np
import pytest

from trivium._core.errors import ArgumentError, DataError
from trivium.closedform import (
    ClosedFormClassifier,
    label_flags,
    label_noise,
    left_out_logits,
    refit_moments,
)
from trivium.moment import Moments


@pytest.fixture
def rows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    X = rng.normal(size=(900, 6))
    return X, (X[:, 0] + rng.normal(size=900) > 0).astype(int) + (X[:, 1] > 1)


def fitted_to_moments(X: np.ndarray, y: np.ndarray) -> ClosedFormClassifier:
    moments = Moments(X.shape[1], np.arange(3), dtype="float64")
    for start in range(0, len(X), 200):
        moments.update(X[start : start + 200], y[start : start + 200])
    return ClosedFormClassifier().fit_moments(moments, (X[::2], y[::2]))


def test_left_out_rows_equal_those_of_a_refit_on_all(rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = rows
    fitted = fitted_to_moments(X, y)
    whole = fitted.refit(X, y)
    np.testing.assert_allclose(
        left_out_logits(fitted, X[100:300], y[100:300]),
        whole.loo_decision_function_[100:300],
        atol=1e-9,
    )
    alone = fitted.refit(np.delete(X, 7, 0), np.delete(y, 7))
    logits = alone.decision_function(X[7:8])
    np.testing.assert_allclose(left_out_logits(fitted, X[7:8], y[7:8]), logits, atol=1e-9)
    # Not left out, it is judged otherwise: the comparison can fail.
    assert np.abs(fitted.decision_function(X[7:8]) - logits).max() > 1e-6


def test_other_moments_with_the_same_path(rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = rows
    fitted = fitted_to_moments(X, y)
    less = Moments(6, np.arange(3), dtype="float64").update(X, y).downdate(X[:9], y[:9])
    again = fitted.refit(X[9:], y[9:])
    np.testing.assert_allclose(refit_moments(fitted, less).coef_, again.coef_, atol=1e-9)


def test_labels_are_judged_as_flags_judge_them(rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = rows
    flags = label_flags(X, y)
    logits = flags.classifier.loo_decision_function_
    noise = label_noise(logits, y)
    wrong, own, other = noise.judge(logits, y)
    np.testing.assert_array_equal(wrong, flags.probability)
    np.testing.assert_array_equal(own, flags.own_probability)
    np.testing.assert_array_equal(other, flags.suggested)
    some = noise.judge(logits[5:9], y[5:9])[0]
    np.testing.assert_allclose(some, flags.probability[5:9], rtol=1e-12)


def test_what_is_refused(rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = rows
    fitted = ClosedFormClassifier().fit(X, y)
    with pytest.raises(DataError, match="classes of the fit; got 9"):
        left_out_logits(fitted, X[:1], [9])
    loaded = ClosedFormClassifier.from_state(*fitted.state())
    with pytest.raises(ArgumentError, match="left_out_logits: classifier must have"):
        left_out_logits(loaded, X, y)
    blend = ClosedFormClassifier(covariance="blend").fit(X, y)
    with pytest.raises(ArgumentError, match="refit_moments: classifier must have"):
        refit_moments(blend, Moments(6).update(X, y))
