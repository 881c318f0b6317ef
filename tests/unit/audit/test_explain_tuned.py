"""The rows that made what tuning added: complete, repeatable, and refused when it is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trivium._core.errors import DataError, ModelError
from trivium._core.random import derive
from trivium.audit import AuditOptions, audit, explain_run, load_classifier
from trivium.audit.explain_tuned import Retraced, trained_layers
from trivium.audit.tune_estimator import named_choice
from trivium.audit.tune_metric import TuneMetric
from trivium.audit.tune_training import Sample, Training, train
from trivium.audit.tuned import Tuned
from trivium.closedform import ClosedFormClassifier
from trivium.objective import FBeta

STEPS = {"head": 20, "network": 40}


def sample_of(n: int) -> Sample:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(n, 3))
    codes = (X[:, 0] * X[:, 1] + 0.7 * X[:, 2] > 0).astype(np.int64)
    proba = ClosedFormClassifier().fit(X, codes).loo_proba_
    return Sample(X, codes, np.arange(n), proba)


def tuned_by(
    sample: Sample, estimator: str, stages: tuple[str, ...]
) -> tuple[Tuned, dict[str, object], TuneMetric]:
    metric = TuneMetric("macro_f1", FBeta(average="macro"), 2)
    now = Tuned(np.array([0.1, -0.1]))
    for stage in stages:
        how = Training(stage, metric, named_choice(estimator), derive(5, "tune", stage, "all"))
        now = train(how, now, sample, STEPS[stage])
    trained = [{"stage": stage, "steps": STEPS[stage]} for stage in stages]
    return now, {"trained": trained, "estimator": estimator, "seed": 5}, metric


@pytest.mark.parametrize("stages", [("head",), ("network",), ("head", "network")])
@pytest.mark.parametrize("estimator", ["exact", "counterfactual", "score, baseline optimal"])
def test_contributions_add_up_to_the_tuned_score(estimator: str, stages: tuple[str, ...]) -> None:
    sample = sample_of(120)
    tuned, described, metric = tuned_by(sample, estimator, stages)
    rows = np.array([3, 50, 7])
    explained = Retraced.of(tuned, described, metric, sample).explain(rows)
    scores = tuned.scores(sample.probabilities[rows], sample.X[rows])
    order = np.argsort(-scores, axis=1)
    np.testing.assert_array_equal(explained.predicted, order[:, 0])
    each = np.arange(3)
    margin = scores[each, order[:, 0]] - scores[each, order[:, 1]]
    total = explained.intercept + explained.contributions.sum(1)
    np.testing.assert_allclose(total, margin, atol=1e-10)
    assert explained.error < 1e-10
    base = tuned.base(sample.probabilities[rows])
    before = base[each, order[:, 0]] - base[each, order[:, 1]]
    np.testing.assert_allclose(explained.intercept, before, atol=1e-12)
    assert np.abs(explained.contributions).sum() > 0.1


def test_a_training_on_drawn_rows_is_retraced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivium.audit.tune_training._ROWS", 40)
    sample = sample_of(120)
    tuned, described, metric = tuned_by(sample, "counterfactual", ("network",))
    explained = Retraced.of(tuned, described, metric, sample).explain(np.array([0]))
    assert explained.error < 1e-10


def test_another_outcome_is_refused() -> None:
    sample = sample_of(60)
    tuned, described, metric = tuned_by(sample, "exact", ("head",))
    other = replace(metric, metric=FBeta(beta=2.0, average="macro"))
    with pytest.raises(DataError, match="must lead to the saved layers"):
        Retraced.of(tuned, described, other, sample)
    longer = described | {"trained": [{"stage": "network", "steps": 5}]}
    with pytest.raises(DataError, match="must lead to the saved layers"):
        Retraced.of(tuned, longer, metric, sample)


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(ModelError, match="the estimator must be one of"):
        named_choice("luck")


def test_a_run_with_a_network_explains_it_and_so_does_the_verb(tmp_path: Path) -> None:
    sample = sample_of(400)
    lines = [
        ",".join([*(f"{v:.4f}" for v in x), "same" if y else "other"])
        for x, y in zip(sample.X, sample.codes, strict=True)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,y", *lines]) + "\n")
    options = AuditOptions(
        data=tmp_path / "t.csv", label="y", metric="accuracy", folds=3, permutations=99
    )
    report = audit(options, tmp_path / "run").report
    assert report["tune"]["kept"] == "network"
    tuned = report["explain"]["tuned"]
    assert tuned["completeness_error"] < 1e-9
    item = tuned["items"][0]
    total = item["intercept"] + item["total_support"] + item["total_oppose"]
    assert total == pytest.approx(item["score"], abs=1e-8)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "What tuning added" in page
    assert "before tuning" in page

    saved = load_classifier(tmp_path / "run")
    assert trained_layers(saved.tuning)
    again = explain_run(tmp_path / "run", [item["row"]], top=5)[0]["tuned"]
    assert again["score"] == pytest.approx(item["score"], abs=1e-9)
    listed = [(one["row"], one["contribution"]) for one in again["support"]]
    assert [row for row, _ in listed] == [one["row"] for one in item["support"]]
