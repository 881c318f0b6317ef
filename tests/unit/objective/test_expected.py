"""Exact expectations against all labelings, one by one; their derivatives; what has none."""

import itertools

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.objective import (
    Accuracy,
    CostMatrix,
    FBeta,
    Jaccard,
    MatthewsCorrelation,
    Precision,
    Recall,
)

BINARY = [
    *(kind(zero_division=z) for kind in (Precision, Recall, FBeta, Jaccard) for z in (0.0, 1.0)),
    FBeta(2.0, average="micro"),
    FBeta(0.5, average="macro", labels=(0, 1)),
    Jaccard(average="weighted"),
    FBeta(pos_label=0),
    Accuracy(),
    MatthewsCorrelation(),
    CostMatrix([[0, 1], [7, -1]]),
]
SEVERAL = [
    *(
        kind(average=a, labels=None if a == "micro" else (0, 1, 2), zero_division=z)
        for kind in (Precision, Recall, FBeta, Jaccard)
        for a in ("micro", "macro", "weighted")
        for z in (0.0, 1.0)
    ),
    FBeta(average="macro", labels=(2,)),
    FBeta(average="micro", labels=(2,)),
    FBeta(average="weighted", labels=(1, 2)),
    Accuracy(),
    CostMatrix([[0, 1, 2], [3, 0, 1], [9, 1, -1]]),
]


def brute_force(metric, p, target):
    """The sum over all c^n labelings."""
    n, c = p.shape
    drawn = torch.tensor(list(itertools.product(range(c), repeat=n)))
    weight = p[torch.arange(n), drawn].prod(1)
    return weight @ metric.coded_values(target, drawn, range(c))


def plug_in(metric, p, target):
    """The planted wrong one: the metric of the mean counts."""
    from trivium.objective import Counts

    hot = torch.eye(p.shape[1], dtype=p.dtype)[target]
    tp, told, true = (hot * p).sum(0), p.sum(0), hot.sum(0)
    return metric.score(Counts(tp, told - tp, true - tp, len(p) - told - true + tp), range(2))


@pytest.mark.parametrize("metric", BINARY, ids=repr)
@pytest.mark.parametrize("positives", [0, 1, 4, 10])
def test_two_classes(metric, positives):
    rng = torch.Generator().manual_seed(positives)
    p = torch.rand(10, dtype=torch.float64, generator=rng)
    p[3], p[7] = 0.0, 1.0
    target = (torch.arange(10) < positives).long()
    full = torch.stack((1 - p, p), 1)
    exact = brute_force(metric, full, target)
    assert metric.expected(p, target).item() == pytest.approx(exact.item(), abs=1e-12)
    assert metric.expected(full, target).item() == pytest.approx(exact.item(), abs=1e-12)
    if positives == 4 and isinstance(metric, FBeta) and metric.average == "binary":
        assert abs(plug_in(metric, full, target) - exact) > 1e-3


@pytest.mark.parametrize("metric", SEVERAL, ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_three_classes(metric, seed):
    rng = torch.Generator().manual_seed(seed)
    p = torch.randn(7, 3, dtype=torch.float64, generator=rng).softmax(1)
    # Seed 2: a class that never occurs.
    target = torch.randint(0, 3 if seed < 2 else 2, (7,), generator=rng)
    exact = brute_force(metric, p, target)
    assert metric.expected(p, target).item() == pytest.approx(exact.item(), abs=1e-12)


def test_named_classes_and_kinds_of_numbers():
    p = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    found = FBeta(pos_label="yes").expected(p, ["yes", "no"], classes=["no", "yes"])
    assert found.dtype == torch.float32
    same = FBeta().expected([0.75, 0.5], np.array([1, 0]))
    assert found.item() == pytest.approx(same.item())
    # (1 + 2/3) / 2 with the hit, times its probability
    assert same.item() == pytest.approx(0.75 * 5 / 6)


@pytest.mark.parametrize(
    "metric", [FBeta(), Jaccard(average="macro"), FBeta(average="micro"), MatthewsCorrelation()]
)
def test_derivatives_of_two_orders(metric):
    target = torch.tensor([0, 1, 1, 0, 1])
    logits = torch.tensor([0.1, -2.0, 0.7, 0.0, 1.5], dtype=torch.float64, requires_grad=True)

    def f(logits):
        return metric.expected(logits.sigmoid(), target)

    assert torch.autograd.gradcheck(f, logits)
    assert torch.autograd.gradgradcheck(f, logits)


def test_rows_by_the_thousand():
    """The mean of 4,096 rows lies within the noise of draws, and all of its digits are used."""
    rng = torch.Generator().manual_seed(0)
    target = (torch.rand(4096, generator=rng) < 0.3).long()
    logits = 2.0 * target - 1.5 + torch.randn(4096, dtype=torch.float64, generator=rng)
    p = logits.sigmoid().requires_grad_()
    value = FBeta().expected(p, target)
    drawn = (torch.rand(4000, 4096, generator=rng) < p.detach()).long()
    sampled = FBeta().coded_values(target, drawn, range(2))
    error = sampled.std() / 4000**0.5
    assert abs(sampled.mean() - value) < 4 * error
    assert error < 2e-4
    value.backward()
    assert bool(((p.grad > 0) | (target == 0)).all())


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (FBeta(average="micro", labels=(0, 1)), "take average='macro'"),
        (FBeta(average="macro"), "class 2 is not in target.*name all with labels="),
        (MatthewsCorrelation(), "with 3 classes all margins are coupled"),
    ],
)
def test_no_exact_form_names_the_way_out(metric, message):
    with pytest.raises(ArgumentError, match=f"{message}.*estimator='counterfactual'"):
        metric.expected(torch.full((4, 3), 1 / 3), [0, 1, 1, 0])


@pytest.mark.parametrize(
    ("p", "target", "error", "message"),
    [
        (torch.zeros(2, 2, 2), [0, 0], ShapeError, r"\(n,\) or \(n, c\)"),
        (torch.tensor([0.5, 1.5]), [0, 1], DataError, "at least 0 and add up to 1"),
        (torch.tensor([[0.5, 0.6]]), [0], DataError, "add up to 1"),
        (torch.tensor([float("nan"), 0.5]), [0, 1], DataError, "probabilities must be finite"),
        ("ab", [0, 1], ArgumentError, "probabilities must be a table of numbers; got str"),
        (torch.ones(2) * 1j, [0, 1], ArgumentError, "must be real numbers; got torch.complex64"),
        (torch.tensor([0.5, 0.5]), [0, 1, 1], ShapeError, r"n is 2 in probabilities but target"),
        (torch.tensor([0.5, 0.5]), [0, 3], ArgumentError, "among the classes 0, 1; got 3"),
        (torch.full((2, 3), 1 / 3), [0, 1], ArgumentError, "average='binary' must have two"),
    ],
)
def test_bad_input_is_named(p, target, error, message):
    with pytest.raises(error, match=message):
        FBeta().expected(p, target)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounded_rows_of_half_precision_are_probabilities(dtype):
    logits = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    p = logits.to(dtype).softmax(1)
    target = torch.arange(50) % 20
    found = Accuracy().expected(p, target)
    assert found.dtype == dtype
    assert float(found) == pytest.approx(float(p.double()[range(50), target].mean()), rel=0.01)


def test_columns_and_classes_must_agree():
    with pytest.raises(ShapeError, match="2 columns must have as many classes"):
        Accuracy().expected([0.5], [0], classes=3)
