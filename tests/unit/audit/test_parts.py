"""Folds, intervals, baselines and gates, each against something simple and separate."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss

from trivium._core.errors import ArgumentError
from trivium.audit.baselines import BASELINES, boosting_iterations, fold_probabilities
from trivium.audit.folds import make_folds
from trivium.audit.gate import QUANTITIES, parse_gate
from trivium.audit.intervals import compare_metrics, metric_draws


def test_folds_keep_groups_and_spread_classes(rng: np.random.Generator) -> None:
    codes = rng.integers(3, size=300)
    groups = np.arange(300)
    groups[100:130] = np.repeat(np.arange(10), 3)
    folds = make_folds(codes, groups, 5, seed=0)
    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1
    single = groups >= 130
    for code in range(3):
        counts = np.bincount(folds[single & (codes == code)], minlength=5)
        assert counts.max() - counts.min() <= 8
    np.testing.assert_array_equal(folds, make_folds(codes, groups, 5, seed=0))
    assert (folds != make_folds(codes, groups, 5, seed=1)).any()


def test_folds_are_as_many_as_groups_allow() -> None:
    folds = make_folds(np.array([0, 1, 0]), np.array([4, 4, 9]), 5, seed=0)
    assert sorted(set(folds.tolist())) == [0, 1]


def test_metrics_equal_scikit_learn(rng: np.random.Generator) -> None:
    codes = rng.integers(4, size=200)
    proba = rng.dirichlet(np.ones(4), size=200)
    value = {k: v[0] for k, v in metric_draws({"m": proba}, codes, 0)["m"].items()}
    assert value["accuracy"] == pytest.approx((proba.argmax(1) == codes).mean(), abs=1e-12)
    assert value["log_loss"] == pytest.approx(log_loss(codes, proba), abs=1e-12)
    expected = f1_score(codes, proba.argmax(1), average="macro")
    assert value["macro_f1"] == pytest.approx(expected, abs=1e-12)


def test_bootstrap_interval_of_a_mean_matches_the_normal_one(rng: np.random.Generator) -> None:
    n = 2000
    codes = rng.integers(2, size=n)
    guess = np.where(rng.random(n) < 0.8, codes, 1 - codes)
    proba = np.eye(2)[guess] * 0.8 + 0.1
    models, differences = compare_metrics(metric_draws({"a": proba, "b": proba}, codes, 0), "a")
    score = models["a"]["accuracy"]
    half = 1.96 * np.sqrt(score["mean"] * (1 - score["mean"]) / n)
    # 1,000 draws place a 2.5 % quantile within about 10 % of the half-width.
    assert score["high"] - score["low"] == pytest.approx(2 * half, rel=0.15)
    # Paired: a model against itself differs by exactly nothing.
    assert all(d["mean"] == d["low"] == d["high"] == 0 for d in differences)


def test_out_of_fold_rows_are_never_trained_on(rng: np.random.Generator) -> None:
    X, codes, folds = rng.standard_normal((40, 3)), rng.integers(2, size=40), np.arange(40) % 4
    out = fold_probabilities(LogisticRegression, X, codes, folds, 2)
    for fold in range(4):
        model = LogisticRegression().fit(X[folds != fold], codes[folds != fold])
        np.testing.assert_allclose(out[folds == fold], model.predict_proba(X[folds == fold]))


def test_class_seen_in_one_fold_only_gets_zero_there(rng: np.random.Generator) -> None:
    codes = np.zeros(12, dtype=int)
    codes[0] = 1
    out = fold_probabilities(DummyClassifier, rng.random((12, 2)), codes, np.arange(12) % 3, 3)
    assert out[0].tolist() == [1, 0, 0]
    np.testing.assert_allclose(out.sum(1), 1)


def test_boosting_keeps_to_its_counts() -> None:
    assert boosting_iterations(1797, 64, 10) == 20
    assert boosting_iterations(1000, 10, 2) == 100
    assert boosting_iterations(10**6, 1000, 100) == 0
    assert set(BASELINES) == {"logistic", "boosting", "majority"}


REPORT = {
    "scores": {"models": {"closed_form": {"accuracy": {"mean": 0.75}}}},
    "flags": {"listed": 12, "expected_wrong": 3.5},
    "depend": [{"p_value": 0.001, "q_value": 0.2}, {"p_value": 0.5, "q_value": 0.5}],
    "warnings": [{"code": "W-LEAK-EQUAL"}, {"code": "W-MISSING"}],
}


@pytest.mark.parametrize(
    ("rule", "trips"),
    [
        ("accuracy<0.8", True),
        ("accuracy < .75", False),
        ("accuracy<=0.75", True),
        ("flags>10", True),
        ("expected_wrong>=4", False),
        ("q>0.05", True),
        ("p>0.05", False),
        ("leaks>0", True),
        ("warnings=2", True),
    ],
)
def test_gate(rule: str, trips: bool) -> None:
    assert parse_gate(rule).trips(REPORT) is trips


@pytest.mark.parametrize("rule", ["", "accuracy", "speed<1", "accuracy<fast", "accuracy<1<2", "<3"])
def test_bad_gate_lists_the_quantities(rule: str) -> None:
    with pytest.raises(ArgumentError, match="accuracy, "):
        parse_gate(rule)
    assert "macro_f1" in QUANTITIES
