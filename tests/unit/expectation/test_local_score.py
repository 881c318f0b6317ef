"""One draw at a time over all its values: exact over every outcome of the others."""

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, Normal, OneHotCategorical

from trivium._core.errors import ArgumentError
from trivium.expectation import Exact, Score, expect
from trivium.expectation import replaced as under_test

LOCAL = Score(local=True)


def derivatives(value, theta, order):
    found = []
    direction = torch.linspace(1, 2, theta.numel(), dtype=theta.dtype).reshape(theta.shape)
    for _ in range(order):
        (slope,) = torch.autograd.grad(value.sum(), theta, create_graph=True)
        found.append(slope.detach())
        value = slope * direction
    return found


def given(kind, draw, **rest):
    class Given(kind):
        def sample(self, _):
            return draw

    return Given(**rest)


@pytest.mark.parametrize("kind", [Bernoulli, Categorical, OneHotCategorical])
def test_exact_to_the_third_order(kind):
    """Two rows of three coupled draws: all outcomes by their probabilities."""
    rng = torch.Generator().manual_seed(0)
    shape = (2, 3) if kind is Bernoulli else (2, 3, 3)
    theta = torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True)

    def f(z):
        score = z.double() if z.ndim < 4 else z @ torch.tensor([0.3, -1.0, 2.0]).double()
        mixed = (score[..., 0] * score[..., 1] - score[..., 2] + 0.2) ** 2
        return mixed * theta.mean().exp()

    exact = expect(f, kind(logits=theta), Exact())
    wanted = derivatives(exact, theta, 3)
    mean, found = 0.0, [0.0, 0.0, 0.0]
    support = kind(logits=theta.detach()).enumerate_support()[:, 0, 0]
    for codes in torch.cartesian_prod(*[torch.arange(len(support))] * 3):
        row = support[codes]
        draw = torch.stack([row, row])[None]  # rows do not meet: both may take the same outcome
        weight = kind(logits=theta.detach()).log_prob(draw).sum(-1).exp()[0]
        value = expect(f, given(kind, draw, logits=theta), LOCAL)
        # Each row has its own weight; the value of the one has no slope in the other.
        for r in range(2):
            slopes = derivatives(value[r], theta, 3)
            found = [old + weight[r] * new for old, new in zip(found, slopes, strict=True)]
        mean = mean + weight * value.detach()
    assert torch.allclose(mean, exact.detach(), rtol=1e-12)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_first_derivative_is_exact_given_the_others():
    """With f additive the others do not matter: no variance at all."""
    logits = torch.randn(6, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weights = torch.arange(6.0)
    value = expect(lambda z: z @ weights, Bernoulli(logits=logits), LOCAL)
    value.backward()
    p = logits.detach().sigmoid()
    assert torch.allclose(logits.grad, weights * p * (1 - p), atol=1e-5)


def test_blocks_of_draws_change_nothing(monkeypatch):
    logits = torch.linspace(-1, 1, 10).reshape(2, 5).requires_grad_()
    calls = []

    def f(z):
        calls.append(len(z))
        return z.cumsum(-1).square().sum(-1)

    def slope():
        torch.manual_seed(0)
        calls.clear()
        law = Independent(Bernoulli(logits=logits), 1)
        return torch.autograd.grad(expect(f, law, LOCAL, samples=3).sum(), logits)[0]

    whole = slope()
    assert calls == [3, 30]
    monkeypatch.setattr(under_test, "_NUMBERS", 150)
    assert torch.equal(slope(), whole)
    assert calls == [3, 12, 12, 6]


def test_far_less_variance():
    """A coupled count of 64 draws at 4 samples, against the mean of the other samples."""
    logits = torch.zeros(200, 64, requires_grad=True)

    def variance(score):
        torch.manual_seed(0)
        value = expect(
            lambda z: (z.mean(-1) - 0.3).square(), Bernoulli(logits=logits), score, samples=4
        )
        return torch.autograd.grad(value.sum(), logits)[0].var(0).mean()

    assert variance(LOCAL) < variance(Score("leave-one-out")) / 50


def test_bad_input_is_named():
    with pytest.raises(ArgumentError, match="cannot serve Normal: local=True is for Bernoulli"):
        expect(lambda z: z, Normal(torch.zeros(3), 1.0), LOCAL)
