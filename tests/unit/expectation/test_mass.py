"""Probabilities of exactly 0 and 1, a class alone, and no draws at all."""

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, OneHotCategorical

from trivium.expectation import Exact, MeasureValued, Score, expect

EDGES = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)
CLASSES = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
WORTH = torch.tensor([3.0, 5.0, 11.0], dtype=torch.float64)


def slope(f, build, at, estimator):
    leaf = at.clone().requires_grad_()
    return torch.autograd.grad(expect(f, build(leaf), estimator, 2).sum(), leaf)[0]


@pytest.mark.parametrize("estimator", ["auto", Exact(), Score(local=True), MeasureValued()])
def test_certain_draws_have_a_derivative(estimator):
    # E f = f(0) + p (f(1) - f(0)).
    found = slope(lambda z: (z - 0.3).square(), Bernoulli, EDGES, estimator)
    torch.testing.assert_close(found, torch.full((3,), 0.4, dtype=torch.float64))


@pytest.mark.parametrize("estimator", ["auto", Exact(), Score(local=True), MeasureValued()])
def test_certain_classes_have_a_derivative(estimator):
    # E f = sum p f / sum p.
    expected = WORTH - WORTH[1]
    found = slope(lambda z: WORTH[z], Categorical, CLASSES, estimator)
    torch.testing.assert_close(found, expected)
    found = slope(lambda z: z @ WORTH, OneHotCategorical, CLASSES, estimator)
    torch.testing.assert_close(found, expected)


def test_every_derivative_of_coupled_certain_draws():
    def loss(p):
        return expect(lambda z: z.prod(-1), Independent(Bernoulli(p), 1), Exact())

    at = EDGES.clone().requires_grad_()
    assert loss(at).item() == 0.0
    second = torch.autograd.functional.hessian(loss, at)
    # E f = p0 p1 p2.
    expected = torch.tensor([[0, 0.5, 1], [0.5, 0, 0], [1, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(second, expected)
    torch.testing.assert_close(
        torch.func.grad(loss)(EDGES), torch.tensor([0.5, 0, 0], dtype=torch.float64)
    )


def test_a_logarithm_of_its_own_is_used():
    class Tilted(Bernoulli):
        def log_prob(self, value):
            return super().log_prob(1 - value)

    found = expect(lambda z: z, Tilted(torch.tensor([0.25])), Exact())
    assert found.item() == pytest.approx(0.75)


def test_a_class_alone():
    found = slope(lambda z: z + 2.0, lambda at: Categorical(logits=at), EDGES[:1], MeasureValued())
    assert found.tolist() == [0.0]


@pytest.mark.parametrize("estimator", [Score(local=True), MeasureValued(), Exact()])
def test_no_draws(estimator):
    found = slope(lambda z: z * 2, lambda at: Bernoulli(logits=at), torch.zeros(0, 3), estimator)
    assert found.shape == (0, 3)
