"""The closed form against scikit-learn, and its leave-one-out against literal refits."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage, oas
from sklearn.datasets import load_digits, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeCV

from trivium.closedform import ClosedFormClassifier, ClosedFormRegressor

TEXTBOOK = {
    "ridge": None,
    "intercept": "plugin",
    "prior": "empirical",
    "temperature": 1.0,
    "average": False,
}


def test_textbook_rule_is_lda():
    X, y = load_iris(return_X_y=True)
    X, y = X[:130], y[:130]
    lda = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    ours = ClosedFormClassifier(**TEXTBOOK).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), lda.predict_proba(X), atol=1e-9)
    # The member that must fail: our corrected intercept is another rule.
    other = ClosedFormClassifier(**TEXTBOOK | {"intercept": "corrected"}).fit(X, y)
    assert np.abs(other.predict_proba(X) - lda.predict_proba(X)).max() > 1e-6


@pytest.mark.parametrize("rule", ["lw", "oas"])
def test_shrinkage_is_that_of_scikit_learn(rule):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 8)) * np.arange(1, 9), np.arange(60) % 3
    model = ClosedFormClassifier(rule, temperature=1.0).fit(X, y)
    residual = X - np.stack([X[y == k].mean(0) for k in range(3)])[y]
    find = ledoit_wolf_shrinkage if rule == "lw" else lambda r, **kw: oas(r, **kw)[1]
    share = find(residual, assume_centered=True)
    ridge = share * (residual**2).sum() / 8 / (1 - share)
    assert model.ridge_ == pytest.approx(ridge, rel=1e-9)
    assert model.temperature_ == pytest.approx(1 - share, rel=1e-9)


def refit_error(model, X, y, rows):
    worst = 0.0
    for row in rows:
        others = np.arange(len(y)) != row
        again = model.refit(X[others], y[others])
        mine = model.loo_decision_function_[row]
        logits = np.atleast_2d(again.decision_function(X[[row]]))[0]
        if len(again.classes_) < len(model.classes_):
            mine = mine[np.isin(model.classes_, again.classes_)]
        if len(again.classes_) == 2:
            mine, logits = mine[1:] - mine[:1], logits.reshape(1)
        error = np.abs((mine - mine.mean()) - (logits - logits.mean()))
        if len(again.classes_) == 2:
            error = np.abs(mine - logits)
        worst = max(worst, float(error.max()))
    return worst / np.abs(model.loo_decision_function_).max()


@pytest.mark.parametrize("covariance", ["shared", "blend"])
@pytest.mark.parametrize(
    ("n", "d", "n_classes"), [(12, 30, 3), (40, 5, 4), (60, 60, 2), (25, 70, 6)]
)
def test_leave_one_out_equals_literal_refits(n, d, n_classes, covariance):
    rng = np.random.default_rng(n)
    X, y = 100 + rng.normal(size=(n, d)), rng.integers(0, n_classes, n)
    y[0] = n_classes  # a row alone in its class
    model = ClosedFormClassifier(covariance=covariance).fit(X, y)
    assert refit_error(model, X, y, range(n)) < 1e-10
    floor = 1 / (n - 1 + len(model.classes_))
    np.testing.assert_allclose(model.loo_proba_[0, -1], floor, rtol=1e-9)
    # The member that must fail: the fit's own scores instead of the left-out ones.
    logits = model.decision_function(X)
    full = np.c_[-logits / 2, logits / 2] if logits.ndim == 1 else logits
    model.loo_decision_function_ = full
    assert refit_error(model, X, y, range(1, 4)) > 1e-4


def test_leave_one_out_of_digits():
    X, y = load_digits(return_X_y=True)
    model = ClosedFormClassifier().fit(X, y)
    assert refit_error(model, X, y, range(0, 1797, 150)) < 1e-9
    assert model.loo_accuracy_ > 0.94


def test_leave_one_out_with_weights_removes_one_row_of_several():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(40, 4)), np.arange(40) % 3
    weight = rng.integers(1, 4, 40)
    weighted = ClosedFormClassifier().fit(X, y, weight)
    plain = ClosedFormClassifier().fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    np.testing.assert_allclose(
        np.repeat(weighted.loo_proba_, weight, 0), plain.loo_proba_, atol=1e-9
    )
    assert weighted.loo_log_loss_ == pytest.approx(plain.loo_log_loss_)


@pytest.mark.parametrize(("n", "d"), [(50, 7), (20, 45)])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_regressor_at_one_ridge_is_ridge(n, d, n_targets):
    rng = np.random.default_rng(0)
    X = 5 + rng.normal(size=(n, d))
    Y = X @ rng.normal(size=(d, n_targets)) + rng.normal(size=(n, n_targets))
    Y = Y[:, 0] if n_targets == 1 else Y
    theirs, ours = Ridge(alpha=2.5).fit(X, Y), ClosedFormRegressor(2.5).fit(X, Y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-9)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
    left_out = RidgeCV([2.5], store_cv_results=True).fit(X, Y).cv_results_
    mine = (ours.loo_prediction_ - Y) ** 2
    np.testing.assert_allclose(mine.ravel(), np.asarray(left_out).ravel(), rtol=1e-6)
    for row in range(5):
        others = np.arange(n) != row
        again = Ridge(alpha=2.5).fit(X[others], Y[others])
        np.testing.assert_allclose(again.predict(X[[row]])[0], ours.loo_prediction_[row], atol=1e-9)


def test_regressor_on_the_path_is_near_the_best_of_ridge_cv():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 40))
    y = X[:, :5].sum(1) + 2 * rng.normal(size=60)
    Z = rng.normal(size=(2000, 40))
    truth = Z[:, :5].sum(1)
    ours, theirs = ClosedFormRegressor().fit(X, y), RidgeCV(np.logspace(-3, 4, 40)).fit(X, y)
    assert ((ours.predict(Z) - truth) ** 2).mean() < 1.1 * ((theirs.predict(Z) - truth) ** 2).mean()
