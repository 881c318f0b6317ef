"""Values and counterfactuals: from counts, equal to computing everything anew."""

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium._core.families import members
from trivium.objective import (
    Accuracy,
    CostMatrix,
    CountMetric,
    Counts,
    FBeta,
    Jaccard,
    LabelMetric,
    MatthewsCorrelation,
    Precision,
    Recall,
)

METRICS = [m for kind in members("trivium.objective", LabelMetric) for m in kind.examples()]
SUBSETS = [
    FBeta(average=a, labels=(0, 2), zero_division=z)
    for a in ("micro", "macro", "weighted")
    for z in (0.0, 1.0)
]


def binary_only(metric):
    return getattr(metric, "average", "") == "binary"


def n_classes_of(metric):
    return len(metric.costs) if isinstance(metric, CostMatrix) else 2 if binary_only(metric) else 3


def literal_counterfactual(metric, target, drawn, n_classes):
    """Change every label to every class, and count all again."""
    kinds = range(n_classes)
    found = torch.zeros(len(drawn), len(target), n_classes, dtype=torch.float64)
    for s, row in enumerate(drawn):
        now = metric.coded_values(target, row[None], kinds)[0]
        for i in range(len(target)):
            for j in range(n_classes):
                other = row.clone()
                other[i] = j
                found[s, i, j] = now - metric.coded_values(target, other[None], kinds)[0]
    return found


@pytest.mark.parametrize("metric", METRICS + SUBSETS, ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_counterfactuals_equal_counting_anew(metric, seed):
    rng = torch.Generator().manual_seed(seed)
    c = n_classes_of(metric)
    target = torch.randint(0, c if seed else 2, (7,), generator=rng)  # seed 0: a class is absent
    drawn = torch.randint(0, c, (4, 7), generator=rng)
    drawn[0] = target
    drawn[1] = 0
    literal = literal_counterfactual(metric, target, drawn, c)
    found = metric.counterfactual(target, drawn, classes=c)
    assert torch.allclose(found, literal, rtol=0, atol=1e-13)
    assert torch.equal(metric.counterfactual(target, drawn[2], classes=c), found[2])
    # The planted wrong one: the alternative's metric minus the sample's.
    assert not torch.allclose(-found, literal, rtol=0, atol=1e-13)


@pytest.mark.parametrize("metric", METRICS + SUBSETS, ids=repr)
def test_counts_of_parts_add_up(metric):
    if isinstance(metric, CostMatrix):
        pytest.skip("a mean of costs, no counts of classes")
    rng = torch.Generator().manual_seed(0)
    c = n_classes_of(metric)
    target = torch.randint(0, c, (30,), generator=rng)
    drawn = torch.randint(0, c, (2, 30), generator=rng)
    first, second = (
        Counts.of(target[part], drawn[:, part], c) for part in (slice(11), slice(11, 30))
    )
    kinds = range(c)
    merged = metric.score(first + second, kinds)
    assert torch.equal(merged, metric.coded_values(target, drawn, kinds))
    assert not torch.equal(merged, metric.score(first, kinds))


def test_every_metric_is_in_the_family():
    names = {kind.__name__ for kind in members("trivium.objective", CountMetric)}
    assert names == {
        "Accuracy",
        "CorpusBLEU",
        "CostMatrix",
        "FBeta",
        "Jaccard",
        "MatthewsCorrelation",
        "Precision",
        "Recall",
    }


def test_labels_may_be_anything():
    words = FBeta(average="macro").value(["ham", "spam", "ham"], np.array(["ham", "ham", "ham"]))
    assert words == pytest.approx(0.4)
    truth = FBeta().value([True, False, True], [True, True, False])
    assert truth == FBeta().value(torch.tensor([1, 0, 1]), torch.tensor([1.0, 1.0, 0.0]))
    assert Accuracy().value([2.5, -1.0], [2.5, 7.0]) == 0.5
    assert FBeta(pos_label="yes").value(["yes", "no"], ["yes", "yes"]) == pytest.approx(2 / 3)
    gains = CostMatrix([[0, 1], [5, 0]], labels=("no", "yes"))
    assert gains.value(["yes", "no"], ["no", "no"]) == -2.5
    lost = Accuracy().counterfactual(["b", "a"], ["b", "b"])
    assert lost.tolist() == [[0.5, 0.0], [-0.5, 0.0]]


def test_costs_decide():
    costs = CostMatrix([[0, 1, 2], [3, 0, 1], [9, 1, -1]], labels=("a", "b", "c"))
    p = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    expected = [[sum(row[k] * costs.costs[k][j] for k in range(3)) for j in range(3)] for row in p]
    assert costs.decide(p).tolist() == np.array(list("abc"))[np.argmin(expected, 1)].tolist()
    assert costs.decide(p).tolist() != np.array(list("abc"))[p.argmax(1)].tolist()
    # The expected cost of the decisions is the least of all.
    chosen = torch.eye(3)[[list("abc").index(label) for label in costs.decide(p)]].double()
    table = torch.tensor(costs.costs, dtype=torch.float64)
    least = (chosen * (torch.tensor(p) @ table)).sum()
    assert least.item() == pytest.approx(np.min(expected, 1).sum())
    assert CostMatrix([[0, 1], [10, 0]]).decide([0.05, 0.2]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: FBeta(average="samples"), ArgumentError, "average must be one of 'binary', 'mi"),
        (lambda: FBeta(-1.0), ArgumentError, "FBeta: beta must be a number, non-negative; got -1"),
        (lambda: FBeta("1"), ArgumentError, "beta must be a number, non-negative; got '1'"),
        (lambda: FBeta(1e200), ArgumentError, "beta must be at most 1e.100; got 1e.200"),
        (lambda: FBeta(zero_division=float("nan")), ArgumentError, "zero_division must be a numb"),
        (lambda: Recall(labels=[1]), ArgumentError, "labels must be None for average='binary'"),
        (lambda: Recall(average="macro", labels=[1, 1]), ArgumentError, "distinct values"),
        (lambda: Recall(average="macro", labels=1), ArgumentError, "labels must be a list of dist"),
        (lambda: Recall(average="macro", labels="ab"), ArgumentError, "distinct.*got 'ab'"),
        (lambda: Recall(average="macro", labels=[]), ArgumentError, "labels.* at least one"),
        (lambda: CostMatrix([[0, 1], [1, 0]], labels=2), ArgumentError, "labels must be a list"),
        (lambda: Jaccard().value(["a"], ["a"]), ArgumentError, r"pos_label=1; got \['a'\]"),
        (lambda: Jaccard().value([0, 1, 2], [0, 1, 2]), ArgumentError, "must have two classes"),
        (lambda: Jaccard().value([2, 3], [2, 3]), ArgumentError, r"pos_label=1; got \[2, 3\]"),
        (lambda: Accuracy().value([0, 1], [0, 1, 1]), ShapeError, r"got shapes \(2,\), \(3,\)"),
        (lambda: Accuracy().value([], []), ArgumentError, "at least one"),
        (lambda: Accuracy().value(["a"], [1]), ArgumentError, "all words or all numbers"),
        (
            lambda: Accuracy().value(["a", 1], ["a", "1"]),
            ArgumentError,
            "words or all numbers; got",
        ),
        (lambda: Accuracy().value([None], [1]), ArgumentError, "numbers or words, none missing"),
        (lambda: Accuracy().value([float("nan")], [1]), ArgumentError, "none missing"),
        (lambda: Accuracy().values([1, 2], [[1], [1, 2]]), ShapeError, "rows of one length"),
        (
            lambda: Accuracy().counterfactual([0, 5], [0, 1], classes=3),
            ArgumentError,
            "target must be among the classes 0, 1, 2; got 5",
        ),
        (
            lambda: Accuracy().counterfactual(["a"], ["a"], classes=2),
            ArgumentError,
            "prediction must be among the classes 0, 1; got 'a'",
        ),
        (
            lambda: Recall(average="macro", labels=(5,)).counterfactual([0], [0], classes=2),
            ArgumentError,
            r"labels must be among \[0, 1\]; got 5",
        ),
        (lambda: CostMatrix([[0, 1]]), ShapeError, r"must have shape \(c, c\)"),
        (lambda: CostMatrix("abc"), ArgumentError, "square table of numbers; got 'abc'"),
        (lambda: CostMatrix([[0, float("inf")], [0, 0]]), DataError, "costs must be finite"),
        (lambda: CostMatrix([[0, 1], [1, 0]], ("a",)), ShapeError, "labels must be 2, one for"),
        (
            lambda: CostMatrix([[0, 1], [1, 0]]).counterfactual([0], [0], classes=3),
            ArgumentError,
            r"classes must be \[0, 1\]; got \[0, 1, 2\]",
        ),
        (lambda: CostMatrix([[0, 1], [1, 0]]).decide("ab"), ArgumentError, "of numbers; got str"),
        (
            lambda: CostMatrix([[0, 1], [1, 0]]).decide(np.ones((2, 3)) / 3),
            ShapeError,
            "must have 2 columns; got 3",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_constant_prediction_has_no_correlation():
    assert MatthewsCorrelation().value([0, 1, 2], [1, 1, 1]) == 0.0
    assert MatthewsCorrelation().value([3, 3], [3, 3]) == 0.0
    assert Precision(zero_division=1.0).value([0, 1], [0, 0]) == 1.0
