"""The weighted mean: the plain formula by autograd in every order and mode, few samples or many."""

from importlib import import_module

import pytest
import torch

from trivium.expectation.surrogate import surrogate

module = import_module("trivium.expectation.surrogate")  # the room has the function by this name

THETA = torch.tensor([0.7, -0.4, 1.1], dtype=torch.float64)
DRAWS = torch.linspace(-1, 2, 15, dtype=torch.float64).reshape(5, 3)


@pytest.fixture(params=[0, 1 << 13], ids=["one pass", "plain"])
def _many(request, monkeypatch):
    """Both forms, whatever the size."""
    monkeypatch.setattr(module, "_MANY", request.param)


def values_of(theta):
    return (theta * DRAWS).sin() + theta.prod()  # f depends on theta too


def logs_of(theta):
    return -(DRAWS - theta).square() * theta.exp()


BASE = DRAWS.flip(0).cos()


def ours(theta):
    return surrogate(values_of(theta), logs_of(theta), BASE)


def formula(theta):
    f, logs = values_of(theta), logs_of(theta)
    w = (logs - logs.detach()).exp()
    return (w * f + (1 - w) * BASE).mean(0)


def slopes(call, order):
    theta = THETA.clone().requires_grad_()
    value, found = (call(theta) * torch.tensor([1.0, -2.0, 0.5])).sum(), []
    for _ in range(order):
        (slope,) = torch.autograd.grad(value, theta, create_graph=True)
        found.append(slope.detach())
        value = (slope * torch.tensor([0.3, 1.0, -1.0])).sum()
    return found


@pytest.mark.usefixtures("_many")
def test_derivatives_of_every_order():
    assert torch.equal(ours(THETA), values_of(THETA).mean(0))
    for found, wanted in zip(slopes(ours, 4), slopes(formula, 4), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-11)
    theta = THETA.clone().requires_grad_()
    ours(theta).sum().backward()  # with nothing recorded
    assert torch.allclose(theta.grad, torch.func.grad(lambda t: formula(t).sum())(THETA))


@pytest.mark.usefixtures("_many")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forward mode, torch's own
def test_transforms():
    """Forward and reverse mode over each other, and batches of either."""
    for outer in (torch.func.jacfwd, torch.func.jacrev):
        for inner in (torch.func.jacfwd, torch.func.jacrev):
            # By hand in reverse mode: nothing differentiates through the stop of a tangent.
            wanted = torch.func.jacrev(torch.func.jacrev(formula))(THETA)
            assert torch.allclose(outer(inner(ours))(THETA), wanted, rtol=1e-11)
    many = torch.stack([THETA, 2 * THETA])
    found = torch.func.vmap(torch.func.jacrev(ours))(many)
    for row, slope in zip(many, found, strict=True):
        assert torch.allclose(slope, torch.func.jacrev(formula)(row), rtol=1e-11)


@pytest.mark.usefixtures("_many")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forward mode, torch's own
@pytest.mark.parametrize("which", ["values", "logs"])
def test_one_of_the_two_may_be_constant(which):
    def at(call, theta):
        f = values_of(theta if which == "values" else THETA)
        return call(f, logs_of(theta if which == "logs" else THETA), BASE)

    def plain(f, logs, base):
        return ((logs - logs.detach()).exp() * (f - base) + base).mean(0)

    for mode in (torch.func.jacrev, torch.func.jacfwd):
        found = mode(lambda theta: at(surrogate, theta))(THETA)
        assert torch.allclose(found, torch.func.jacrev(lambda t: at(plain, t))(THETA), rtol=1e-11)


@pytest.mark.usefixtures("_many")
def test_precision_is_the_finer_of_the_two():
    logs = torch.zeros(4, 2, requires_grad=True)
    found = surrogate(torch.ones(4, 2, dtype=torch.bfloat16), logs, torch.zeros(1, 2))
    found.sum().backward()
    assert found.dtype == torch.float32
    assert torch.equal(logs.grad, torch.full((4, 2), 0.25))


def test_many_samples_go_in_one_pass():
    """The two forms agree where `expect` changes from one to the other."""
    logs = torch.randn(2, module._MANY // 2, generator=torch.Generator().manual_seed(0))
    logs.requires_grad_()
    values = logs.detach().square()
    assert type(surrogate(values, logs, values[:1]).grad_fn).__name__ == "_WeightedBackward"
    plain = torch.addcmul(values, torch.expm1(logs - logs.detach()), values - values[:1]).mean(0)
    slopes = [
        torch.autograd.grad(found.sum(), logs)[0]
        for found in (surrogate(values, logs, values[:1]), plain)
    ]
    assert torch.allclose(*slopes)
