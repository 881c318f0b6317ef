"""The classifier against literal refits, at its doors and at the edges of float64."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

from trivium._core.errors import ArgumentError, DataError, NumericalError, TriviumWarning
from trivium.closedform import ClosedFormClassifier, ClosedFormRegressor
from trivium.moment import Moments


@parametrize_with_checks(
    [ClosedFormClassifier(), ClosedFormClassifier(covariance="blend"), ClosedFormRegressor()]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def draw(n, d, n_classes, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return spread * rng.normal(size=(n_classes, d))[y] + rng.normal(size=(n, d)), y


def test_three_rows_without_within_scatter():
    model = ClosedFormClassifier().fit([[0], [1], [1]], [0, 1, 1])
    assert model.predict([[0], [1]]).tolist() == [0, 1]
    assert np.isfinite(model.predict_proba([[0], [1]])).all()
    assert np.isfinite(model.loo_decision_function_).all()


@pytest.mark.parametrize("covariance", ["shared", "blend"])
@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1.0, 1e150, 1e300])
def test_scales_are_exact(scale, covariance):
    X, y = draw(60, 4, 3)
    plain = ClosedFormClassifier(covariance=covariance).fit(X, y)
    scaled = ClosedFormClassifier(covariance=covariance).fit(X * scale, y)
    np.testing.assert_allclose(scaled.loo_proba_, plain.loo_proba_, atol=1e-9)
    np.testing.assert_allclose(scaled.predict_proba(X * scale), plain.predict_proba(X), atol=1e-9)
    assert np.isfinite([scaled.ridge_, scaled.temperature_]).all()


def test_a_scale_that_coefficients_cannot_hold_is_refused():
    X, y = draw(60, 4, 3)
    with pytest.raises(NumericalError, match="Scale the columns"):
        ClosedFormClassifier().fit(X * 1e-310, y)


def test_queries_out_of_range_are_refused():
    X, y = draw(60, 4, 3)
    model = ClosedFormClassifier().fit(X * 1e-200, y)
    with pytest.raises(NumericalError, match="scale of the rows"):
        model.predict(X * 1e200)


@pytest.mark.parametrize(
    "change",
    [
        lambda X: np.c_[X, X, X[:, :1]],
        lambda X: np.c_[X, np.ones(len(X)), np.zeros(len(X))],
        lambda X: np.repeat(X, 40, axis=1),
        np.zeros_like,
        lambda X: X * np.array([1e-200, 1.0, 1e3, 1e-5]),
        lambda X: np.c_[X, 1e150 * X[:, 0]],
    ],
)
@pytest.mark.parametrize("ridge", ["loo", "lw", "oas", None])
def test_singular_tables_stay_finite(change, ridge):
    X, y = draw(60, 4, 3)
    X = change(X)
    model = ClosedFormClassifier(ridge=ridge).fit(X, y)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.loo_decision_function_).all()
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)


def bayes_table(offset=0.0, condition=1.0, n=4000, d=12, seed=0):
    """Two normals, 2.216 apart in their own metric: the true rule is right .866 of the time."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    away = rng.normal(size=d)
    away *= 2.2155 / np.linalg.norm(away)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    stretch = np.sqrt(condition) ** (-np.arange(d) / (d - 1))
    X = (rng.normal(size=(n, d)) + np.outer(y - 0.5, away)) * stretch @ turn
    return X + offset, y


@pytest.mark.parametrize(
    ("offset", "condition", "dtype"),
    [(1e3, 1, "f4"), (1e4, 1, "f4"), (1e8, 1, "f8"), (0, 1e12, "f8"), (1e3, 1e6, "f8")],
)
def test_hard_tables_reach_the_true_rule(offset, condition, dtype):
    X, y = bayes_table(offset, condition, n=8000)
    X = X.astype(dtype)
    model = ClosedFormClassifier().fit(X[:4000], y[:4000])
    # The true rule is right .866 of the time; 4,000 rows have a standard error of .0054.
    assert model.score(X[4000:], y[4000:]) > 0.85


def test_row_of_weight_zero_is_out_and_judged():
    X, y = draw(40, 3, 2)
    weight = np.ones(40)
    weight[[3, 8]] = 0
    kept = weight > 0
    model = ClosedFormClassifier().fit(X, y, weight)
    plain = ClosedFormClassifier().fit(X[kept], y[kept])
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-9)
    assert model.loo_decision_function_.shape == (40, 2)
    np.testing.assert_allclose(
        np.diff(model.loo_decision_function_[3:4])[0], plain.decision_function(X[3:4])
    )
    contributions = model.influence(X[:2]).contributions
    assert (contributions[:, 3] == 0).all()
    with pytest.raises(ArgumentError, match="weight 0"):
        model.what_if([0], [1])


def test_labels_of_any_type():
    X, y = draw(30, 3, 3)
    for labels in (np.array(["ж", "b", "a"]), np.array([True, False]), np.array([3.0, 1.0, 2.0])):
        given = labels[y % len(labels)]
        model = ClosedFormClassifier().fit(X, given)
        assert set(model.predict(X)) <= set(labels.tolist())
        again = ClosedFormClassifier.from_state(*model.state())
        assert (again.predict_proba(X) == model.predict_proba(X)).all()
        assert again.classes_.dtype == model.classes_.dtype


@pytest.mark.parametrize(
    ("X", "y", "weight", "match"),
    [
        ([[0.0], [np.nan]], [0, 1], None, "NaN"),
        ([[0.0], [np.inf]], [0, 1], None, "inf"),
        ([[0.0], [1.0]], [1, 1], None, "1 class"),
        ([[0.0]], [1], None, "1 sample"),
        ([[0.0], [1.0]], [0, 1], [-1, 1], "non-negative"),
        ([[0.0], [1.0]], [0, 1], [0, 0], "at least one"),
        ([[0.0], [1.0]], [0, 1], [1, 1, 1], "one number a row"),
        ([[0.0], [1.0]], [0, 1, 1], None, "inconsistent"),
    ],
)
def test_bad_data_is_refused(X, y, weight, match):
    with pytest.raises(DataError, match=match):
        ClosedFormClassifier().fit(X, y, weight)


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ({"ridge": "cv"}, "'loo', 'lw', 'oas'"),
        ({"ridge": -1.0}, "non-negative"),
        ({"temperature": 0}, "positive"),
        ({"temperature": "cv"}, "'loo'"),
        ({"prior": "flat"}, "'half', 'empirical', 'uniform'"),
        ({"prior": [0.5, 0.6]}, "sum to one"),
        ({"intercept": "none"}, "'corrected', 'plugin'"),
        ({"covariance": "own"}, "'shared', 'blend'"),
        ({"criterion": "f1"}, "'log_loss', 'accuracy'"),
        ({"average": 1}, "True or False"),
    ],
)
def test_bad_choices_are_refused(choice, match):
    with pytest.raises(ArgumentError, match=match):
        ClosedFormClassifier(**choice).fit([[0.0], [1.0], [2.0]], [0, 1, 1])


@pytest.mark.parametrize(
    "choice",
    [
        {"ridge": 2.0},
        {"ridge": "lw", "prior": "empirical"},
        {"ridge": "oas", "intercept": "plugin"},
        {"temperature": 1.0},
        {"average": False},
        {"criterion": "accuracy"},
        {"prior": [0.2, 0.3, 0.5]},
        {"prior": "uniform"},
    ],
)
def test_leave_one_out_equals_refits_for_every_choice(choice):
    X, y = draw(30, 5, 3)
    model = ClosedFormClassifier(**choice).fit(X, y)
    for row in range(0, 30, 5):
        others = np.arange(30) != row
        again = model.refit(X[others], y[others])
        np.testing.assert_allclose(
            again.decision_function(X[[row]])[0], model.loo_decision_function_[row], atol=1e-9
        )


def test_partial_fit_and_moments_equal_fit():
    X, y = load_digits(return_X_y=True)
    X, y = X[:600], y[:600]
    whole = ClosedFormClassifier().fit(X, y)
    parts = ClosedFormClassifier()
    for start in range(0, 600, 200):
        parts.partial_fit(X[start : start + 200], y[start : start + 200])
    moments = ClosedFormClassifier().fit_moments(Moments(64, dtype="float64").update(X, y), (X, y))
    for model in (parts, moments):
        np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(model.loo_proba_, whole.loo_proba_, atol=1e-8)
        assert model.loo_rows_ == 600
    np.testing.assert_allclose(parts.influence(X[:3]).scores(), whole.decision_function(X[:3]))


def test_a_long_stream_keeps_four_thousand_rows():
    X, y = draw(5000, 3, 2)
    model = ClosedFormClassifier().partial_fit(X, y, classes=[0, 1, 2])
    assert model.loo_rows_ == 4000
    assert model.loo_decision_function_.shape == (4000, 3)
    # A class without rows has the probability of an unseen label.
    np.testing.assert_allclose(model.predict_proba(X)[:, 2], 1 / 5003, rtol=1e-6)
    with pytest.raises(ArgumentError, match="moments only"):
        model.influence(X[:1])


def test_moments_alone_say_so():
    X, y = draw(60, 3, 2)
    moments = Moments(3).update(X, y)
    with pytest.warns(TriviumWarning, match="without rows"):
        model = ClosedFormClassifier().fit_moments(moments)
    assert model.score(X, y) > 0.5
    assert model.loo_rows_ == 0
    with pytest.raises(ArgumentError, match="moments only"):
        model.what_if([0], [1])


@pytest.mark.parametrize(
    ("moments", "error", "match"),
    [
        ("no", ArgumentError, "must be Moments"),
        (Moments(2).update(np.ones((3, 2))), ArgumentError, "must have labels"),
        (Moments(2).update(np.ones((3, 2)), [1, 1, 1]), DataError, "two classes"),
        (Moments(2, classes=[0, 1]), DataError, "at least a row"),
        (Moments(1).update([[0.0], [1.0]], [0, 1], [0.2, 0.3]), DataError, "at least a row"),
    ],
)
def test_unusable_moments_are_refused(moments, error, match):
    with pytest.raises(error, match=match):
        ClosedFormClassifier().fit_moments(moments)


def test_rows_of_a_class_that_moments_lack_are_refused():
    X, y = draw(20, 2, 2)
    with pytest.raises(DataError, match="classes that the moments hold"):
        ClosedFormClassifier().fit_moments(Moments(2).update(X, y), (X, y + 5))


def test_accuracy_criterion_prefers_fewer_errors():
    X, y = draw(80, 6, 4, spread=0.7)
    loss = ClosedFormClassifier(average=False).fit(X, y)
    right = ClosedFormClassifier(average=False, criterion="accuracy").fit(X, y)
    assert (right.path_.losses[right.path_.best] * 80) <= (1 - loss.loo_accuracy_) * 80 + 1


def test_ill_conditioned_float32_moments_say_so():
    X, y = draw(200, 3, 2)
    X[:, 2] = X[:, 0] + 1e-7 * X[:, 1]
    single = Moments(3).update(X.astype(np.float32), y)
    with pytest.warns(TriviumWarning, match=r"condition number .* above 1e\+08.*float64"):
        model = ClosedFormClassifier().fit_moments(single, (X, y))
    assert np.isfinite(model.loo_proba_).all()
    # The way out that the message names is silent (a warning is an error here).
    ClosedFormClassifier().fit_moments(Moments(3, dtype="float64").update(X, y), (X, y))


def test_a_new_fit_forgets_the_old_one():
    X, y = draw(60, 3, 2)
    model = ClosedFormClassifier().fit(X, y)
    with pytest.warns(TriviumWarning, match="without rows"):
        model.fit_moments(Moments(3).update(X, y))
    assert not hasattr(model, "loo_decision_function_")
    assert not hasattr(model, "loo_log_loss_")
