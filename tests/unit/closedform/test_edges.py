"""Streams with rows taken back, classes that come and go, labels of each type, and last guards."""

import numpy as np
import pytest
import scipy.sparse

from trivium._core.errors import ArgumentError, DataError, ModelError, NumericalError, ShapeError
from trivium.closedform import ClosedFormClassifier, ClosedFormRegressor
from trivium.moment import Moments


def draw(n, d, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return rng.normal(size=(n_classes, d))[y] + rng.normal(size=(n, d)), y


def assert_same(one, other, X, tolerance=1e-9):
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=tolerance)
    np.testing.assert_allclose(one.loo_proba_, other.loo_proba_, atol=tolerance)


def test_down_dated_moments_fit_what_is_left():
    X, y = draw(120, 6, 3)
    left = np.arange(120) >= 40
    moments = Moments(6, dtype="float64").update(X, y).downdate(X[~left], y[~left])
    fitted = ClosedFormClassifier().fit_moments(moments, (X[left], y[left]))
    assert_same(fitted, ClosedFormClassifier().fit(X[left], y[left]), X)
    # The member that must fail: the moments before rows were taken back.
    before = Moments(6, dtype="float64").update(X, y)
    other = ClosedFormClassifier().fit_moments(before, (X[left], y[left]))
    assert np.abs(other.coef_ - fitted.coef_).max() > 1e-3


def test_taking_back_rows_that_never_came_is_refused():
    X, y = draw(20, 3, 2)
    with pytest.raises(DataError, match="downdate"):
        Moments(3).update(X, y).downdate(X + 100, y)


def test_a_class_absent_from_a_block():
    X, y = draw(90, 4, 3)
    order = np.argsort(y, kind="stable")  # each block has one class only
    X, y = X[order], y[order]
    parts = ClosedFormClassifier().partial_fit(X[:30], y[:30], classes=[0, 1, 2])
    assert (parts.predict(X) == 0).all()
    for start in (30, 60):
        parts.partial_fit(X[start : start + 30], y[start : start + 30])
    assert_same(parts, ClosedFormClassifier().fit(X, y), X)
    both = Moments(4).update(X[:60], y[:60]) + Moments(4).update(X[60:], y[60:])
    merged = ClosedFormClassifier().fit_moments(both, (X, y))
    assert_same(merged, ClosedFormClassifier().fit(X, y), X)


def test_more_classes_than_rows():
    X, y = draw(6, 3, 6)
    alone = ClosedFormClassifier().fit(X, y)  # every row alone in its class
    assert np.isfinite(alone.predict_proba(X)).all()
    np.testing.assert_allclose(alone.loo_proba_[np.arange(6), y], 1 / 11)
    named = ClosedFormClassifier().partial_fit(X, y % 2, classes=range(20))
    proba = named.predict_proba(X)
    # Each of the 18 unseen labels has odds 1 : (6 + 20 - 1) against all that were seen.
    np.testing.assert_allclose(proba[:, 2:], 1 / (25 + 18), rtol=1e-9)
    np.testing.assert_allclose(proba.sum(1), 1)
    seen = ClosedFormClassifier().fit(X, y % 2)
    assert (seen.predict(X) == named.predict(X)).all()


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["ж", "b", "a"]),
        np.array(["ж", "b", "a"], dtype=object),
        np.array([7, -2, 3]),
        np.array([7, 2, 3], dtype=np.uint8),
        np.array([True, False]),
        np.array([1.0, 0.0, 2.0]),
    ],
    ids=["text", "object", "int", "uint8", "bool", "float"],
)
def test_labels_only_name_the_classes(labels):
    X, y = draw(60, 3, len(labels))
    given = labels[y]
    plain, named = ClosedFormClassifier().fit(X, y), ClosedFormClassifier().fit(X, given)
    assert named.classes_.dtype == labels.dtype
    order = np.argsort(np.argsort(labels))  # class number y is called labels[y]
    np.testing.assert_allclose(
        named.predict_proba(X)[:, order], plain.predict_proba(X), rtol=1e-9, atol=1e-12
    )
    agree = named.predict(X) == labels[plain.predict(X)]
    assert agree.all()
    parts = ClosedFormClassifier().partial_fit(X[:30], given[:30]).partial_fit(X[30:], given[30:])
    assert_same(parts, named, X)
    changed = named.what_if([0], [labels[1]])
    assert set(changed.predict(X)) <= set(labels)


@pytest.mark.parametrize("n", [40, 8], ids=["n>d", "n<d"])
@pytest.mark.parametrize("offset", [-1e6, 1e6])
def test_an_offset_changes_nothing(n, offset):
    X, y = draw(n, 12, 2)
    X = np.round(X * 1024) / 1024  # sums with the offset are exact
    plain, moved = ClosedFormClassifier().fit(X, y), ClosedFormClassifier().fit(X + offset, y)
    np.testing.assert_allclose(moved.coef_, plain.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(moved.loo_proba_, plain.loo_proba_, atol=1e-7)


def test_duplicate_rows_and_constant_columns_are_weights_and_nothing():
    X, y = draw(50, 5, 2)
    plain = ClosedFormClassifier(ridge=3.0).fit(X, y)
    padded = ClosedFormClassifier(ridge=3.0).fit(np.c_[X, np.full(50, 7.0)], y)
    np.testing.assert_allclose(padded.coef_[:, :5], plain.coef_, rtol=1e-9)
    np.testing.assert_allclose(padded.coef_[:, 5], 0, atol=1e-12)
    twice = ClosedFormClassifier(ridge=3.0).fit(np.r_[X, X], np.r_[y, y])
    weighted = ClosedFormClassifier(ridge=3.0).fit(X, y, np.full(50, 2.0))
    np.testing.assert_allclose(twice.coef_, weighted.coef_, rtol=1e-9)


@pytest.mark.parametrize(
    "ask",
    [
        lambda X, y: ClosedFormClassifier().fit(X, y),
        lambda X, y: ClosedFormClassifier().partial_fit(X, y),
        lambda X, y: ClosedFormClassifier().fit(X.toarray(), y).predict(X),
        lambda X, y: ClosedFormRegressor().fit(X, y),
    ],
)
def test_sparse_rows_are_refused_with_the_way_out(ask):
    X, y = draw(40, 5, 2)
    X[X < 0.5] = 0
    rows = scipy.sparse.csr_matrix(X)
    with pytest.raises(DataError, match=r"sparse matrix of shape .40, 5.*Moments"):
        ask(rows, y)
    moments = Moments(5, dtype="float64").update(rows, y)
    fitted = ClosedFormClassifier().fit_moments(moments, (X, y))
    assert_same(fitted, ClosedFormClassifier().fit(X, y), X)


@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        ([[0.0, np.nan], [1.0, 1.0]], [0, 1], "NaN"),
        ([[0.0], [1.0]], [0, 1], "1 features"),
        ([[0.0, 1.0], [1.0, 1.0]], [0, 1, 1], "inconsistent"),
        ([[0.0, 1.0], [1.0, 1.0]], [0.5, 1.5], "continuous"),
    ],
)
def test_bad_blocks_are_refused(X, y, match):
    model = ClosedFormClassifier().partial_fit([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0]], [0, 1, 1])
    with pytest.raises(DataError, match=match):
        model.partial_fit(X, y)


def test_a_label_outside_the_named_classes_is_refused():
    with pytest.raises((ArgumentError, DataError), match="classes"):
        ClosedFormClassifier().partial_fit([[0.0], [1.0]], [0, 5], classes=[0, 1])


@pytest.mark.parametrize("bad", [[[np.nan]], [[np.inf]], [[0.0, 1.0]], [["a"]]])
def test_bad_queries_are_refused(bad):
    model = ClosedFormClassifier().fit([[0.0], [1.0], [2.0]], [0, 1, 1])
    for ask in (model.predict, model.predict_proba, model.decision_function, model.influence):
        with pytest.raises(DataError, match="ClosedFormClassifier"):
            ask(bad)


def test_a_blend_of_part_of_the_rows_is_refused():
    X, y = draw(60, 3, 2)
    moments = Moments(3, dtype="float64").update(X, y)
    with pytest.raises(ArgumentError, match="needs all rows"):
        ClosedFormClassifier(covariance="blend").fit_moments(moments, (X[:20], y[:20]))


def test_labels_that_json_cannot_hold_are_refused():
    X, y = draw(20, 2, 2)
    dates = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]")[y]
    moments = Moments(2, dtype="float64").update(X, y)
    model = ClosedFormClassifier().fit_moments(moments, (X, y))
    model.classes_ = np.unique(dates)
    with pytest.raises(ArgumentError, match="labels must be plain"):
        model.state()


def test_a_damaged_state_is_refused():
    X, y = draw(20, 2, 2)
    tensors, manifest = ClosedFormClassifier().fit(X, y).state()
    for name in ("unit", "total", "classes", "dtype"):
        fewer = {key: value for key, value in manifest.items() if key != name}
        with pytest.raises(ModelError, match="complete"):
            ClosedFormClassifier.from_state(tensors, fewer)
    with pytest.raises(ModelError, match="fit together"):
        ClosedFormClassifier.from_state(tensors | {"bias": np.zeros(3)}, manifest)
    with pytest.raises(ModelError, match="finite"):
        ClosedFormClassifier.from_state(tensors, manifest | {"unit": -1.0})
    stored = ClosedFormClassifier.from_state(tensors, manifest)
    with pytest.raises(ArgumentError, match="moments only"):
        stored.influence(X)


def test_a_regressor_out_of_range_is_refused():
    X = np.array([[0.0], [1.0], [3.0], [4.0]])
    with pytest.raises(NumericalError, match="Scale the columns"):
        ClosedFormRegressor().fit(X * 1e-310, X[:, 0] * 1e10)
    model = ClosedFormRegressor().fit(X * 1e-200, X[:, 0])
    with pytest.raises(NumericalError, match="scale of the rows"):
        model.predict(X * 1e200)


def test_nobody_refits_what_was_never_fitted():
    for ask in ("refit", "what_if", "influence", "predict"):
        with pytest.raises(ValueError, match="not fitted"):
            getattr(ClosedFormClassifier(), ask)(*([[[0.0]], [0]][: 2 if ask == "refit" else 1]))


@pytest.mark.parametrize("other", [1, None])
def test_labels_of_two_kinds_are_refused_by_name(other):
    X, _ = draw(6, 2, 2)
    with pytest.raises(DataError, match=r"fit: y must be labels of one kind; got .* and "):
        ClosedFormClassifier().fit(X, np.array(["a", other] * 3, dtype=object))


def test_one_number_is_no_weight_of_each_row():
    X, y = draw(6, 2, 2)
    with pytest.raises(ShapeError, match="sample_weight must have the axis"):
        Moments(2).update(X, y, 2.0)
    with pytest.raises(ShapeError, match="y must have the axis"):
        Moments(2).update(X, 1)
