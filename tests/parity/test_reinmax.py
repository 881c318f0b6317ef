"""ReinMax beside the package of its authors: the same draws give the same gradient."""

import pytest
import torch
from torch.distributions import OneHotCategorical

from trivium.expectation import StraightThrough, expect
from trivium.expectation import straight_through as room

peer = pytest.importorskip("reinmax", reason="the reinmax package is not installed")


def drawn_as_there(logits, shape):
    p = logits.softmax(-1).reshape(-1, logits.shape[-1])
    return torch.multinomial(p, 1, replacement=True).reshape(*shape, *logits.shape[:-1])


@pytest.mark.parametrize("temperature", [1.0, 1.3, 0.7])
@pytest.mark.parametrize("order", [2, 1])
def test_same_draws_same_gradient(monkeypatch, temperature, order):
    monkeypatch.setattr(room, "gumbel_max", drawn_as_there)
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 4, generator=rng, dtype=torch.float64)

    def f(z):
        return ((z @ weights) ** 3).sum((-2, -1))

    torch.manual_seed(3)
    q = OneHotCategorical(logits=logits)
    ours = expect(f, q, StraightThrough(order, temperature))
    torch.manual_seed(3)
    theirs = f(peer.reinmax(logits, temperature)[0])
    assert torch.allclose(ours, theirs, rtol=1e-12)
    slopes = [torch.autograd.grad(value.sum(), logits)[0] for value in (ours, theirs)]
    # The first order is the member that must fail.
    assert torch.allclose(*slopes, rtol=1e-10, atol=1e-12) == (order == 2)
