"""Opposed pairs: exact over every outcome of the noise, in every order, and DisARM in the first."""

import itertools

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    MultivariateNormal,
    Normal,
    StudentT,
)

from trivium._core.errors import ArgumentError
from trivium.expectation import BASELINES, Exact, Score, expect


def derivatives(value, theta, order):
    found = []
    direction = torch.linspace(1, 2, len(theta), dtype=theta.dtype)
    for _ in range(order):
        (slope,) = torch.autograd.grad(value, theta, create_graph=True)
        found.append(slope.detach())
        value = (slope * direction).sum()
    return found


def coupled(z):
    return (z @ torch.tensor([1.0, -2.0], dtype=z.dtype) + 3 * z[..., 0] * z[..., 1] + 0.4) ** 2


def cells(p):
    """The parts of [0, 1] on which neither member of a pair changes: (midpoint, length)."""
    cuts = sorted({0.0, p, 1 - p, 1.0})
    return [((a + b) / 2, b - a) for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("baseline", ["optimal", "leave-one-out", "none", "mode"])
def test_bernoulli_pairs_are_exact_to_the_third_order(baseline, joint, monkeypatch):
    """Two pairs of two coupled draws: all cells of the noise, weighted by their length."""
    theta = torch.tensor([-0.9, 0.6], dtype=torch.float64, requires_grad=True)

    def estimate():
        law = Bernoulli(logits=theta)
        law = Independent(law, 1) if joint else law
        scale = theta[1].exp()  # f depends on theta too
        value = expect(
            lambda z: scale * coupled(z), law, Score(baseline, coupling="antithetic"), samples=4
        )
        return value, derivatives(value, theta, 3)

    exact = expect(lambda z: theta[1].exp() * coupled(z), Bernoulli(logits=theta), Exact())
    wanted = derivatives(exact, theta, 3)
    p = theta.detach().sigmoid().tolist()
    mean, found = 0.0, [0.0, 0.0, 0.0]
    for noise in itertools.product(*[cells(p[k % 2]) for k in range(4)]):
        u = torch.tensor([point for point, _ in noise], dtype=torch.float64).reshape(2, 2)
        monkeypatch.setattr(torch, "rand", lambda *_, u=u, **__: u)
        weight = torch.tensor([length for _, length in noise], dtype=torch.float64).prod()
        value, slopes = estimate()
        mean = mean + weight * value.detach()
        found = [old + weight * new for old, new in zip(found, slopes, strict=True)]
    assert torch.allclose(mean, exact.detach(), rtol=1e-12)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("baseline", ["optimal", "own"])
def test_draws_kept_apart_are_exact_to_the_third_order(baseline, monkeypatch):
    """A value for each draw, over all cells of its noise: one pair, then two."""
    theta = torch.tensor([-0.9, 0.6], dtype=torch.float64, requires_grad=True)
    score = Score((lambda: 3.0) if baseline == "own" else baseline, coupling="antithetic")

    def f(z):
        return (z - theta[1].exp()) ** 3

    exact = expect(f, Bernoulli(logits=theta), Exact())
    wanted = derivatives(exact.sum(), theta, 3)
    for pairs in (1, 2):
        mean, found = 0.0, [0.0, 0.0, 0.0]
        noises = [cells(p) for p in theta.detach().sigmoid().tolist()] * pairs
        for noise in itertools.product(*noises):
            u = torch.tensor([at for at, _ in noise], dtype=torch.float64).reshape(pairs, 2)
            monkeypatch.setattr(torch, "rand", lambda *_, u=u, **__: u)
            weight = torch.tensor([length for _, length in noise], dtype=torch.float64).prod()
            value = expect(f, Bernoulli(logits=theta), score, samples=2 * pairs)
            mean = mean + weight * value.detach()
            slopes = derivatives(value.sum(), theta, 3)
            found = [old + weight * new for old, new in zip(found, slopes, strict=True)]
        assert torch.allclose(mean, exact.detach(), rtol=1e-12)
        for ours, theirs in zip(found, wanted, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-10)


def test_no_baseline_is_left_of_draws_kept_apart():
    """Named ones and any of your own: the same first three derivatives, draw by draw."""
    theta = torch.linspace(-2, 2, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for baseline in (*BASELINES, lambda: 100.0):
        torch.manual_seed(0)
        score = Score(baseline, coupling="antithetic")
        value = expect(lambda z: (z - 0.3) ** 2, Bernoulli(logits=theta), score, samples=8)
        found.append(torch.stack(derivatives(value.sum(), theta, 3)))
    assert found[0].abs().amax(1).min() > 0
    assert all(torch.allclose(found[0], other, rtol=1e-9) for other in found[1:])


def test_a_baseline_that_learns_is_fitted_along():
    theta = torch.zeros(5, requires_grad=True)
    level = torch.zeros(5, requires_grad=True)
    score = Score(lambda: level, coupling="antithetic")
    expect(lambda z: z + 2, Bernoulli(logits=theta), score, samples=4).sum().backward()
    assert torch.allclose(level.grad, torch.full((5,), -2 * 2.5))  # pairs of z add up to 1


def test_first_derivative_is_disarm():
    """The estimator of Dong, Mnih and Tucker, draw by draw."""
    logits = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(7, dtype=torch.float64)
    seen = []

    def f(z):
        seen.append(z)
        return (z @ weights - 5) ** 2

    torch.manual_seed(0)
    value = expect(f, Bernoulli(logits=logits), Score(coupling="antithetic"), samples=10)
    (slope,) = torch.autograd.grad(value, logits)
    z, other = seen[0].chunk(2)
    gap = ((z @ weights - 5) ** 2 - (other @ weights - 5) ** 2)[:, None] / 2
    sign = (-1.0) ** other * (z != other)
    expected = (gap * sign * logits.detach().abs().sigmoid()).mean(0)
    assert torch.allclose(slope, expected, rtol=1e-12)


def test_extreme_logits_are_finite():
    logits = torch.tensor([-90.0, -30.0, 30.0, 90.0], requires_grad=True)
    value = expect(lambda z: z, Bernoulli(logits=logits), Score(coupling="antithetic"), samples=4)
    value.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_less_variance_than_independent_pairs():
    logits = torch.zeros(4000, 6, requires_grad=True)

    def variance(score):
        torch.manual_seed(0)
        value = expect(lambda z: (z.sum(-1) - 1) ** 2, Bernoulli(logits=logits), score, samples=2)
        return torch.autograd.grad(value.sum(), logits)[0].var(0).mean()

    assert variance(Score(coupling="antithetic")) < 0.8 * variance(Score("leave-one-out"))


@pytest.mark.parametrize("baseline", BASELINES)
def test_normal_pairs(baseline):
    """E[z^2 + z] has derivatives 2 mean + 1 and 2 std^2 (in log std), then 2 and 4 std^2."""
    theta = torch.tensor([0.5, -0.3], dtype=torch.float64).expand(40_000, 2).clone()
    theta.requires_grad_()
    torch.manual_seed(0)
    law = Normal(theta[:, 0], theta[:, 1].exp())
    value = expect(lambda z: z.square() + z, law, Score(baseline, coupling="antithetic"), samples=6)
    (slope,) = torch.autograd.grad(value.sum(), theta, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), theta)
    spread = 2 * torch.exp(torch.tensor(-0.6, dtype=torch.float64))
    for found, exact in ((slope, [2.0, spread]), (second, [2.0, 2 * spread])):
        error = found.detach().mean(0) - torch.tensor(exact, dtype=torch.float64)
        bound = 4.5 * found.detach().std(0) / len(theta) ** 0.5
        assert (error.abs() < bound).all()


def test_a_line_has_no_variance_in_the_mean():
    """What is odd about the location cancels in the value; a baseline cancels from the slope."""
    mean = torch.tensor([1.0, -2.0], requires_grad=True)
    for law in (
        Normal(mean, 2.0),
        StudentT(5.0, mean, 2.0),
        Independent(Normal(mean, 1.0), 1),
        MultivariateNormal(mean, torch.eye(2)),
    ):

        def f(z, joint=bool(law.event_shape)):
            return 3 * z.sum(-1) if joint else 3 * z

        value = expect(f, law, Score(coupling="antithetic"), samples=2)
        assert torch.allclose(value, f(mean.detach()[None])[0], atol=1e-5)


def test_bad_input_is_named():
    many = Bernoulli(logits=torch.zeros(3))
    with pytest.raises(ArgumentError, match="samples must be even with coupling='antithetic'"):
        expect(lambda z: z, many, Score(coupling="antithetic"), samples=3)
    with pytest.raises(ArgumentError, match="samples must be at least 2"):
        expect(lambda z: z, many, Score(coupling="antithetic"), samples=1)
    with pytest.raises(ArgumentError, match="samples must be at least 4"):
        expect(lambda z: z, many, Score("leave-one-out", coupling="antithetic"), samples=2)
    classes = Categorical(logits=torch.zeros(3))
    with pytest.raises(ArgumentError, match="cannot serve Categorical: coupling='antithetic' is"):
        expect(lambda z: z, classes, Score(coupling="antithetic"), samples=2)
