"""Where a held curvature would explode, by the known limits of each optimizer."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam

from trivium.pathkernel import record
from trivium.pathkernel.index_stability import stable
from trivium.pathkernel.index_stretch import stretches


def recording(optimizer, **options):
    """Record 12 steps."""
    torch.manual_seed(0)
    x, y = torch.randn(24, 4).double(), torch.randint(3, (24,))
    net = nn.Linear(4, 3).double()
    steps = optimizer(net.parameters(), **options)
    with record(net, steps, cross_entropy) as run:
        for _ in range(12):
            ids = torch.randperm(24)[:6]
            run.batch(ids)
            steps.zero_grad()
            cross_entropy(net(x[ids]), y[ids]).backward()
            steps.step()
    return run, x


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"lr": 0.1}, 2 / 0.1),
        ({"lr": 0.1, "momentum": 0.9}, 2 * 1.9 / 0.1),
        ({"lr": 0.05, "momentum": 0.5}, 2 * 1.5 / 0.05),
    ],
)
def test_eigenvalues_are_cut_at_the_limit_of_the_optimizer(options, limit):
    run, _ = recording(SGD, **options)
    one = next(stretches(run.run("t"), 12))
    low, high = 0.5 * limit, 30 * limit
    turn, _ = torch.linalg.qr(torch.randn(2, 2).double())
    cut = stable(turn @ torch.diag(torch.tensor([low, high]).double()) @ turn.T, one)
    found = torch.linalg.eigvalsh(cut)
    assert float(found[0]) == pytest.approx(low)
    assert float(found[1]) == pytest.approx(limit, rel=1e-3)


def test_a_single_step_is_left_as_it_is():
    run, _ = recording(SGD, lr=0.1)
    one = next(stretches(run.run("t"), 1))
    curvature = 1e6 * torch.eye(2).double()
    assert stable(curvature, one) is curvature


def test_below_the_limit_nothing_changes_with_a_preconditioner():
    run, _ = recording(Adam, lr=0.01)
    one = next(stretches(run.run("t"), 12))
    curvature = torch.tensor([[2.0, 0.5], [0.1, 1.0]]).double() * 1e-3
    assert torch.equal(stable(curvature, one), curvature)
    cut = stable(curvature * 1e9, one)
    assert float(torch.linalg.eigvals(cut).abs().max()) < 1e6


def test_training_at_the_edge_does_not_explode(monkeypatch):
    """A rate so large that held curvature alone grows by powers of ten, cut or not."""
    torch.manual_seed(0)
    x = 3 * torch.randn(64, 10)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] * x[:, 2] > 0).long()
    net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 4))
    steps = SGD(net.parameters(), lr=1.0)
    with record(net, steps, cross_entropy) as run:
        for _ in range(100):
            ids = torch.randperm(64)[:16]
            run.batch(ids)
            steps.zero_grad()
            cross_entropy(net(x[ids]), y[ids]).backward()
            steps.step()
    made = float(run.index(32, "made", stride=50).contributions(x[:4], "margin").norm())
    assert float(run.index(32, stride=50).contributions(x[:4], "margin").norm()) < 10 * made
    monkeypatch.setattr("trivium.pathkernel.index_build.stable", lambda curvature, _: curvature)
    assert float(run.index(32, stride=50).contributions(x[:4], "margin").norm()) > 1e4 * made
