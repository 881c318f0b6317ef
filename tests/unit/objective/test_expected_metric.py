"""The expected metric: unbiased by enumeration, little noise, any callable."""

import itertools
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch.distributions import Bernoulli, Categorical

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.expectation import Score
from trivium.expectation.expect import expect
from trivium.objective import (
    CorpusBLEU,
    CostMatrix,
    FBeta,
    MatthewsCorrelation,
    expected_metric,
)
from trivium.objective.local_gradient import local_expectation


def gradient(logits, *arguments, **options):
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(expected_metric(leaf, *arguments, **options), leaf)[0]


def chances(logits):
    if logits.ndim == 1:
        return torch.stack((-logits, logits), 1).sigmoid()
    return logits.softmax(1)


def enumerated(metric, logits, target):
    """The exact gradient by autograd through all labelings."""
    leaf = logits.clone().requires_grad_()
    p = chances(leaf)
    n, c = p.shape
    drawn = torch.tensor(list(itertools.product(range(c), repeat=n)))
    values = metric.coded_values(target, drawn, range(c))
    weight = p[torch.arange(n), drawn].prod(1)
    return torch.autograd.grad(weight @ values, leaf)[0], drawn, weight.detach(), weight @ values


LOGITS = torch.tensor([0.5, -0.8, 1.2, 0.1, -1.0], dtype=torch.float64)
CASES = [
    (FBeta(), LOGITS),
    (MatthewsCorrelation(), LOGITS),
    (FBeta(average="macro"), LOGITS.outer(torch.tensor([1.0, -0.5, 0.3]).double())),
    (MatthewsCorrelation(), LOGITS.outer(torch.tensor([1.0, -0.5, 0.3]).double())),
    (CostMatrix([[0, 1, 2], [3, 0, 1], [9, 1, -1]]), torch.eye(5, dtype=torch.float64)[:, :3]),
]


@pytest.mark.parametrize(("metric", "logits"), CASES, ids=str)
def test_counterfactual_gradient_is_unbiased(metric, logits, monkeypatch):
    """One draw after the other, each weighted by its probability: the exact gradient."""
    target = torch.tensor([1, 0, 1, 0, 1])
    exact, drawn, weights, value = enumerated(metric, logits, target)
    mean, level = torch.zeros_like(logits), 0.0
    kind = Bernoulli if logits.ndim == 1 else Categorical
    for z, weight in zip(drawn, weights, strict=True):
        monkeypatch.setattr(kind, "sample", lambda _self, _shape, z=z: z[None])
        leaf = logits.clone().requires_grad_()
        found = expected_metric(leaf, target, metric, "counterfactual", samples=1)
        mean += weight * torch.autograd.grad(found, leaf)[0]
        level += weight * found.detach()
    assert torch.allclose(mean, exact, rtol=0, atol=1e-14)
    assert level.item() == pytest.approx(value.item(), abs=1e-14)


def test_the_check_can_fail():
    """The planted wrong one: the slope at the most probable labeling instead of at draws."""
    target, metric = torch.tensor([1, 0, 1, 0, 1]), FBeta()
    exact, *_ = enumerated(metric, LOGITS, target)
    leaf = LOGITS.clone().requires_grad_()
    kinds = range(2)
    wrong = local_expectation(
        chances(leaf),
        (LOGITS > 0).long()[None],
        lambda z: metric.coded_values(target, z, kinds),
        lambda z: metric.coded_swaps(target, z, kinds),
    )
    slope = torch.autograd.grad(wrong, leaf)[0]
    assert not torch.allclose(slope, exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("metric", "logits"), CASES[:3], ids=str)
def test_exact_gradient_is_that_of_all_labellings(metric, logits):
    target = torch.tensor([1, 0, 2 * (logits.ndim - 1), 0, 1])
    exact, _, _, value = enumerated(metric, logits, target)
    assert torch.allclose(gradient(logits, target, metric), exact, rtol=1e-10, atol=1e-14)
    assert expected_metric(logits, target, metric).item() == pytest.approx(value.item(), abs=1e-13)
    torch.manual_seed(0)
    noisy = gradient(logits, target, metric, Score(), samples=20_000)
    assert torch.allclose(noisy, exact, rtol=0, atol=0.01)


def test_counterfactual_has_a_small_part_of_the_noise():
    rng = torch.Generator().manual_seed(0)
    target = (torch.arange(64) < 10).long()
    logits = 2.0 * target - 2 + torch.randn(64, dtype=torch.float64, generator=rng)
    exact = gradient(logits, target, FBeta(), "exact")
    torch.manual_seed(0)

    def noise(estimator):
        found = torch.stack([gradient(logits, target, FBeta(), estimator) for _ in range(60)])
        return (found - exact).square().mean(0).sum()

    assert noise("counterfactual") < noise(Score("leave-one-out")) / 30


def test_blocks_of_draws_change_nothing(monkeypatch):
    target = torch.tensor([1, 0, 1, 0, 1])
    found = []
    for numbers in (1, 2**22):
        monkeypatch.setattr("trivium.objective.local_gradient._NUMBERS", numbers)
        torch.manual_seed(0)
        found.append(gradient(LOGITS, target, FBeta(), "counterfactual", samples=9))
    assert torch.allclose(*found, rtol=1e-13)


def test_auto_takes_the_counterfactual_where_nothing_is_exact(monkeypatch):
    target = [0, 1, 2, 0, 1]
    logits = LOGITS.outer(torch.ones(3).double())
    for metric, limit in ((MatthewsCorrelation(), 2.0**28), (FBeta(average="macro"), 1.0)):
        monkeypatch.setattr(sys.modules["trivium.objective.expected_metric"], "_MOST", limit)
        found = []
        for estimator in ("auto", "counterfactual"):
            torch.manual_seed(1)
            found.append(gradient(logits, target, metric, estimator))
        assert torch.equal(*found)


def test_any_function_of_two_arrays():
    """scikit-learn's own F1 through scores, exactly through all labelings, and labels as words."""
    target = np.array(["no", "yes", "no", "yes", "yes"])

    def f1(t, z):
        assert t.tolist() == target.tolist()
        return f1_score(t, z, pos_label="yes", zero_division=0.0)

    ours = FBeta(pos_label="yes")
    kinds = ["no", "yes"]
    exact = gradient(LOGITS, target, ours, classes=kinds)
    listed = gradient(LOGITS, target, f1, "exact", classes=kinds)
    assert torch.allclose(listed, exact, rtol=1e-10)
    noisy = []
    for metric in (f1, ours):
        torch.manual_seed(0)
        noisy.append(gradient(LOGITS, target, metric, Score(), samples=20, classes=kinds))
    assert torch.allclose(*noisy, rtol=1e-12)
    torch.manual_seed(0)
    assert torch.equal(gradient(LOGITS, target, f1, samples=20, classes=kinds), noisy[0])
    assert not torch.allclose(noisy[0], exact)


def slopes(value, leaf, order):
    """The derivative of the given order, all entries but the first axis summed with weights."""
    for _ in range(order - 1):
        first = torch.autograd.grad(value, leaf, create_graph=True)[0]
        value = (first * torch.arange(1, 1 + first.numel()).reshape(first.shape)).sum()
    return torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize(("metric", "logits"), CASES[:4], ids=str)
def test_counterfactual_has_unbiased_derivatives_of_every_order(metric, logits, order):
    """As above, of order 2 and 3; the planted wrong one forgets the weights of earlier draws."""
    target, kinds = torch.tensor([1, 0, 1, 0]), range(max(2, logits[0].numel()))
    logits = logits[:4]
    leaf = logits.clone().requires_grad_()
    p = chances(leaf)
    drawn = torch.tensor(list(itertools.product(kinds, repeat=4)))
    weight = p[torch.arange(4), drawn].prod(1)
    exact = slopes(weight @ metric.coded_values(target, drawn, kinds), leaf, order)
    mean, wrong = torch.zeros_like(logits), torch.zeros_like(logits)
    for z, w in zip(drawn, weight.detach(), strict=True):
        swaps = metric.coded_swaps(target, z[None], kinds)
        found = local_expectation(
            chances(leaf),
            z[None],
            lambda rows: metric.coded_values(target, rows, kinds),
            lambda rows: metric.coded_swaps(target, rows, kinds),
        )
        mean += w * slopes(found, leaf, order)
        wrong += w * slopes((chances(leaf) * swaps[0]).sum(), leaf, order)
    assert torch.allclose(mean, exact, rtol=0, atol=1e-13)
    assert not torch.allclose(wrong, exact, rtol=0, atol=1e-3)


def test_numbers_keep_their_kind_and_memory_is_linear():
    logits = LOGITS.float().requires_grad_()
    value = expected_metric(logits, [1, 0, 1, 0, 1], FBeta())
    value.backward()
    assert value.dtype == logits.grad.dtype == torch.float32
    far = torch.tensor([800.0, -800.0, 0.0], requires_grad=True)
    expected_metric(far, [1, 0, 1], FBeta()).backward()
    assert torch.isfinite(far.grad).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.0], [1], FBeta()), ArgumentError, "logits must be a floating tensor"),
        ((torch.zeros(1, 1, 1), [1], FBeta()), ShapeError, r"\(n,\) or \(n, c\)"),
        ((torch.zeros(2), [1], FBeta()), ShapeError, "n is 2 in logits but target has shape"),
        ((torch.zeros(2), [1, 2], FBeta()), ArgumentError, "among the classes 0, 1; got 2"),
        ((torch.zeros(1) / 0, [1], FBeta()), DataError, "logits must be finite"),
        ((torch.full((1, 2), -torch.inf), [1], FBeta()), DataError, "logits must be finite"),
        ((torch.zeros(1), [1], FBeta(), "best"), ArgumentError, "must be one of 'auto', 'exact'"),
        ((torch.zeros(1), [1], FBeta(), "auto", 0), ArgumentError, "samples must be an integer"),
        ((torch.zeros(1), [1], 3), ArgumentError, "metric must be of one label for each item"),
        ((torch.zeros(1), [1], CorpusBLEU()), ArgumentError, "CorpusBLEU has expected_among"),
        ((torch.zeros(1), [1], FBeta), ArgumentError, "Give an instance"),
        ((torch.zeros(1), [1], lambda t, z: "0.5"), ArgumentError, "a number; got str"),
        ((np.zeros(9), [1], FBeta()), ArgumentError, "a floating tensor; got ndarray"),
        ((torch.zeros(1), [1], lambda t, z: None), ArgumentError, "must return a number; got N"),
        ((torch.zeros(1), [1], lambda t, z: np.nan), DataError, "finite numbers; got nan"),
        (
            (torch.zeros(1), [1], lambda t, z: 1.0, "counterfactual"),
            ArgumentError,
            "must have a metric made from counts",
        ),
        (
            (torch.zeros(3, 3), [0, 1, 2], MatthewsCorrelation(), "exact"),
            ArgumentError,
            "with 3 classes",
        ),
        ((torch.zeros(2, 3), [0, 1], FBeta()), ArgumentError, "average='binary' must have two"),
    ],
)
def test_bad_input_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        expected_metric(*arguments)


def test_what_a_metric_does_to_its_arrays_reaches_nobody():
    def vandal(target, prediction):
        found = float((target == prediction).mean())
        target[:], prediction[:] = 1, 1
        return found

    def gentle(target, prediction):
        return float((target == prediction).mean())

    found = []
    for metric in (vandal, gentle):
        torch.manual_seed(0)
        found.append(gradient(LOGITS, [1, 0, 1, 0, 1], metric, samples=40))
    assert torch.equal(*found)


@pytest.mark.parametrize("estimator", ["exact", "counterfactual", Score(), Score("leave-one-out")])
def test_an_infinite_logit_is_a_certain_label(estimator):
    logits = torch.tensor([torch.inf, -torch.inf, 0.5])
    slope = gradient(logits, [1, 0, 1], FBeta(), estimator)
    assert slope[:2].tolist() == [0, 0]
    assert float(slope[2]) > 0


@pytest.mark.parametrize("estimator", ["exact", "counterfactual"])
@pytest.mark.parametrize(
    ("logits", "target", "error"),
    [
        (torch.zeros(3), torch.tensor([0, 1, 5]), ArgumentError),
        (torch.tensor([0.0, torch.nan, 0.0]), torch.tensor([0, 1, 1]), DataError),
    ],
)
def test_a_compiled_call_checks_its_input_too(logits, target, error, estimator):
    torch.compiler.reset()

    def f(logits, target):
        return expected_metric(logits, target, FBeta(), estimator)

    with pytest.raises(error, match=r"target must be among|logits must be finite"):
        torch.compile(f, backend="eager")(logits, target)


def test_classes_must_be_as_many_as_logits():
    with pytest.raises(ShapeError, match="classes must be 2, as the logits; got 3"):
        expected_metric(torch.zeros(1), [0], FBeta(), classes=3)


def test_functional_gradients_are_those_of_autograd():
    target = torch.tensor([1, 0, 1, 0, 1])
    for estimator in ("exact", "counterfactual"):
        torch.manual_seed(0)
        plain = gradient(LOGITS, target, FBeta(), estimator)
        torch.manual_seed(0)

        def f(logits, estimator=estimator):
            return expected_metric(logits, target, FBeta(), estimator)

        assert torch.allclose(torch.func.grad(f)(LOGITS), plain, rtol=1e-13)

    def exact(x):
        return expected_metric(x, target, FBeta(), "exact")

    hessian = torch.func.jacrev(torch.func.grad(exact))(LOGITS)
    again = torch.autograd.functional.hessian(exact, LOGITS)
    assert torch.allclose(hessian, again, rtol=1e-12)


@pytest.mark.parametrize("metric", [FBeta(), MatthewsCorrelation(), FBeta(average="micro")])
def test_gradients_map_over_batches(metric):
    target = torch.tensor([1, 0, 1, 0, 1])
    batch = torch.stack((LOGITS, LOGITS.flip(0), 0 * LOGITS))
    for estimator, close in (("exact", 1e-13), ("counterfactual", 0.03)):

        def f(logits, estimator=estimator):
            return expected_metric(logits, target, metric, estimator, samples=400)

        found = torch.func.vmap(torch.func.grad(f), randomness="different")(batch)
        each = torch.stack([gradient(row, target, metric, "exact") for row in batch])
        assert torch.allclose(found, each, rtol=0, atol=close)


def test_a_metric_compiles_as_part_of_an_expectation():
    """No graph break; the value is a mean of F1 and the slope one of its estimates."""
    target = torch.tensor([1, 0, 1, 0, 1])

    def f(logits):
        labels = Bernoulli(logits=logits, validate_args=False)
        return expect(
            lambda z: FBeta().coded_values(target, z.long(), (0, 1)), labels, Score(), 900
        )

    torch.manual_seed(0)
    leaf = LOGITS.clone().requires_grad_()
    value = torch.compile(f, fullgraph=True, backend="eager")(leaf)
    slope = torch.autograd.grad(value, leaf)[0]
    exact = expected_metric(LOGITS, target, FBeta(), "exact")
    assert value.item() == pytest.approx(exact.item(), abs=0.03)
    truth = gradient(LOGITS, target, FBeta(), "exact")
    assert torch.allclose(slope, truth, rtol=0, atol=0.03)
