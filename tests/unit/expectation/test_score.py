"""Baselines: none biases the gradient, and the pooled optimal one has the least variance."""

import pytest
import torch
from torch import nn
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Cauchy,
    Independent,
    Normal,
    OneHotCategorical,
)

from trivium._core.errors import ArgumentError, ShapeError
from trivium.expectation import BASELINES, Exact, Score, Subset, expect
from trivium.expectation.score_norm import score_length


@pytest.mark.parametrize("baseline", BASELINES)
def test_no_baseline_biases(baseline):
    """All 2^6 outcomes of three samples of two rows, weighted by their probabilities, exactly."""
    logits = torch.tensor([0.5, -0.8], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[3.0, 1.0], [-2.0, 4.0]], dtype=torch.float64)

    def f(z):
        return weights[torch.arange(2), z.long()]

    exact = torch.autograd.grad(expect(f, Bernoulli(logits=logits), Exact()).sum(), logits)[0]
    outcomes = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6).reshape(-1, 3, 2).double()
    mean = torch.zeros(2, dtype=torch.float64)
    for z in outcomes:
        given = Given(z, logits=logits)
        if baseline == "centre":  # the mean of a Bernoulli is no value of it
            value = expect(lambda z: 3.0 + 2 * z, given, Score(baseline), samples=3)
        else:
            value = expect(f, given, Score(baseline), samples=3)
        slope = torch.autograd.grad(value.sum(), logits)[0]
        mean += slope * Bernoulli(logits=logits.detach()).log_prob(z).sum().exp()
    if baseline == "centre":
        p = logits.detach().sigmoid()
        exact = 2 * p * (1 - p)
    assert torch.allclose(mean, exact, rtol=1e-12)


class Given(Bernoulli):
    """A Bernoulli whose draw is given."""

    def __init__(self, draw, **rest):
        super().__init__(**rest)
        self.draw = draw

    def sample(self, _):
        return self.draw


def variance(baseline, logits, right, repeats=200):
    torch.manual_seed(0)
    slopes = []
    for _ in range(repeats):
        leaf = logits.clone().requires_grad_()
        value = expect(
            lambda z: (z == right).float(), Categorical(logits=leaf), Score(baseline), samples=1
        )
        slopes.append(torch.autograd.grad(value.mean(), leaf)[0])
    return torch.stack(slopes).var(0).sum()


def test_the_mean_can_raise_the_variance_and_the_optimum_does_not():
    """A classifier that is right 97.7 % of the time, reward 1 when right: as the spec has it."""
    rng = torch.Generator().manual_seed(1)
    right = torch.randint(0, 10, (500,), generator=rng)
    logits = torch.randn(500, 10, generator=rng) * 0.5
    logits[torch.arange(500), right] += 6.0
    p = logits.softmax(1)[torch.arange(500), right].mean()
    assert 0.96 < float(p) < 0.99
    none, mean, optimal = (variance(b, logits, right) for b in ("none", "mean", "optimal"))
    assert mean > 4 * none
    assert optimal < 0.8 * none
    assert optimal < mean / 10


def test_a_learned_baseline_is_fitted_along():
    """Its slope is that of the squared error; the gradient of the logits stays unbiased."""
    base = nn.Linear(1, 1, bias=False)
    logits = torch.zeros(4000, requires_grad=True)
    torch.manual_seed(0)
    score = Score(lambda: base(torch.ones(1)).squeeze())
    value = expect(lambda z: 2 + z, Bernoulli(logits=logits), score, samples=1)
    value.mean().backward()
    error = 2.5 - float(base.weight.detach())
    assert float(base.weight.grad) == pytest.approx(-2 * error, abs=0.1)
    assert float(logits.grad.sum()) == pytest.approx(0.25, abs=0.15)
    assert float(value.detach().mean()) == pytest.approx(2.5, abs=0.05)


@pytest.mark.parametrize(
    "distribution",
    [
        lambda t: Bernoulli(logits=t[..., 0]),
        lambda t: Categorical(logits=t),
        lambda t: OneHotCategorical(logits=t),
        lambda t: Normal(t[..., 0], t[..., 1].exp()),
        lambda t: Independent(Normal(t[..., 0], t[..., 1].exp()), 1),
    ],
)
def test_lengths_of_scores_are_those_of_autograd(distribution):
    theta = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    z = distribution(theta).sample((5,))
    found = score_length(distribution(theta), z)
    for k in range(5):
        leaf = theta.clone().requires_grad_()
        logs = distribution(leaf).log_prob(z[k])
        slope = torch.autograd.grad(logs.sum(), leaf)[0]
        if isinstance(distribution(theta), Normal | Independent):
            # In units of the deviation, so that the unit of z does not matter.
            slope[:, 0] *= theta[:, 1].exp()
        lengths = slope.square().sum(-1)
        assert torch.allclose(found[k], lengths.sum() if logs.ndim == 0 else lengths, rtol=1e-12)


def test_bad_baselines_are_named():
    with pytest.raises(ArgumentError, match="baseline must be one of 'optimal', 'mean'"):
        Score("median")
    two = Bernoulli(logits=torch.zeros(2, requires_grad=True))
    with pytest.raises(ShapeError, match=r"a value for each of \(2,\); got shape \(3,\)"):
        expect(lambda z: z, two, Score(lambda: torch.zeros(3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coupling": "sorted"}, "coupling must be one of 'independent', 'antithetic', 'distinct'"),
        ({"local": 1}, "local must be True or False; got 1"),
        ({"local": True, "coupling": "distinct"}, "only one of coupling='distinct' and local=True"),
        ({"control": nn.Tanh(), "coupling": "antithetic"}, "only one of coupling='antithetic' and"),
        ({"local": True, "baseline": "mean"}, "baseline must be left out with local=True"),
        ({"coupling": "distinct", "baseline": "mode"}, "baseline must be left out with coupling="),
    ],
)
def test_choices_that_exclude_each_other_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Score(**arguments)


def test_few_samples_are_named():
    pair, row = Score(coupling="antithetic"), Score("leave-one-out", coupling="antithetic")
    assert [s.least_samples for s in (Score(), Score("leave-one-out"), pair, row)] == [1, 2, 2, 4]
    assert [Score(coupling="distinct").least_samples, Score(local=True).least_samples] == [2, 1]


def test_a_mode_of_even_odds_is_a_value():
    """torch has NaN there, at the logits that training begins with."""
    logits = torch.zeros(2, requires_grad=True)
    law = Independent(Bernoulli(logits=logits), 1)
    expect(lambda z: z.sum(-1), law, Score("mode"), samples=4).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("baseline", "distribution", "message"),
    [
        ("mode", Beta(torch.full((2,), 0.5), 1.0), "with a finite mode; got mode nan of Beta"),
        ("centre", Cauchy(torch.zeros(2), 1.0), "with a finite mean; got mean nan of Cauchy"),
        (lambda: "much", Normal(torch.zeros(2), 1.0), "a number or a tensor; got str"),
        (lambda: float("nan"), Normal(torch.zeros(2), 1.0), "return finite numbers; got nan"),
    ],
)
def test_baselines_without_a_number_are_named(baseline, distribution, message):
    with pytest.raises(ArgumentError, match=message):
        expect(lambda z: z, distribution, Score(baseline), samples=2)


def test_a_class_is_no_baseline():
    with pytest.raises(ArgumentError, match=r"baseline must be one of .* or a module; got <class"):
        Score(nn.Linear)


def test_the_value_has_the_precision_of_f():
    """The weights of the baseline of a half-precision set are in single precision."""
    law = Subset(torch.zeros(4, dtype=torch.bfloat16, requires_grad=True), 2)
    assert expect(lambda z: z[..., 0], law, Score(), samples=4).dtype == torch.bfloat16
