"""Every average of every ratio is scikit-learn's; BLEU is sacrebleu's."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from trivium.objective import (
    Accuracy,
    CorpusBLEU,
    FBeta,
    Jaccard,
    MatthewsCorrelation,
    Precision,
    Recall,
)

PAIRS = [
    (Precision, sk.precision_score, {}),
    (Recall, sk.recall_score, {}),
    (Jaccard, sk.jaccard_score, {}),
    (FBeta, sk.f1_score, {}),
    (lambda **rest: FBeta(0.5, **rest), sk.fbeta_score, {"beta": 0.5}),
    (lambda **rest: FBeta(0.0, **rest), sk.fbeta_score, {"beta": 0.0}),
    (lambda **rest: FBeta(3.0, **rest), sk.fbeta_score, {"beta": 3.0}),
]
KINDS = [np.arange(6), np.array(["a", "b", "c", "dd", "e", "f"]), np.arange(-3.0, 9.0, 2)]


def data(seed, n_classes, values):
    """Few rows: classes that are absent from target, prediction or both do occur."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    return values[rng.integers(0, n_classes, (2, n))]


def gap(ours, theirs, target, told, **rest):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return abs(ours.value(target, told) - theirs(target, told, **rest))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[1].__name__ + str(pair[2]))
@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_averages(pair, zero_division, average):
    make, theirs, extra = pair
    rest = {"average": average, "zero_division": zero_division}
    for seed in range(30):
        values = KINDS[seed % 3]
        target, told = data(seed, 2 + seed % 4, values)
        for labels in (None, [values[0], values[2]], [values[1]], [values[5], values[3]]):
            ours = make(**rest, labels=labels)
            assert gap(ours, theirs, target, told, **rest, labels=labels, **extra) < 1e-12, seed


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[1].__name__ + str(pair[2]))
@pytest.mark.parametrize("zero_division", [0.0, 1.0])
def test_binary(pair, zero_division):
    make, theirs, extra = pair
    for seed in range(30):
        target, told = data(seed, 2, np.arange(2))
        if set(target) | set(told) == {0}:
            target = np.append(target, 1)
            told = np.append(told, 0)
        for label in (0, 1):
            if label == 0 and 0 not in {*target, *told}:
                continue
            rest = {"pos_label": label, "zero_division": zero_division}
            assert gap(make(**rest), theirs, target, told, **rest, **extra) < 1e-12


def test_all_of_one_kind():
    zeros = np.zeros(4, dtype=int)
    assert FBeta().value(zeros, zeros) == sk.f1_score(zeros, zeros, zero_division=0.0) == 0
    assert FBeta(zero_division=1.0).value(zeros, zeros) == 1


@pytest.mark.parametrize("n_classes", [1, 2, 4])
def test_accuracy_and_correlation(n_classes):
    for seed in range(60):
        target, told = data(seed, n_classes, KINDS[seed % 3])
        assert gap(Accuracy(), sk.accuracy_score, target, told) < 1e-12
        assert gap(MatthewsCorrelation(), sk.matthews_corrcoef, target, told) < 1e-12


def test_the_comparison_can_fail():
    """Naming all classes is another macro average where one does not occur."""
    wrong = FBeta(average="macro", labels=(0, 1, 2))
    assert gap(wrong, sk.f1_score, [0, 1, 1], [0, 0, 1], average="macro") > 0.1


def corpora(seed):
    rng = np.random.default_rng(seed)
    target, told = [], []
    for _ in range(int(rng.integers(1, 8))):
        sentence = rng.integers(0, 6, int(rng.integers(1, 12)))
        noisy = np.where(rng.random(len(sentence)) < 0.3, 9, sentence)[int(rng.integers(0, 3)) :]
        target.append(sentence.tolist())
        told.append(noisy.tolist())
    return target, told


@pytest.mark.parametrize("smoothing", ["exp", "floor", "add-k", "none"])
@pytest.mark.parametrize("max_n", [1, 2, 4])
def test_corpus_bleu(smoothing, max_n):
    sacrebleu = pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    theirs = sacrebleu.BLEU(
        tokenize="none", smooth_method=smoothing, max_ngram_order=max_n, force=True
    )
    positive = 0
    for seed in range(40):
        target, told = corpora(seed)
        lines = [[" ".join(map(str, row)) for row in rows] for rows in (told, target)]
        score = theirs.corpus_score(lines[0], [lines[1]]).score
        ours = CorpusBLEU(max_n, smoothing).value(target, told)
        assert ours == pytest.approx(score, rel=1e-12, abs=1e-12)
        positive += score > 0
    assert positive > 10
    if smoothing == "exp" and max_n == 4:
        other = CorpusBLEU(max_n, "floor")
        assert any(
            abs(other.value(*corpora(s)) - CorpusBLEU().value(*corpora(s))) > 1e-3
            for s in range(40)
        )
