"""Two kinds of steps in turn: order, learning rates of their own, guards."""

import pytest
import torch
from torch import nn

from trivium._core.errors import ArgumentError, DataError
from trivium.objective import Alternate, ZerothOrderStep


class Gated(nn.Module):
    """y = gate · (w x), the gate open or shut."""

    def __init__(self):
        super().__init__()
        self.w, self.gate = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.tensor([-0.5]))

    def forward(self, x):
        return (self.gate > 0).to(x.dtype) * self.w * x


def parts(**counts):
    model = Gated()
    adam = torch.optim.Adam([model.w], lr=0.1)
    zeroth = ZerothOrderStep(model, 0.5, 0.2, 4, seed=0, names=["gate"])
    return model, Alternate(adam, zeroth, **counts)


def test_a_gate_opens_and_its_weight_is_fitted():
    model, both = parts()
    x = torch.linspace(-1, 1, 20)

    def loss():
        return (model(x) - 3 * x).square().mean()

    def surrogate():  # the gate taken as open
        return (model.w * x - 3 * x).square().mean()

    first = float(loss().detach())
    for _ in range(200):
        both.step(surrogate, loss)
    assert first > 3
    assert float(model.gate.detach()) > 0
    assert float(loss().detach()) < 0.01
    assert len(both.zeroth.history) == 100


def test_turns():
    model, both = parts(differentiable=2, zeroth_order=3)
    kinds = []
    for _ in range(7):
        kinds.append(both.turn[0])
        both.step(lambda: (model.w - 1).square().sum(), lambda: 0.0)
    assert "".join(kinds) == "ddzzzdd"


def test_bad_input_is_named():
    model, both = parts()
    with pytest.raises(ArgumentError, match="optimizer and zeroth must be a torch optimizer and"):
        Alternate(both.zeroth, both.optimizer)
    with pytest.raises(ArgumentError, match="zeroth_order must be an integer, positive; got 0"):
        Alternate(both.optimizer, both.zeroth, zeroth_order=0)
    with pytest.raises(ArgumentError, match=r"one number with a graph; got shape \(1,\)"):
        both.step(lambda: torch.zeros(1), lambda: 0.0)
    with pytest.raises(ArgumentError, match=r"one number with a graph; got 0.0"):
        both.step(lambda: 0.0, lambda: 0.0)
    with pytest.raises(DataError, match="surrogate must be finite; got nan"):
        both.step(lambda: model.w.sum() * float("nan"), lambda: 0.0)
    with pytest.raises(DataError, match="gradient of surrogate must be finite"):
        both.step(lambda: model.w.abs().sum().sqrt(), lambda: 0.0)  # the root has no slope at 0
    assert both.place == 0
    assert float(model.w.detach()) == 0
