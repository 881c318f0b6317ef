"""The stage tune: what is kept and what is not, its metrics, its faults, and what it leaves."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from trivium._core.errors import ArgumentError, DataError, ModelError, NumericalError
from trivium.audit import (
    AuditOptions,
    AuditResult,
    Costs,
    audit,
    load_classifier,
    predict_files,
    read_costs,
    run,
)
from trivium.audit import tune_search as search_module
from trivium.audit import tune_stage as stage_module
from trivium.audit import tune_training as training
from trivium.audit.folds import make_folds
from trivium.audit.offsets import calibrate_offsets, tune_offsets
from trivium.audit.tune_estimator import choose_estimator
from trivium.audit.tune_metric import TuneMetric, UserMetric, tune_metric
from trivium.audit.tune_search import NOTHING_KEPT, Search
from trivium.audit.tune_training import Sample
from trivium.audit.tuned import Layers, Tuned, log_scores
from trivium.closedform import ClosedFormClassifier
from trivium.objective import CostMatrix
from trivium.table import Label, ReadOptions

FAST = {"permutations": 19, "folds": 3}


def label_of(codes: np.ndarray) -> Label:
    names = tuple("abcdefgh"[: int(codes.max()) + 1])
    return Label("y", codes, names, np.arange(len(codes)))


def metric_of(name: str, codes: np.ndarray, **more: Any) -> TuneMetric:
    found = tune_metric(AuditOptions(metric=name, **more), label_of(codes))
    assert found is not None
    return found


def searched(
    X: np.ndarray, codes: np.ndarray, metric: TuneMetric, stages: tuple[str, ...], seed: int = 0
) -> Search:
    groups = np.arange(len(codes))
    proba = ClosedFormClassifier().fit(X, codes).loo_proba_
    folds = make_folds(codes, groups, 4, seed)
    search = Search(Sample(X, codes, groups, proba), folds, metric, seed)
    for stage in stages:
        search.run(stage, 0)
    return search


def imbalanced(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping normals, one row in ten of the second."""
    generator = np.random.default_rng(seed)
    codes = (generator.random(n) < 0.1).astype(np.int64)
    return generator.normal(size=(n, 3)) + 0.5 * codes[:, None], codes


def symmetric(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two normals that mirror each other: the best offset is 0 for every metric."""
    generator = np.random.default_rng(seed)
    codes = (np.arange(n) % 2).astype(np.int64)
    return generator.normal(size=(n, 2)) + 1.2 * (2 * codes[:, None] - 1), codes


def as_csv(path: Path, X: np.ndarray, codes: np.ndarray, names: str = "no yes") -> Path:
    columns = [*(f"x{i}" for i in range(X.shape[1])), "answer"]
    lines = [
        ",".join([*(f"{v:.6f}" for v in row), names.split()[code]])
        for row, code in zip(X, codes.tolist(), strict=True)
    ]
    path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return path


# ---- what is kept ---------------------------------------------------------------------------


def test_offsets_raise_macro_f1_of_an_imbalanced_table_beyond_noise() -> None:
    X, codes = imbalanced(1500, 0)
    metric = metric_of("macro_f1", codes)
    search = searched(X, codes, metric, ("offsets",))
    assert search.kept_name == "offsets"
    assert search.tried[0]["gain"] > 2 * search.tried[0]["standard_error"] > 0
    fresh, truth = imbalanced(20_000, 2)
    proba = ClosedFormClassifier().fit(X, codes).predict_proba(fresh)
    found = metric.paired(truth, proba.argmax(1), search.kept.decide(proba, fresh), 0)
    assert found["gain"] > 4 * found["standard_error"]


def test_nothing_is_gained_on_a_balanced_symmetric_table() -> None:
    X, codes = symmetric(400, 0)
    search = searched(X, codes, metric_of("macro_f1", codes), ("offsets", "head"))
    assert search.kept_name == NOTHING_KEPT
    assert [one["outcome"] for one in search.tried] == ["not kept", "not kept"]
    assert not search.kept.offsets.any()


def test_nothing_leaks_from_the_fold_that_is_scored() -> None:
    """With shuffled labels there is nothing to gain: what stages gain is 0 on average."""
    gains = []
    for seed in range(12):
        X, codes = symmetric(100, seed)
        codes = np.random.default_rng(100 + seed).permutation(codes)
        search = searched(X, codes, metric_of("accuracy", codes), ("offsets", "head"), seed)
        gains += [one["gain"] for one in search.tried]
    assert np.mean(gains) < 2 * np.std(gains) / np.sqrt(len(gains))


def test_scoring_on_the_rows_that_were_learnt_from_would_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check of shuffled labels can fail: a stage that has seen the held-out labels is kept."""
    X, codes = symmetric(160, 2)
    codes = np.random.default_rng(3).permutation(codes)
    answers = {row.tobytes(): code for row, code in zip(X, codes.tolist(), strict=True)}

    class Leaky(Tuned):
        def decide(self, probabilities: np.ndarray, X: np.ndarray) -> np.ndarray:
            return np.array([answers[row.tobytes()] for row in X])

    monkeypatch.setattr(search_module, "tune_offsets", lambda *_: np.zeros(2))
    monkeypatch.setattr(search_module, "Tuned", Leaky)
    search = searched(X, codes, metric_of("accuracy", codes), ())
    search.guess = search.plain_guess = np.zeros(160, dtype=np.int64)
    search.run("offsets", 1)
    assert search.kept_name == "offsets"


def test_a_network_is_kept_where_a_line_is_not_enough() -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(300, 2))
    codes = (X[:, 0] * X[:, 1] + 0.1 * generator.normal(size=300) > 0).astype(np.int64)
    search = searched(X, codes, metric_of("accuracy", codes), ("offsets", "head", "network"))
    assert search.kept_name == "network"
    assert search.tried[-1]["gain"] > 3 * search.tried[-1]["standard_error"]
    again = searched(X, codes, metric_of("accuracy", codes), ("offsets", "head", "network"))
    for name, array in search.kept.state().items():
        assert np.array_equal(array, again.kept.state()[name]), name
    assert search.tried == again.tried


def test_a_stage_starts_from_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    X, codes = imbalanced(1500, 0)
    seen: list[np.ndarray] = []

    def spy(how: Any, start: Tuned, *_: Any) -> Tuned:
        seen.append(start.offsets)
        return start

    monkeypatch.setattr(search_module, "train", spy)
    monkeypatch.setattr(search_module, "best_steps", lambda *_: 10)
    search = searched(X, codes, metric_of("macro_f1", codes), ("offsets", "head"))
    assert search.kept_name == "offsets"
    assert len(seen) == 4
    assert all(
        np.array_equal(mine, kept.offsets)
        for mine, kept in zip(seen, search.kept_parts, strict=True)
    )
    assert search.tried[1]["why"].startswith("0 of the decisions changed")


# ---- offsets and metrics --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc", "balanced_accuracy"])
def test_counts_of_a_sweep_are_those_of_the_decisions(name: str) -> None:
    from trivium.audit.offsets import _curve

    generator = np.random.default_rng(0)
    codes = generator.integers(0, 3, 50)
    metric = metric_of(name, codes)
    scores = generator.normal(size=(50, 3))
    shifts = np.linspace(-2, 2, 9) + 0.0123
    found = _curve(scores, codes, 1, shifts, metric)
    moved = [metric.value(codes, (scores + np.array([0, s, 0])).argmax(1)) for s in shifts]
    np.testing.assert_allclose(found, moved, atol=1e-12)


def test_offsets_find_the_place_that_was_moved() -> None:
    generator = np.random.default_rng(1)
    codes = np.repeat([0, 1, 2], 300)
    scores = generator.normal(size=(900, 3))
    scores[np.arange(900), codes] += 2.0
    moved = scores - [0.0, 1.5, -1.0]
    found = tune_offsets(moved, codes, metric_of("accuracy", codes))
    centered = found - found.mean() - (np.array([0, 1.5, -1.0]) - 0.5 / 3)
    assert np.abs(centered).max() < 0.5
    assert (found == 0).any()


def test_a_function_and_the_metric_of_its_name_find_alike() -> None:
    X, codes = imbalanced(400, 0)
    scores = log_scores(ClosedFormClassifier().fit(X, codes).loo_proba_)
    named = metric_of("macro_f1", codes)

    def macro(target: Any, guess: Any) -> float:
        return float(sklearn_metrics.f1_score(target, guess, average="macro"))

    own = TuneMetric("own", UserMetric(macro, ("a", "b")), 2)
    guesses = [(scores + tune_offsets(scores, codes, one)).argmax(1) for one in (named, own)]
    assert abs(named.value(codes, guesses[0]) - named.value(codes, guesses[1])) < 0.03
    assert own.value(codes, guesses[0]) == pytest.approx(named.value(codes, guesses[0]), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("accuracy", sklearn_metrics.accuracy_score),
        ("balanced_accuracy", sklearn_metrics.balanced_accuracy_score),
        ("mcc", sklearn_metrics.matthews_corrcoef),
        ("macro_f1", lambda t, p: sklearn_metrics.f1_score(t, p, average="macro")),
        ("f1", lambda t, p: sklearn_metrics.f1_score(t, p, pos_label=1)),
    ],
)
def test_named_metrics_are_those_of_scikit_learn(
    name: str, theirs: Callable[[Any, Any], float]
) -> None:
    generator = np.random.default_rng(0)
    codes = (generator.random(80) < 0.3).astype(np.int64)
    guess = np.where(generator.random(80) < 0.2, 1 - codes, codes)
    assert metric_of(name, codes).value(codes, guess) == pytest.approx(theirs(codes, guess))


def test_the_standard_error_is_that_of_a_bootstrap_over_rows() -> None:
    generator = np.random.default_rng(0)
    codes = (generator.random(300) < 0.2).astype(np.int64)
    before = np.where(generator.random(300) < 0.2, 1 - codes, codes)
    after = np.where(generator.random(300) < 0.1, 1 - codes, codes)
    metric = metric_of("f1", codes)
    draws = []
    for _ in range(1500):
        rows = generator.integers(300, size=300)
        pair = (metric.value(codes[rows], guess[rows]) for guess in (after, before))
        draws.append(next(pair) - next(pair))
    found = metric.paired(codes, before, after, 0)
    # Both are standard deviations of 1,000 draws or more: each within 2.3 %.
    assert found["standard_error"] == pytest.approx(np.std(draws), rel=0.1)
    own = TuneMetric("own", UserMetric(lambda t, p: float(np.mean(t == p)), ("a", "b")), 2)
    accuracy = metric_of("accuracy", codes).paired(codes, before, after, 0)
    assert own.paired(codes, before, after, 0)["gain"] == pytest.approx(accuracy["gain"])


def test_f1_is_of_the_rarer_class_or_of_the_one_named() -> None:
    codes = np.array([0, 0, 0, 1])
    assert metric_of("f1", codes).positive == 1
    assert metric_of("f1", 1 - codes).positive == 0
    assert metric_of("f1", np.array([0, 1])).positive == 1
    assert metric_of("f1", codes, positive="a").positive == 0
    with pytest.raises(ArgumentError, match="--positive must be a class"):
        metric_of("f1", codes, positive="z")
    with pytest.raises(ArgumentError, match="must come with --positive"):
        metric_of("f1", np.array([0, 1, 2]))
    assert metric_of("f1", np.array([0, 1, 2]), positive="c").positive == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "speed"}, "metric must be one of"),
        ({"positive": "a"}, "--positive must come with"),
        ({"metric": "f1", "costs": Costs(("a", "b"), ((0, 1), (1, 0)))}, "must come without"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        AuditOptions(**options)


def test_the_headline_is_a_metric_of_all_models() -> None:
    assert AuditOptions().headline == AuditOptions(metric="own:metric").headline == "accuracy"
    assert AuditOptions(metric="log_loss").headline == "log_loss"
    assert AuditOptions(metric="mcc").headline == "macro_f1"


# ---- costs ----------------------------------------------------------------------------------


def test_the_rule_of_a_cost_matrix_is_the_least_expected_cost() -> None:
    generator = np.random.default_rng(0)
    p = generator.dirichlet(np.ones(3), 200)
    table = np.array([[0, 1, 2], [3, 0, 1], [9, 1, -1.0]])
    rule = Tuned(np.zeros(3), table)
    expected = [int(np.argmin(row @ table)) for row in p]
    assert rule.decide(p, np.empty((200, 0))).tolist() == expected
    moved = p * [1.0, 3.0, 0.5]
    moved /= moved.sum(1, keepdims=True)
    again = Tuned(np.log([1.0, 3.0, 0.5]), table).decide(p, np.empty((200, 0)))
    assert again.tolist() == CostMatrix(table).decide(moved).tolist() != expected
    assert CostMatrix(table).decide(p).tolist() == expected
    assert Tuned(np.zeros(3), np.zeros((3, 3))).decide(p, np.empty((200, 0))).tolist() == [0] * 200


def test_calibrated_offsets_give_each_class_its_frequency() -> None:
    generator = np.random.default_rng(0)
    codes = generator.choice(4, 400, p=[0.6, 0.3, 0.1, 0.0])
    scores = np.log(generator.dirichlet(np.ones(4), 400)) - [0, 0, 0, 50]
    found = calibrate_offsets(scores, codes)
    assert (found[0], found[3]) == (0, 0)
    free = torch.softmax(torch.from_numpy(scores + found), 1).sum(0)
    np.testing.assert_allclose(free, np.bincount(codes, minlength=4), atol=1e-6)


def test_a_cost_matrix_is_read_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("true,yes,no\nno,1,0\nyes,0,7.5\n")
    found = read_costs(path)
    assert found.of(("no", "yes")).tolist() == [[0, 1], [7.5, 0]]
    path.write_text("no,yes\n0,1\n7.5,0\n")
    assert read_costs(path).of(("no", "yes")).tolist() == [[0, 1], [7.5, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true,yes,no\nno,1,0\nmaybe,0,7\n", "must name the same classes"),
        ("no,yes\n0,1\n", "must be square"),
        ("no,yes\n0,x\n1,0\n", "finite number; got 'x'"),
        ("no,yes\n0,inf\n1,0\n", "must be a finite number; got 'inf' in row 'no'"),
        ("no,yes\n0,1e999\n1,0\n", "must be a finite number; got '1e999' in row 'no'"),
        ("no,yes\n0,\n1,0\n", "must be a finite number; got an empty cell in row 'no'"),
        ("no,yes\n0,1_000\n1,0\n", "must be a finite number; got '1_000'"),
        ("no,yes\n0,1e308\n1,0\n", "must be 0 or between 1e-100 and 1e.100 in size; got '1e308'"),
        ("no,yes\n0,1e-320\n1,0\n", "must be 0 or between 1e-100 and 1e.100 in size"),
        ("no,oui\n0,1\n1,0\n", "must name the classes of the label"),
    ],
)
def test_a_cost_matrix_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "costs.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_costs(path).of(("no", "yes"))
    assert caught.value.code == "E-COSTS"


# ---- the gradient estimator -----------------------------------------------------------------


def test_the_estimator_of_least_variance_times_work_is_chosen() -> None:
    X, codes = imbalanced(200, 0)
    scores = log_scores(ClosedFormClassifier().fit(X, codes).loo_proba_)
    found = choose_estimator(scores, codes, metric_of("macro_f1", codes), 0)
    assert found.name == min(found.figures, key=lambda one: one["price"])["name"]
    assert found.name == "counterfactual"
    score = next(one for one in found.figures if one["name"] == "score, baseline optimal")
    assert score["price"] > 100 * min(one["price"] for one in found.figures)
    assert choose_estimator(scores, codes, metric_of("macro_f1", codes), 0) == found
    assert choose_estimator(scores, codes, metric_of("accuracy", codes), 0).name == "exact"
    own = TuneMetric("own", UserMetric(lambda t, p: float(np.mean(t == p)), ("a", "b")), 2)
    assert choose_estimator(scores[:60], codes[:60], own, 0).name.startswith("score")


# ---- faults ---------------------------------------------------------------------------------


def not_a_number(logits: Tensor, *_: Any, **__: Any) -> Tensor:
    return logits.sum() * float("nan")


def test_a_gradient_that_is_no_number_stops_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    X, codes = symmetric(120, 0)
    monkeypatch.setattr(training, "expected_metric", not_a_number)
    search = searched(X, codes, metric_of("macro_f1", codes), ("head", "network"))
    assert [one["outcome"] for one in search.tried] == ["stopped", "stopped"]
    assert search.kept_name == NOTHING_KEPT
    assert search.tried[0]["gain"] is None


def test_a_training_that_runs_away_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    X, codes = symmetric(120, 0)
    monkeypatch.setattr(training, "_RATE", 1e9)
    search = searched(X, codes, metric_of("accuracy", codes), ("head",))
    assert search.tried[0]["outcome"] == "stopped"
    assert "diverged" in search.tried[0]["why"]
    sample = search.parts[0].sample
    assert sample is not None
    assert search.choice is not None
    how = training.Training("head", search.metric, search.choice, 0)
    with pytest.raises(NumericalError, match="must stay finite"):
        training.train(how, search.kept, sample, 10)


def raises(target: Any, guess: Any) -> float:
    raise RuntimeError("no luck")


def alters(target: Any, guess: Any) -> float:
    guess[:] = target
    return 1.0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (raises, "must not raise; RuntimeError: no luck"),
        (alters, "must leave its arguments"),
        (lambda t, p: float("nan"), "finite number; got nan"),
        (lambda t, p: float("inf"), "finite number; got inf"),
        (lambda t, p: "good", "must return a number; got str"),
        (lambda t, p: "0.5", "must return a number; got str"),
        (lambda t, p: sys.exit(0), "must not raise; SystemExit: 0"),
        (lambda t, p: None, "must return a number; got NoneType"),
    ],
)
def test_a_function_that_fails_is_a_named_error(function: Any, message: str) -> None:
    target, guess = np.array([0, 1, 1]), np.array([1, 0, 1])
    metric = UserMetric(function, ("a", "b"))
    with pytest.raises(DataError, match=message) as caught:
        metric(target, guess)
    assert caught.value.code == "E-METRIC"
    assert caught.value.exit_code == 3
    assert (target.tolist(), guess.tolist()) == ([0, 1, 1], [1, 0, 1])


@pytest.mark.parametrize("name", ["nowhere_to_be:found", "math:nothing", "math:pi", "math:"])
def test_a_function_that_does_not_exist(name: str) -> None:
    with pytest.raises(ArgumentError, match="--metric must name a function"):
        metric_of(name, np.array([0, 1]))


def test_a_module_that_ends_the_program_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaver_of_runs.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArgumentError, match=r"can be imported; .*SystemExit: 0"):
        metric_of("leaver_of_runs:f", np.array([0, 1]))


# ---- whole runs -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_csv(tmp_path_factory.mktemp("data") / "t.csv", *imbalanced(900, 0))


@pytest.fixture(scope="module")
def options(table: Path) -> AuditOptions:
    return AuditOptions(data=table, label="answer", metric="f1", **FAST)


@pytest.fixture(scope="module")
def finished(options: AuditOptions, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return audit(options, tmp_path_factory.mktemp("runs") / "run")


def test_a_run_says_what_was_tuned(finished: AuditResult) -> None:
    tune = finished.report["tune"]
    assert (tune["metric"], tune["positive"], tune["kept"]) == ("f1", "yes", "offsets")
    assert [one["stage"] for one in tune["tried"]] == ["offsets", "head", "network"]
    assert tune["gain"] > tune["standard_error"]
    # One stage was kept: the gain of the whole is its gain, with the same error.
    only = tune["tried"][0]
    figures = ("before", "after", "gain", "standard_error")
    assert [only[name] for name in figures] == [tune[name] for name in figures]
    assert any(
        line.startswith("Tuning: by offsets, F1 of yes goes from")
        for line in finished.report["verdict"]
    )
    assert "the stage tune kept, offsets, is a rule" in finished.report["explain"]["method"]
    page = (finished.folder / "report.html").read_text()
    assert "Can it be tuned for the metric?" in page
    assert "counterfactual (chosen)" in page


def test_predict_uses_the_offsets(finished: AuditResult, table: Path) -> None:
    _, found = predict_files(finished.folder, [table], ReadOptions())
    rows = list(found)
    proba = np.array([row[2:] for row in rows])
    offsets = [one["offset"] for one in finished.report["tune"]["offsets"]]
    expected = (np.log(proba) + offsets).argmax(1)
    said = [["no", "yes"].index(row[1]) for row in rows]
    assert said == expected.tolist()
    assert said != proba.argmax(1).tolist()
    np.testing.assert_allclose(proba.sum(1), 1)


def test_a_model_without_tune_is_as_before(tmp_path: Path) -> None:
    table = as_csv(tmp_path / "t.csv", *symmetric(200, 0))
    found = audit(AuditOptions(data=table, label="answer", **FAST), tmp_path / "run")
    assert found.report["tune"]["kept"] == NOTHING_KEPT
    assert [one["outcome"] for one in found.report["tune"]["tried"]][1:] == ["not tried"] * 2
    manifest = json.loads((found.folder / "model" / "manifest.json").read_text())["manifest"]
    assert set(manifest) == {"kind", "trivium", "label", "classes", "encoder", "classifier"}
    assert load_classifier(found.folder).tuned is None
    assert any(line.startswith("Tuning did not help") for line in found.report["verdict"])


def test_the_same_bits_again_and_after_a_stop(
    finished: AuditResult, options: AuditOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(state: Any) -> str:
        raise KeyboardInterrupt

    def never(*_: Any) -> None:
        raise AssertionError("the journal has it")

    monkeypatch.setitem(run.STAGES, "explain", (stop, ""))
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    with pytest.raises(KeyboardInterrupt):
        audit(options, tmp_path / "run")
    torch.set_num_threads(threads)
    monkeypatch.undo()
    monkeypatch.setattr(stage_module, "_section", never)
    again = audit(options, tmp_path / "run")
    assert again.resumed
    assert again.report["tune"] == finished.report["tune"]
    tensors = "model/tensors.safetensors"
    assert (again.folder / tensors).read_bytes() == (finished.folder / tensors).read_bytes()


def test_a_stopped_stage_is_a_warning(
    options: AuditOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "expected_metric", not_a_number)
    found = audit(options, tmp_path / "run").report
    assert found["tune"]["kept"] == "offsets"
    said = [w["message"] for w in found["warnings"] if w["code"] == "W-TUNE"]
    assert len(said) == 2
    assert "head was stopped" in said[0]


def test_noise_is_not_tuned(tmp_path: Path) -> None:
    X, codes = symmetric(120, 2)
    codes = np.random.default_rng(3).permutation(codes)
    path = as_csv(tmp_path / "t.csv", X, codes)
    found = audit(
        AuditOptions(data=path, label="answer", metric="macro_f1", **FAST), tmp_path / "run"
    ).report
    assert found["tune"]["tried"] == []
    assert "no column depends on the label" in found["tune"]["why"]
    assert found["tune"]["gain"] is None


def test_log_loss_is_not_tuned(table: Path, tmp_path: Path) -> None:
    found = audit(
        AuditOptions(data=table, label="answer", metric="log_loss", **FAST), tmp_path / "run"
    ).report
    assert "log-loss" in found["tune"]["why"]
    assert found["scores"]["headline"] == "log_loss"


def test_budgets_leave_stages_out(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "_TRAINING", 1.0)
    monkeypatch.setattr(stage_module, "_OFFSETS", 1.0)
    options = AuditOptions(data=table, label="answer", metric="macro_f1", **FAST)
    found = audit(options, tmp_path / "a").report
    assert [one["outcome"] for one in found["tune"]["tried"]] == ["not tried"] * 3
    said = [w["message"] for w in found["warnings"] if w["code"] == "W-BUDGET"]
    assert len(said) == 3
    assert any(line.startswith("Tuning: every stage was left out") for line in found["verdict"])
    assert "Every stage was left out or stopped" in (tmp_path / "a" / "report.html").read_text()
    monkeypatch.setattr(stage_module, "_FITS", 1.0)
    found = audit(options, tmp_path / "b").report
    assert "over their budget" in found["tune"]["why"]


def test_costs_decide_and_are_saved(table: Path, tmp_path: Path) -> None:
    costs = Costs(("yes", "no"), ((0.0, 12.0), (1.0, 0.0)))
    options = AuditOptions(data=table, label="answer", costs=costs, **FAST)
    found = audit(options, tmp_path / "run")
    tune = found.report["tune"]
    assert tune["metric"] == "cost"
    assert tune["tried"][0]["stage"] == "decision rule"
    assert tune["tried"][0]["outcome"] == "kept"
    saved = load_classifier(found.folder).tuned
    assert saved is not None
    assert saved.costs is not None
    assert saved.costs.tolist() == [[0, 1], [12, 0]]
    other = replace(options, costs=Costs(("yes", "no"), ((0.0, 13.0), (1.0, 0.0))))
    assert other.fingerprint(b"") != options.fingerprint(b"")


def test_a_function_of_the_user_is_tuned(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "def found(target, guess):\n    return float(((target == 'yes') & (guess == 'yes')).sum()"
    )
    source += " - 0.1 * ((target == 'no') & (guess == 'yes')).sum())\n"
    (tmp_path / "my_metric.py").write_text(source)
    (tmp_path / "bad_metric.py").write_text("def found(target, guess):\n    return float('nan')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(stage_module, "_TRAINING", 1.0)
    options = AuditOptions(data=table, label="answer", metric="my_metric:found", **FAST)
    tune = audit(options, tmp_path / "run").report["tune"]
    assert (tune["metric"], tune["kept"]) == ("my_metric:found", "offsets")
    with pytest.raises(DataError, match="finite number; got nan"):
        audit(replace(options, metric="bad_metric:found"), tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
    sys.modules.pop("my_metric")
    sys.modules.pop("bad_metric")


def test_a_tuned_model_comes_back_as_it_was() -> None:
    generator = np.random.default_rng(0)
    shapes = {"center": (4,), "scale": (4,), "weight": (4, 3), "bias": (3,), "hidden": (4, 2)}
    shapes |= {"hidden_bias": (2,), "out": (2, 3)}
    layers = Layers(**{name: generator.normal(size=shape) for name, shape in shapes.items()})
    tuned = Tuned(generator.normal(size=3), generator.normal(size=(3, 3)), layers)
    said = Tuned.described("cost", "network")
    again = Tuned.from_state(tuned.state(), said, 3, 4)
    p, X = generator.dirichlet(np.ones(3), 20), generator.normal(size=(20, 4))
    assert np.array_equal(tuned.scores(p, X), again.scores(p, X))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.zeros(2)}, "fit together"),
        ({"offsets": np.array([0.0, np.nan, 0.0])}, "must be finite"),
        ({"weight": np.zeros((4, 3))}, "fit together"),
        ({"novelty": np.zeros(1)}, "fit together"),
        ({"schema": 2}, "schema of tune must be at most 1"),
        ({"schema": "x"}, "fit together"),
    ],
)
def test_a_damaged_tuned_model_is_refused(change: dict[str, Any], message: str) -> None:
    said = Tuned.described("accuracy", "offsets")
    arrays = {"offsets": np.zeros(3)} | {k: v for k, v in change.items() if k != "schema"}
    said |= {k: v for k, v in change.items() if k == "schema"}
    with pytest.raises(ModelError, match=message):
        Tuned.from_state(arrays, said, 3, 4)


def test_rows_csv_stays_that_of_the_closed_form(finished: AuditResult) -> None:
    with (finished.folder / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    guess = [row["predicted"] == row["label"] for row in rows]
    assert np.mean(guess) == pytest.approx(finished.report["scores"]["loo"]["accuracy"])
