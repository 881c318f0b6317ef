"""Softened and straight-through draws compile into one graph, with the values of eager mode."""

import pytest
import torch
from torch.distributions import Bernoulli, Distribution, OneHotCategorical

from trivium.expectation import Relaxed, StraightThrough, expect


@pytest.fixture(autouse=True)
def _no_checks():
    """As `torch.compile` sets it once, when it is first imported: tests before may set it back."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    yield
    Distribution.set_default_validate_args(before)


ESTIMATORS = [Relaxed(0.5), Relaxed(rao=2), StraightThrough(1), StraightThrough(2, 1.3)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_full_graph(estimator):
    torch._dynamo.reset()

    def loss(logits):
        one_hot = OneHotCategorical(logits=logits)
        found = expect(lambda z: z[..., 0] * 2 + z[..., 1] ** 3, one_hot, estimator, 3)
        bits = Bernoulli(logits=logits)
        return found.sum() + expect(lambda z: z.pow(3).sum(-1), bits, estimator, 3).sum()

    slopes = []
    for call in (torch.compile(loss, fullgraph=True, backend="aot_eager"), loss):
        torch.manual_seed(0)
        leaf = torch.linspace(-1, 1, 12).reshape(4, 3).requires_grad_()
        value = call(leaf)
        slopes.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
    for ours, eager in zip(*slopes, strict=True):
        assert torch.allclose(ours, eager, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_moving_temperature_needs_no_new_graph_each_step():
    torch._dynamo.reset()
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    estimator = Relaxed(lambda step: 1 / (1 + step))

    @torch.compile(fullgraph=True, backend=count)
    def loss(logits):
        q = OneHotCategorical(logits=logits)
        return expect(lambda z: z[..., 0], q, estimator).sum()

    logits = torch.zeros(4, 3, requires_grad=True)
    for _ in range(6):
        assert torch.isfinite(loss(logits))
        estimator.temperature.step()
    assert len(graphs) <= 2
