"""The entry: shapes, choices, the hybrid gradient, derivatives of every order, bad input."""

import itertools

import numpy as np
import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Categorical,
    Gamma,
    Independent,
    Normal,
    OneHotCategorical,
    Poisson,
)

from trivium._core.errors import ArgumentError, ShapeError
from trivium.expectation import Exact, Pathwise, Score, expect


def bernoulli_sum(logits, f):
    """E[f] over independent Bernoulli draws by the definition, differentiable."""
    total = 0.0
    for bits in itertools.product((0.0, 1.0), repeat=len(logits)):
        z = torch.tensor(bits, dtype=logits.dtype)
        p = (z * logits.sigmoid() + (1 - z) * (-logits).sigmoid()).prod()
        total = total + p * f(z)
    return total


def coupled(z):
    return (z @ torch.tensor([1.0, -2.0, 0.5], dtype=z.dtype) + z[..., 0] * z[..., 2]) ** 2


def derivatives(value, theta, order):
    found = []
    for _ in range(order):
        (slope,) = torch.autograd.grad(value, theta, create_graph=True)
        found.append(slope.detach())
        value = (slope * torch.arange(1.0, len(theta) + 1, dtype=theta.dtype)).sum()
    return found


def test_exact_lists_every_combination():
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64, requires_grad=True)
    value = expect(coupled, Bernoulli(logits=logits), Exact())
    expected = bernoulli_sum(logits, coupled)
    assert torch.allclose(value, expected, rtol=1e-12)
    ours, theirs = derivatives(value, logits, 3), derivatives(expected, logits, 3)
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(ours, theirs, strict=True))


def test_exact_of_rows_needs_no_combinations():
    logits = torch.zeros(500, 4, requires_grad=True)
    calls = []

    def f(z):
        calls.append(z.shape)
        return z.float().square()

    value = expect(f, Categorical(logits=logits), Exact(budget=4))
    assert value.shape == (500,)
    assert torch.allclose(value, torch.full((500,), 3.5))
    assert calls == [(4, 500)]


def test_lead_in_front_and_coupled_behind():
    """Rows of three coupled draws each: a value for each row, combinations within rows only."""
    logits = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    value = expect(coupled, Bernoulli(logits=logits), Exact())
    expected = torch.stack([bernoulli_sum(row, coupled) for row in logits])
    assert torch.allclose(value, expected, rtol=1e-12)
    torch.manual_seed(0)
    sampled = expect(coupled, Bernoulli(logits=logits), Score(), samples=20_000)
    assert sampled.shape == (7,)
    assert torch.allclose(sampled, expected, atol=0.15)


def test_events_are_no_rows():
    logits = torch.zeros(5, 3, requires_grad=True)
    value = expect(lambda z: z[..., 2], OneHotCategorical(logits=logits), "auto")
    assert torch.allclose(value, torch.full((5,), 1 / 3))
    value.sum().backward()
    assert torch.allclose(logits.grad[:, 2], torch.full((5,), 2 / 9))
    joint = Independent(Normal(torch.zeros(4, 6), 1.0), 1)
    assert expect(lambda z: z.square().sum(-1), joint, samples=3).shape == (4,)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_score_has_derivatives_of_every_order(order):
    """Weighted by the true probabilities, the surrogate's derivatives are those of the sum."""
    theta = torch.tensor([0.4, -0.7], dtype=torch.float64, requires_grad=True)
    scale = theta[1].exp()
    count = 400_000
    torch.manual_seed(order)

    def f(z):
        return (scale * z - 0.5) ** 2  # used directly and through the distribution

    exact = derivatives(expect(f, Bernoulli(logits=theta[0]), Exact()), theta, order)
    drawn = derivatives(
        expect(f, Bernoulli(logits=theta[0]), Score("none"), samples=count), theta, order
    )
    # The largest standard deviation of one draw's third derivative is about 6; 4.5 of its errors.
    assert torch.allclose(drawn[-1], exact[-1], atol=4.5 * 6 / count**0.5)


def test_auto_chooses_by_variance():
    def name_of(value):
        names, waiting = set(), [value.grad_fn]
        while waiting:
            node = waiting.pop()
            names.add(node.name())
            waiting += [parent for parent, _ in node.next_functions if parent is not None]
        return names

    mean = torch.zeros(3, requires_grad=True)
    through = expect(lambda z: z.square(), Normal(mean, 1.0), samples=2)
    assert not any("Exp" in name for name in name_of(through))
    stepped = expect(lambda z: (z > 0).float(), Normal(mean, 1.0), samples=2)
    assert any("Exp" in name for name in name_of(stepped))
    gate = torch.ones((), requires_grad=True)
    beside = expect(lambda z: (z > 0) * gate, Normal(mean, 1.0), samples=2)
    assert any("Exp" in name for name in name_of(beside))
    many = expect(lambda z: z.float(), Poisson(mean.exp()), samples=2)
    assert any("Exp" in name for name in name_of(many))


def test_auto_is_exact_where_few_combinations_exist():
    logits = torch.zeros(1000, 2, requires_grad=True)
    calls = []

    def f(z):
        calls.append(len(z))
        return (z.sum(-1) - 1).square()

    value = expect(f, Bernoulli(logits=logits))
    assert torch.allclose(value, torch.full((1000,), 0.5))
    assert calls == [2, 4]
    calls.clear()
    assert expect(lambda z: f(z).mean(-1), Bernoulli(logits=logits), samples=3).shape == ()
    assert calls == [2, 3]


def test_f_outside_torch():
    logits = torch.zeros(4, requires_grad=True)

    def f(z):
        return np.asarray(z).sum(-1)

    torch.manual_seed(0)
    value = expect(f, Bernoulli(logits=logits), Score(), samples=4000)
    value.backward()
    assert float(value.detach()) == pytest.approx(2, abs=0.1)
    assert torch.allclose(logits.grad, torch.full((4,), 0.25), atol=0.05)


def test_implicit_reparameterization():
    shape = torch.tensor(2.0, requires_grad=True)
    torch.manual_seed(0)
    expect(lambda z: z, Gamma(shape, 1.0), Pathwise(), samples=50_000).backward()
    assert float(shape.grad) == pytest.approx(1, abs=0.02)


def test_seeded_by_torch():
    mean = torch.zeros((), requires_grad=True)
    values = []
    for _ in range(2):
        torch.manual_seed(5)
        values.append(float(expect(lambda z: z, Normal(mean, 1.0)).detach()))
    assert values[0] == values[1]


NORMAL = Normal(torch.zeros(3, requires_grad=True), 1.0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"distribution": torch.zeros(3)}, ArgumentError, "distribution must be a torch"),
        ({"samples": 0}, ArgumentError, "samples must be an integer, positive"),
        ({"estimator": "reinforce"}, ArgumentError, "estimator must be 'auto' or a gradient"),
        ({"estimator": Exact()}, ArgumentError, "Exact cannot serve Normal: its support cannot"),
        (
            {"estimator": Pathwise(), "distribution": Poisson(torch.ones(3))},
            ArgumentError,
            "Pathwise cannot serve Poisson: its samples have no gradient",
        ),
        (
            {"estimator": Score("leave-one-out")},
            ArgumentError,
            "samples must be at least 2 for Score",
        ),
        ({"f": lambda z: z.sum()}, ShapeError, r"f must return \(1, \*lead\)"),
        ({"f": lambda z: z.mT}, ShapeError, "reduce axes from the right"),
        ({"f": lambda z: "much"}, ArgumentError, "f must return a tensor or numbers; got str"),
        ({"f": lambda z: z + 1j}, ArgumentError, "f must return real numbers"),
    ],
)
def test_bad_input_is_named(change, error, message):
    arguments = {"f": lambda z: z, "distribution": NORMAL} | change
    with pytest.raises(error, match=message):
        expect(**arguments)


def test_too_many_combinations_are_refused_with_the_figure():
    many = Bernoulli(logits=torch.zeros(40))
    with pytest.raises(ArgumentError, match=r"40 draws of 2 values, 1.1e\+12 in all"):
        expect(lambda z: z.sum(-1), many, Exact())
    with pytest.raises(ArgumentError, match="budget must be an integer, positive"):
        Exact(budget=0)
