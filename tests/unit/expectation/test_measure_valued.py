"""Differences of measures: each pair of the table, coupled draws, exactness where it can be had."""

import pytest
import torch
from scipy import stats
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Exponential,
    Gamma,
    Independent,
    Normal,
    OneHotCategorical,
    Poisson,
)

from trivium._core.errors import ArgumentError
from trivium.expectation import Exact, MeasureValued, expect, measure_pairs

DRAWS = 200_000


@pytest.mark.parametrize("kind", [Bernoulli, Categorical, OneHotCategorical])
def test_one_draw_of_a_class_is_exact(kind):
    logits = torch.tensor([0.4, -1.0, 0.7], dtype=torch.float64, requires_grad=True)

    def f(z):
        return (z.double() + 1) ** 3 if z.ndim == 1 + (kind is Bernoulli) else z[..., 1] * 5 + 1

    value = expect(f, kind(logits=logits), MeasureValued())
    exact = expect(f, kind(logits=logits), Exact())
    ours, theirs = (torch.autograd.grad(v.sum(), logits)[0] for v in (value, exact))
    assert torch.allclose(ours, theirs, rtol=1e-12)


def test_coupled_draws_by_every_outcome():
    logits = torch.tensor([0.4, -1.0, 0.7], dtype=torch.float64, requires_grad=True)

    class Given(Bernoulli):
        def sample(self, _):
            return draw

    def f(z):
        return (z @ torch.tensor([1.0, -2.0, 3.0]).double() + z[..., 0] * z[..., 1] - 0.3) ** 2

    mean = 0.0
    for draw in torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).double()[:, None]:
        value = expect(f, Given(logits=logits), MeasureValued())
        weight = Bernoulli(logits=logits.detach()).log_prob(draw).sum().exp()
        mean = mean + weight * torch.autograd.grad(value, logits)[0]
    exact = torch.autograd.grad(expect(f, Bernoulli(logits=logits), Exact()), logits)[0]
    assert torch.allclose(mean, exact, rtol=1e-12)


def step(z):
    return (z > 1.3).double()


CASES = {
    # name: distribution of theta, theta, E[step] as a function of theta
    "mean": (lambda t: Normal(t, 0.8), 0.5, lambda t: stats.norm.sf(1.3, t, 0.8)),
    "deviation": (lambda t: Normal(0.5, t), 0.8, lambda t: stats.norm.sf(1.3, 0.5, t)),
    "poisson": (Poisson, 1.7, lambda t: stats.poisson.sf(1.3, t)),
    "exponential": (Exponential, 0.9, lambda t: stats.expon.sf(1.3, scale=1 / t)),
    "gamma": (lambda t: Gamma(2.3, t), 1.4, lambda t: stats.gamma.sf(1.3, 2.3, scale=1 / t)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_differentiated(name):
    """z-test at 4 standard errors over 2e5 draws; Pathwise would give 0 throughout."""
    law, at, probability = CASES[name]
    theta = torch.full((DRAWS,), at, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    value = expect(step, law(theta), MeasureValued())
    found = torch.autograd.grad(value.sum(), theta)[0]
    width = 1e-5
    exact = (probability(at + width) - probability(at - width)) / (2 * width)
    assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / DRAWS**0.5
    assert abs(exact) > 20 * float(found.std()) / DRAWS**0.5  # the test could see a wrong sign
    assert float(value.detach().mean()) == pytest.approx(probability(at), abs=0.005)


def test_draws_are_from_the_measures_of_the_table():
    """Kolmogorov-Smirnov at 1e-5 each: Rayleigh, double Maxwell and Normal, Erlang."""
    z = torch.zeros(20_000, dtype=torch.float64)
    mean = torch.full((), 2.0, dtype=torch.float64, requires_grad=True)
    std = torch.full((), 0.5, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    of_mean, of_std = measure_pairs(Normal(mean, std), z)
    checks = [
        ((of_mean.upper.detach() - 2) / 0.5, stats.rayleigh.cdf),
        ((2 - of_mean.lower.detach()) / 0.5, stats.rayleigh.cdf),
        ((of_std.upper.detach() - 2).abs() / 0.5, stats.maxwell.cdf),
        ((of_std.lower.detach() - 2) / 0.5, stats.norm.cdf),
    ]
    rate = torch.full((20_000,), 1.5, dtype=torch.float64, requires_grad=True)
    (of_rate,) = measure_pairs(Exponential(rate), Exponential(rate.detach()).sample())
    checks.append((of_rate.lower.detach() * 1.5, stats.gamma(2).cdf))
    for found, cdf in checks:
        assert stats.kstest(found.numpy(), cdf).pvalue > 1e-5
    signs = (of_std.upper.detach() > 2).double().mean()
    assert abs(float(signs) - 0.5) < 4.5 * 0.5 / 20_000**0.5


def test_coupled_normals():
    """E[(z1 z2 + z3)^2] in the means and deviations of three draws, joined or not."""
    theta = torch.tensor([[0.5, -1.0, 2.0], [0.7, 1.1, 0.4]], dtype=torch.float64)
    leaf = theta.expand(40_000, 2, 3).clone().requires_grad_()
    torch.manual_seed(0)
    law = Independent(Normal(leaf[:, 0], leaf[:, 1]), 1)
    value = expect(lambda z: (z[..., 0] * z[..., 1] + z[..., 2]) ** 2, law, MeasureValued())
    found = torch.autograd.grad(value.sum(), leaf)[0]
    exact = theta.clone().requires_grad_()
    (a, b, c), (s, t, u) = exact
    whole = (a * a + s * s) * (b * b + t * t) + 2 * a * b * c + c * c + u * u
    (slope,) = torch.autograd.grad(whole, exact)
    bound = 4.5 * found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - slope).abs() < bound).all()


def test_only_what_asks_is_evaluated():
    calls = []

    def f(z):
        calls.append(len(z))
        return z.sum(-1)

    mean = torch.zeros(3, requires_grad=True)
    expect(f, Normal(mean, 1.0), MeasureValued(), samples=2)
    assert calls == [2, 2 * 2 * 3]
    calls.clear()
    with torch.no_grad():
        expect(f, Normal(mean, 1.0), MeasureValued(), samples=2)
    assert calls == [2]


def test_f_has_its_own_gradient():
    gain = torch.tensor(2.0, requires_grad=True)
    mean = torch.zeros(4, requires_grad=True)
    torch.manual_seed(0)
    expect(lambda z: gain * z, Normal(mean, 1.0), MeasureValued(), samples=3).sum().backward()
    torch.manual_seed(0)
    z = Normal(mean.detach(), 1.0).sample((3,))
    assert float(gain.grad) == pytest.approx(float(z.mean(0).sum()), rel=1e-5)


def test_bad_input_is_named():
    three = torch.ones(3, requires_grad=True)
    with pytest.raises(ArgumentError, match="cannot serve Beta: its derivative is known as a diff"):
        expect(lambda z: z, Beta(three, three), MeasureValued())
    with pytest.raises(ArgumentError, match="got a concentration that requires one"):
        expect(lambda z: z, Gamma(three, three), MeasureValued())
    value = expect(lambda z: z, Normal(three, 1.0), MeasureValued())
    (slope,) = torch.autograd.grad(value.sum(), three, create_graph=True)
    with pytest.raises(
        ArgumentError, match="MeasureValued must be differentiated only once; the d"
    ):
        slope.sum().backward()
    with pytest.raises(ArgumentError, match="MeasureValued cannot serve Beta"):
        measure_pairs(Beta(three, three), three)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_shape_inside_a_transform_is_refused():
    def inside(shape):
        rows = torch.func.vmap(
            lambda a: expect(lambda z: z, Gamma(a, 1.0, validate_args=False), MeasureValued()),
            randomness="different",
        )
        return rows(shape).sum()

    with pytest.raises(ArgumentError, match="got a concentration that requires one"):
        torch.func.grad(inside)(torch.ones(3))
