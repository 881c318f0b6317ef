"""Rows that alone hold a direction: leave-one-out where the fit goes through them."""

import numpy as np
import pytest

from trivium.closedform import ClosedFormClassifier, ClosedFormRegressor


def least_norm(X, y, weight, query):
    """Predict by the least-squares rule of least norm, with an intercept."""
    total = weight.sum()
    center, middle, root = weight @ X / total, weight @ y / total, np.sqrt(weight)
    coef = np.linalg.lstsq((X - center) * root[:, None], (y - middle) * root, rcond=1e-12)[0]
    return middle + (query - center) @ coef


@pytest.mark.parametrize(("n", "d"), [(3, 2), (4, 4), (12, 30), (12, 11), (14, 11)])
@pytest.mark.parametrize("ridge", [None, 1e-12])
@pytest.mark.parametrize("weighted", [False, True])
def test_left_out_predictions_of_a_fit_through_its_rows(n, d, ridge, weighted):
    rng = np.random.default_rng(n + d)
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    weight = rng.uniform(0.3, 1.0, n) if weighted else np.ones(n)
    found = ClosedFormRegressor(ridge).fit(X, y, weight).loo_prediction_
    for row in range(n):
        rest = np.arange(n) != row
        expected = least_norm(X[rest], y[rest], weight[rest], X[row])
        assert found[row] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_left_out_prediction_of_a_row_with_a_column_of_its_own():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), rng.normal(size=30)
    X[:, 2] = np.arange(30) == 7
    found = ClosedFormRegressor(None).fit(X, y).loo_prediction_
    rest = np.arange(30) != 7
    assert found[7] == pytest.approx(least_norm(X[rest], y[rest], np.ones(29), X[7]), abs=1e-9)


@pytest.mark.parametrize("ridge", [None, 1e-12, 1e-10, 1e-8])
def test_a_tiny_ridge_judges_as_a_small_one(ridge):
    rng = np.random.default_rng(1)
    y = np.arange(12) % 3
    X = rng.normal(size=(3, 30))[y] + rng.normal(size=(12, 30))
    small, tiny = ClosedFormClassifier(1e-5).fit(X, y), ClosedFormClassifier(ridge).fit(X, y)
    assert tiny.loo_log_loss_ == pytest.approx(small.loo_log_loss_, rel=0.02)
    np.testing.assert_allclose(
        tiny.predict_proba(X[:, ::-1]), small.predict_proba(X[:, ::-1]), atol=0.02
    )


@pytest.mark.parametrize("scale", [1e-60, 1e-9, 1e-6, 1.0, 1e6])
def test_a_ridge_far_above_the_scatter_changes_the_temperature_not_the_rule(scale):
    rng = np.random.default_rng(2)
    y = np.arange(40) % 3
    X = rng.normal(size=(3, 3))[y] + rng.normal(size=(40, 3))
    # So far above the scatter that only the means speak: the same rule whatever the scale.
    expected = ClosedFormClassifier(1e6).fit(X, y).predict_proba(X)
    found = (
        ClosedFormClassifier(1e6 * max(1.0, scale**2)).fit(X * scale, y).predict_proba(X * scale)
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)
