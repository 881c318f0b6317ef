"""Texts read in order: what a network may see, when it is kept, and that it loads again."""

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from trivium._core.errors import ModelError
from trivium.audit import AuditOptions, audit, sequence_model, sequence_stage
from trivium.audit.baselines import fold_probabilities
from trivium.audit.learnt_encoder import LearntEncoder, decoded, encoded
from trivium.audit.plan_text import LONGEST
from trivium.audit.saved import load_classifier
from trivium.audit.sequence_model import Fitted, fit_sequence_model
from trivium.audit.sequence_stage import _gains, asks_for_order, read_in_order
from trivium.audit.sequence_text import Vocabulary
from trivium.audit.sequence_trial import Texts, Trial
from trivium.audit.state import AuditState, Silent
from trivium.closedform import ClosedFormClassifier
from trivium.table import Label, ReadOptions, read_table

WORDS = ["lobby", "lift", "bar", "pool", "sauna", "garden", "desk", "terrace", "gym", "shop"]


def steps(n: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts of the same words whichever way: only which of two marks comes first differs."""
    rng = np.random.default_rng(seed)
    order = rng.integers(0, 2, n)
    texts = []
    for last in order:
        words = rng.choice(WORDS, size=5, replace=False).tolist()
        marks = ["complaint", "apology"][:: 1 if last else -1]
        words.insert(int(rng.integers(0, 3)), marks[0])
        words.insert(int(rng.integers(4, 7)), marks[1])
        texts.append(" ".join(words))
    return texts, order


def write(path: Path, texts: list[str], codes: np.ndarray) -> Path:
    rng = np.random.default_rng(1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["steps", "size", "label"])
        rows = zip(texts, rng.normal(size=len(texts)), codes, strict=True)
        writer.writerows((text, f"{x:.2f}", "yes" if code else "no") for text, x, code in rows)
    return path


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(sequence_model, "EPOCHS", 2)


def trial(codes: np.ndarray, folds: np.ndarray, classes=("no", "yes")) -> Trial:
    texts, _ = steps(len(codes), 0)
    vocabulary = Vocabulary.of(texts)
    state = AuditState(AuditOptions(), Silent())
    state.label = Label("label", codes, classes, np.arange(len(codes)))
    state.groups = np.arange(len(codes))
    given = Texts(
        vocabulary.rows(texts), len(vocabulary), codes, state.groups, folds, len(classes), 0
    )
    return Trial(state, "test", given, vocabulary, 0)


def test_no_score_has_seen_the_labels_it_must_not(quick):
    codes, folds = np.arange(120) % 2, np.arange(120) % 3
    changed = np.where(folds == 1, 1 - codes, codes)
    one, other = trial(codes, folds), trial(changed, folds)
    for each in (one, other):
        without = [(0,), (1,), (2,), *combinations(range(3), 2)]
        each.train("all", [("rotary", folds) for folds in without])
    own = [t.outside("rotary")[folds == 1] for t in (one, other)]
    assert np.array_equal(*own)  # the rows of the fold, by networks without it
    beside = [t.outside("rotary", 1) for t in (one, other)]
    assert np.array_equal(*beside)  # every row, by networks without that fold as well
    seen = [t.outside("rotary")[folds == 0] for t in (one, other)]
    assert not np.array_equal(*seen)


def test_the_same_seed_gives_the_same_bits_and_the_state_goes_round(quick):
    texts, codes = steps(90, 0)
    vocabulary = Vocabulary.of(texts)
    rows = vocabulary.rows([*texts[:-1], None])
    groups = which = np.arange(90)
    fits = [
        fit_sequence_model(
            rows, codes, groups, which, 2, places=len(vocabulary), encoding="sinusoidal", seed=3
        )
        for _ in range(2)
    ]
    found = [fit.log_proba(rows) for fit in fits]
    assert np.array_equal(*found)
    assert np.array_equal(found[0][-1], fits[0].prior)  # a text without words
    assert np.allclose(np.exp(found[0]).sum(1), 1, atol=1e-6)
    arrays, facts = fits[0].state()
    again = Fitted.from_state({n: decoded(encoded(a)) for n, a in arrays.items()}, facts)
    assert np.array_equal(again.log_proba(rows), found[0])
    with pytest.raises(ValueError, match="unknown encoding"):
        Fitted.from_state(arrays, facts | {"encoding": "pickle"})
    with pytest.raises(ValueError, match="not finite"):
        Fitted.from_state(arrays | {"out.bias": np.full(2, np.nan, np.float32)}, facts)
    with pytest.raises(ValueError, match="not finite"):
        Fitted.from_state(arrays | {"prior": np.full(2, np.nan)}, facts)
    with pytest.raises(ValueError, match="of shapes"):  # and nothing of that size is made
        Fitted.from_state(arrays, facts | {"places": 10**12})
    with pytest.raises(ValueError, match="of shapes"):
        Fitted.from_state(arrays | {"prior": np.zeros((2, 1))}, facts)


def test_words():
    texts = ["a b", "a c", "b a", None, "a " * 500]
    vocabulary = Vocabulary.of(texts)
    assert vocabulary.known == ("a",)
    rows = vocabulary.rows(texts)
    assert rows.lengths.tolist() == [2, 2, 2, 0, LONGEST]
    places, lengths = rows.batch(np.array([1, 0]))
    assert lengths.tolist() == [2, 2]
    assert places[:, 0].tolist() == [0, 0]
    assert bool((places[:, 1] >= 1).all())
    assert vocabulary.rows(["unseen"]).batch(np.array([0]))[0].item() < len(vocabulary)


def test_what_asks_for_order():
    def row(column: str, order: float, distance: float) -> dict:
        q = {"presence": 1e-9, "order": order, "distance": distance}
        aspects = [{"aspect": name, "q_value": value} for name, value in q.items()]
        return {"column": column, "aspects": aspects}

    rows = [row("a", 0.01, 0.5), row("b", 0.6, 0.5), row("c", 0.01, 0.01)]
    assert asks_for_order([*rows, {"column": "d", "aspects": []}]) == {
        "a": "order",
        "c": "distance",
    }


def test_features_by_fold():
    rng = np.random.default_rng(0)
    X, codes, folds = rng.normal(size=(60, 3)), np.arange(60) % 2, np.arange(60) % 3
    whole = fold_probabilities(ClosedFormClassifier, X, codes, folds, 2)
    assert np.allclose(fold_probabilities(ClosedFormClassifier, X[:, :0], codes, folds, 2), 0.5)
    by_fold = fold_probabilities(ClosedFormClassifier, lambda fold: X, codes, folds, 2)
    assert np.array_equal(whole, by_fold)
    asked = []
    fold_probabilities(ClosedFormClassifier, lambda f: (asked.append(f), X)[1], codes, folds, 2)
    assert asked == [0, 1, 2]


@pytest.mark.slow
def test_order_alone_is_found_kept_and_saved(tmp_path):
    texts, order = steps(400, 0)
    flipped = np.random.default_rng(2).random(400) < 0.05
    data = write(tmp_path / "order.csv", texts, np.where(flipped, 1 - order, order))
    options = AuditOptions(data=data, label="label", folds=3, permutations=199)
    report = audit(options, tmp_path / "run").report
    (tried,) = report["encode"]["in_order"]
    assert tried["column"] == "steps"
    assert tried["kept"] in ("rotary", "sinusoidal", "buckets")
    assert tried["gain"] > 3 * tried["standard_error"] > 0
    scores = report["scores"]["models"]["closed_form"]["accuracy"]
    assert scores["mean"] >= 0.85  # the labels that were not flipped are 95 %; words alone 50 %
    new, truth = steps(300, 9)
    table = read_table(write(tmp_path / "new.csv", new, truth), ReadOptions())
    saved = load_classifier(tmp_path / "run")
    assert isinstance(saved.encoder, LearntEncoder)
    codes, _ = saved.decide(table)
    assert (np.array(saved.classes)[codes] == np.where(truth, "yes", "no")).mean() >= 0.9
    names = saved.encoder.feature_names
    assert len(names) == saved.encoder.transform(table).shape[1] == report["encode"]["features"]
    assert names[-1] == "steps: in order, class 1"
    tensors, manifest = saved.encoder.state()
    manifest["learnt"][0]["facts"]["words"].pop()
    with pytest.raises(ModelError, match="differ in number"):
        LearntEncoder.from_state(tensors, manifest)


def test_a_class_that_a_training_part_lacks_gains_nothing(quick):
    codes = np.arange(120) % 2
    codes[0] = 2
    lacks = trial(codes, np.arange(120) % 3, ("no", "yes", "rare"))
    grams = np.where(codes == 2, 34.5, 0.0)
    gain, _, _ = _gains(lacks, ["rotary"], grams)["rotary"]
    assert gain < 0


def test_what_is_not_tried(tmp_path, monkeypatch):
    def why(folds: int) -> str:
        codes = np.arange(240) % 2
        state = trial(codes, codes).state
        texts, _ = steps(240, 0)
        state.used = read_table(write(tmp_path / "order.csv", texts, codes), ReadOptions())
        found = read_in_order(state, "steps", "order", "test", np.arange(240) % folds)
        assert found["kept"] is None
        return found["why"]

    assert why(2) == "fewer than 3 folds"
    monkeypatch.setattr(sequence_stage, "_MOST_SCORES", 1000)
    assert why(3) == "too many classes for so many rows"


@pytest.mark.slow
def test_noise_is_not_kept(quick):
    codes = np.random.default_rng(5).integers(0, 2, 240)
    noise = trial(codes, np.arange(240) % 3)
    gain, error, _ = _gains(noise, ["rotary"], np.full(240, np.log(2)))["rotary"]
    assert gain <= error


def test_one_that_is_behind_is_given_up_after_two_folds(quick):
    behind = trial(np.arange(120) % 2, np.arange(120) % 5)
    gain, _, folds = _gains(behind, ["rotary"], np.full(120, 0.01))["rotary"]
    assert folds == 2
    assert gain < -0.5


def test_over_the_budget_nothing_is_tried(tmp_path):
    texts, order = steps(250, 0)
    data = write(tmp_path / "order.csv", texts, order)
    options = AuditOptions(data=data, label="label", folds=2, permutations=199, budget=10**7)
    (tried,) = audit(options, tmp_path / "run").report["encode"]["in_order"]
    assert tried["tried"] == []
    assert tried["kept"] is None
    assert "over the budget" in tried["why"]
