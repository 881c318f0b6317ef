"""Draws without replacement: exact over every set, in every order; the sum when the set is all."""

import itertools
import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, OneHotCategorical

from trivium._core.errors import ArgumentError
from trivium.expectation import Exact, Score, expect, set_probabilities
from trivium.expectation import distinct as under_test

DISTINCT = Score(coupling="distinct")


def derivatives(value, theta, order):
    found = []
    direction = torch.linspace(1, 2, theta.shape[-1], dtype=theta.dtype)
    for _ in range(order):
        (slope,) = torch.autograd.grad(value, theta, create_graph=True)
        found.append(slope.detach())
        value = (slope * direction).sum()
    return found


def chance(order, p):
    """Probability of an ordered draw without replacement."""
    found, left = 1.0, 1.0
    for k in order:
        found, left = found * p[k] / left, left - p[k]
    return found


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("samples", [2, 3])
def test_exact_to_the_third_order(samples, hot, monkeypatch):
    theta = torch.tensor([0.5, -1.0, 0.2, 1.1], dtype=torch.float64, requires_grad=True)
    table = torch.tensor([3.0, -1.0, 4.0, 1.5], dtype=torch.float64)
    law = OneHotCategorical if hot else Categorical

    def f(z):
        return theta[0].exp() * (z @ table if hot else table[z])

    exact = expect(f, law(logits=theta), Exact())
    wanted = derivatives(exact, theta, 3)
    p = theta.detach().softmax(-1)
    mean, found = 0.0, [0.0, 0.0, 0.0]
    for order in itertools.permutations(range(4), samples):
        keys = torch.full((4,), -1.0).scatter(
            0, torch.tensor(order), -torch.arange(float(len(order))) + 9
        )
        monkeypatch.setattr(under_test, "gumbel_keys", lambda _, keys=keys: keys)
        value = expect(f, law(logits=theta), DISTINCT, samples=samples)
        weight = chance(order, p)
        mean = mean + weight * value.detach()
        slopes = derivatives(value, theta, 3)
        found = [old + weight * new for old, new in zip(found, slopes, strict=True)]
    assert torch.allclose(mean, exact.detach(), rtol=1e-12)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("samples", [5, 50])
def test_all_classes_are_the_sum(samples):
    logits = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    calls = []

    def f(z):
        calls.append(len(z))
        return (z.double() - 1.5) ** 3

    value = expect(f, Categorical(logits=logits), DISTINCT, samples=samples)
    exact = expect(f, Categorical(logits=logits), Exact())
    assert calls == [5, 5]
    assert torch.allclose(value, exact, rtol=1e-12)
    ours, theirs = (torch.autograd.grad(v.sum(), logits)[0] for v in (value, exact))
    assert torch.allclose(ours, theirs, rtol=1e-10)


def test_classes_are_drawn_by_their_probabilities():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    torch.manual_seed(0)
    drawn = under_test.gumbel_keys(p.log().expand(200_000, 4)).topk(2).indices
    assert (drawn[:, 0] != drawn[:, 1]).all()
    for order in itertools.permutations(range(4), 2):
        rate = float((drawn == torch.tensor(order)).all(-1).double().mean())
        exact = float(chance(order, p))
        assert abs(rate - exact) < 4.5 * (exact * (1 - exact) / 200_000) ** 0.5


def by_orders(chosen, p):
    return sum(chance(order, p) for order in itertools.permutations(chosen))


def test_set_probabilities_against_all_orders():
    p = torch.tensor([0.4, 0.02, 0.3, 0.1, 0.13, 0.05], dtype=torch.float64)
    chosen = [0, 1, 3, 5]
    of = set_probabilities(p[chosen], p[[2, 4]].sum())
    assert torch.allclose(of.whole, by_orders(chosen, p), rtol=1e-12)
    for i, s in enumerate(chosen):
        without = p / (1 - p[s])
        rest = [k for k in chosen if k != s]
        assert torch.allclose(of.without[i], by_orders(rest, without), rtol=1e-12)
        for j, t in enumerate(chosen):
            if s != t:
                fewer = p / (1 - p[s] - p[t])
                expected = by_orders([k for k in rest if k != t], fewer)
                assert torch.allclose(of.without_two[i, j], torch.as_tensor(expected).double())


def test_set_probabilities_keep_their_digits_where_cancellation_takes_all():
    """12 of 10^6 equal classes: 1 / C(10^6, 12), about 5e-64."""
    size, k = 1_000_000, 12
    of = set_probabilities(
        torch.full((k,), 1 / size, dtype=torch.float64),
        torch.tensor((size - k) / size, dtype=torch.float64),
    )
    exact = 1.0
    for i in range(k):
        exact *= (i + 1) / (size - i)
    assert float(of.whole) == pytest.approx(exact, rel=1e-12)
    # Inclusion and exclusion over subsets, in the same precision, has no digit left.
    rest = (size - k) / size
    terms = [(-1) ** j * math.comb(k, j) * rest / (rest + j / size) for j in range(k + 1)]
    assert abs(sum(terms)) > 1e40 * exact


def test_impossible_classes_do_no_harm():
    """Two possible classes and three draws: the sum over both, with a finite gradient."""
    logits = torch.tensor([0.3, -torch.inf, 1.0, -torch.inf], dtype=torch.float64)
    logits.requires_grad_()
    value = expect(lambda z: z.double() + 1, Categorical(logits=logits), DISTINCT, samples=3)
    value.backward()
    p = logits.detach().softmax(-1)
    assert torch.allclose(value, p[0] + 3 * p[2])
    assert float(logits.grad[2]) == pytest.approx(float(2 * p[0] * p[2]), rel=1e-9)
    assert torch.isfinite(logits.grad).all()


def test_less_variance_than_with_replacement():
    logits = torch.linspace(-2, 2, 8).expand(4000, 8).clone().requires_grad_()

    def variance(score):
        torch.manual_seed(0)
        value = expect(lambda z: (z - 3.0) ** 2, Categorical(logits=logits), score, samples=4)
        return torch.autograd.grad(value.sum(), logits)[0].var(0).mean()

    assert variance(DISTINCT) < 0.5 * variance(Score("leave-one-out"))


def test_bad_input_is_named():
    classes = Categorical(logits=torch.zeros(3, 40))
    with pytest.raises(ArgumentError, match="at most 12 or all 40 classes with coupling='dist"):
        expect(lambda z: z, classes, DISTINCT, samples=13)
    with pytest.raises(ArgumentError, match=r"f must keep every draw apart .* couples 3 draws"):
        expect(lambda z: z.sum(-1), classes, DISTINCT, samples=2)
    with pytest.raises(ArgumentError, match="f must keep every draw apart"):
        expect(lambda z: z.sum(-1), Independent(classes, 1), DISTINCT, samples=2)
    with pytest.raises(ArgumentError, match="samples must be at least 2"):
        expect(lambda z: z, classes, DISTINCT, samples=1)
    with pytest.raises(ArgumentError, match="coupling='distinct' is for Categorical and OneHot"):
        expect(lambda z: z, Bernoulli(logits=torch.zeros(3)), DISTINCT, samples=2)
