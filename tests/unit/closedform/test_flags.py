"""Flags, influence, what-if, regressor, export: each against something else."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from trivium._core.errors import ArgumentError, DataError, ModelError, ShapeError
from trivium.closedform import (
    ClosedFormClassifier,
    ClosedFormRegressor,
    init_linear_,
    label_flags,
    to_torch,
)


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def fitted(digits):
    return ClosedFormClassifier().fit(*digits)


def flip(y, seed):
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(y), 90, replace=False)
    given = y.copy()
    given[rows] = (given[rows] + rng.integers(1, 10, 90)) % 10
    return given, given != y


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_flipped_digits_are_found(digits, seed):
    X, y = digits
    given, wrong = flip(y, seed)
    flags = label_flags(X, given)
    assert wrong[flags.rank[:90]].mean() >= 0.9
    # Calibrated: the mean probability is near the share of flips, high on flips, low elsewhere.
    assert abs(flags.probability.mean() - 0.05) < 0.01
    assert flags.probability[wrong].mean() > 0.85
    assert flags.probability[~wrong].mean() < 0.02
    assert (flags.suggested == y)[wrong].mean() > 0.9
    assert flags.expected_wrong == pytest.approx(flags.probability.sum())
    # And the deliberately wrong member: labels in another order are not found.
    assert wrong[label_flags(X, np.roll(given, 1)).rank[:90]].mean() < 0.5


def test_clean_labels_are_hardly_flagged(digits, fitted):
    X, y = digits
    flags = label_flags(X, y, fitted)
    assert flags.classifier is fitted
    assert flags.expected_wrong < 0.02 * len(y)


def test_a_fitted_blend_flags_better(digits):
    X, y = digits
    X, y = X[:900], y[:900]
    given, wrong = flip(y, 0)
    flags = label_flags(X, given, ClosedFormClassifier(covariance="blend"))
    assert wrong[flags.rank[:90]].mean() >= 0.9


def test_flags_refuse_other_rows_and_classes(digits, fitted):
    X, y = digits
    with pytest.raises(ShapeError, match="axis n"):
        label_flags(X[:5], y[:5], fitted)
    with pytest.raises(ArgumentError, match="row 0"):
        label_flags(X, np.r_[11, y[1:]], fitted)


def test_influence_is_complete_and_translation_invariant(digits, fitted):
    X, y = digits
    found = fitted.influence(X[:20])
    scale = np.abs(fitted.decision_function(X[:20])).max()
    assert found.completeness_error < 1e-9
    np.testing.assert_allclose(found.scores(), fitted.decision_function(X[:20]), atol=1e-9 * scale)
    logits = fitted.decision_function(X[:20])
    toward = found.toward(3).sum(1) + found.intercept[3] - found.intercept.mean()
    np.testing.assert_allclose(toward, logits[:, 3], atol=1e-9 * scale)
    margin = found.margin(3, 7).sum(1) + found.intercept[3] - found.intercept[7]
    np.testing.assert_allclose(margin, logits[:, 3] - logits[:, 7], atol=1e-9 * scale)
    assert (found.codes == y).all()
    moved = ClosedFormClassifier().fit(X + 100, y).influence(X[:20] + 100)
    np.testing.assert_allclose(moved.contributions, found.contributions, atol=1e-7)
    with pytest.raises(ArgumentError, match="must be one of"):
        found.toward(11)


def test_influence_of_a_blend_is_refused(digits):
    X, y = digits
    blend = ClosedFormClassifier(covariance="blend").fit(X[:400], y[:400])
    assert blend.path_.blend > 0
    with pytest.raises(ArgumentError, match="linear rule"):
        blend.influence(X[:2])


@pytest.mark.parametrize("covariance", ["shared", "blend"])
def test_what_if_equals_a_refit(digits, covariance):
    X, y = digits
    X, y = X[:500], y[:500]
    model = ClosedFormClassifier(covariance=covariance).fit(X, y)
    rows = np.arange(0, 300, 3)
    labels, drop = (y[rows] + 1) % 10, [1, 4, 499]
    changed, kept = y.copy(), np.ones(500, dtype=bool)
    changed[rows], kept[drop] = labels, False
    fast, slow = model.what_if(rows, labels, drop=drop), model.refit(X[kept], changed[kept])
    scale = np.abs(slow.decision_function(X)).max()
    for name in ("decision_function", "predict_proba"):
        error = np.abs(getattr(fast, name)(X) - getattr(slow, name)(X)).max()
        assert error < 1e-9 * scale
    np.testing.assert_allclose(fast.loo_proba_, slow.loo_proba_, atol=1e-9)
    # There and back again; and chained.
    back = model.what_if(rows, labels).what_if(rows, y[rows])
    np.testing.assert_allclose(back.loo_proba_, model.loo_proba_, atol=1e-8)


def test_what_if_that_empties_a_class_equals_the_fit_without_it():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), np.arange(30) % 3
    y[y == 2] = 0
    y[[0, 1]] = 2
    model = ClosedFormClassifier().fit(X, y)
    fewer = model.what_if(drop=[0, 1])
    refit = model.refit(X[2:], y[2:])
    logits = fewer.decision_function(X)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], refit.decision_function(X), atol=1e-9)
    np.testing.assert_allclose(fewer.predict_proba(X)[:, 2], 1 / 31, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"rows": [-1], "labels": [0]}, "must be in"),
        ({"rows": [9999], "labels": [0]}, "9999"),
        ({"rows": [1, 1], "labels": [0, 0]}, "distinct"),
        ({"rows": [0.5], "labels": [0]}, "row numbers"),
        ({"rows": [1], "labels": [77]}, "among the classes"),
        ({"rows": [1, 2], "labels": [0]}, "one for each of 2"),
        ({"rows": [1], "labels": [0], "drop": [1]}, "one in both"),
    ],
)
def test_changes_that_make_no_sense_are_refused(fitted, change, match):
    with pytest.raises(ArgumentError, match=match):
        fitted.what_if(**change)


def test_state_of_a_blend_predicts_the_same_bits(digits):
    X, y = digits
    blend = ClosedFormClassifier(covariance="blend").fit(X[:400], y[:400])
    tensors, manifest = blend.state()
    again = ClosedFormClassifier.from_state(tensors, manifest)
    assert (again.decision_function(X) == blend.decision_function(X)).all()
    for name in tensors:
        with pytest.raises(ModelError):
            ClosedFormClassifier.from_state(
                {key: value for key, value in tensors.items() if key != name}, manifest
            )
    with pytest.raises(ModelError, match="finite"):
        ClosedFormClassifier.from_state(tensors | {"center": tensors["center"] * np.nan}, manifest)
    with pytest.raises(ModelError, match="10 classes"):
        ClosedFormClassifier.from_state(tensors, manifest | {"classes": [1, 2]})


def test_export_to_torch(digits, fitted):
    X, y = digits
    layer = fitted.to_torch().double()
    proba = torch.softmax(layer(torch.from_numpy(X)), 1).detach().numpy()
    np.testing.assert_allclose(proba, fitted.predict_proba(X), atol=1e-4)
    two = ClosedFormClassifier().fit(X, y > 4)
    proba = torch.softmax(to_torch(two, torch.float64)(torch.from_numpy(X)), 1)
    np.testing.assert_allclose(proba.detach().numpy(), two.predict_proba(X), atol=1e-9)


def test_init_linear(digits, fitted):
    X, y = torch.from_numpy(digits[0]), torch.from_numpy(digits[1])
    layer = nn.Linear(64, 10, dtype=torch.float64)
    init_linear_(layer, [(X[:900], y[:900]), (X[900:], y[900:])])
    np.testing.assert_allclose(layer.weight.detach().numpy(), fitted.coef_)
    for wrong in (nn.Linear(63, 10), nn.Linear(64, 9), nn.Linear(64, 10, bias=False)):
        with pytest.raises(ShapeError, match="init_linear_"):
            init_linear_(wrong, [(X, y)])


def test_regressor_refuses_bad_input():
    with pytest.raises(DataError, match="NaN"):
        ClosedFormRegressor().fit([[0.0], [np.nan]], [0.0, 1.0])
    with pytest.raises(ArgumentError, match="'loo'"):
        ClosedFormRegressor("lw").fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(ArgumentError, match="True or False"):
        ClosedFormRegressor(average=2).fit([[0.0], [1.0]], [0.0, 1.0])
