"""torch.func and torch.compile over every estimator of this room that has a tensor f."""

import pytest
import torch
from torch.distributions import Bernoulli, Distribution, Normal, OneHotCategorical

from trivium.expectation import Exact, MeasureValued, Rebar, Relaxed, Score, expect

ESTIMATORS = {
    "antithetic": Score(coupling="antithetic"),
    "rebar": Score(control=Relaxed(0.5)),
    "learned": Score(control=Rebar(0.5)),
    "local": Score(local=True),
    "distinct": Score(coupling="distinct"),
    "measures": MeasureValued(),
}


@pytest.fixture(autouse=True)
def _unchecked():
    """torch's checks cannot be compiled, and compiling turns them off for good."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    yield
    Distribution.set_default_validate_args(before)


def law(name, theta):
    """Three classes for what needs them, else three Bernoulli draws."""
    kind = OneHotCategorical if name == "distinct" else Bernoulli
    return kind(logits=theta, validate_args=False)


def f(z):
    return (z @ z.new_tensor([1.0, -2.0, 0.5]) - 0.3).square()


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("outer", ["vmap", "grad"])
def test_vmap_and_grad(name, outer):
    """Slopes of 400 rows of 64 draws: their mean is the exact slope, at 4.5 standard errors."""
    start = torch.tensor([0.4, -0.8, 0.2])
    theta = start.expand(400, 3).clone()

    def value(row):
        return expect(f, law(name, row), ESTIMATORS[name], samples=2 if name == "distinct" else 64)

    torch.manual_seed(0)
    if outer == "vmap":
        found = torch.func.vmap(torch.func.grad(value), randomness="different")(theta)
    else:
        rows = torch.func.vmap(value, randomness="different")
        found = torch.func.grad(lambda leaf: rows(leaf).sum())(theta)
    leaf = start.requires_grad_()
    (exact,) = torch.autograd.grad(expect(f, law(name, leaf), Exact()), leaf)
    assert ((found.mean(0) - exact).abs() < 4.5 * found.std(0) / 20 + 1e-6).all()
    assert found.std(0).min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_graph(name):
    """No graph break, and the gradient of the call that is not compiled."""

    def value(theta):
        return expect(f, law(name, theta), ESTIMATORS[name], samples=2)

    torch._dynamo.reset()
    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    theta = torch.tensor([0.4, -0.8, 0.2], requires_grad=True)
    slopes = []
    for call in (value, compiled):
        torch.manual_seed(0)
        slopes.append(torch.autograd.grad(call(theta), theta)[0])
    assert torch.allclose(*slopes, atol=1e-6)


def test_one_graph_of_normal_pairs():
    def value(mean):
        law = Normal(mean, 1.0, validate_args=False)
        return expect(f, law, Score(coupling="antithetic"), samples=2)

    torch._dynamo.reset()
    mean = torch.tensor([0.4, -0.8, 0.2], requires_grad=True)
    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    slopes = []
    for call in (value, compiled):
        torch.manual_seed(0)
        slopes.append(torch.autograd.grad(call(mean), mean)[0])
    assert torch.allclose(*slopes, atol=1e-5)
