"""FIRE against its network pair by pair, and the refusals."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import Fire

_spec = importlib.util.spec_from_file_location("loops", Path(__file__).with_name("loops.py"))
loops = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loops)
pair_by_pair = loops.pair_by_pair


@pytest.mark.parametrize("threshold", [512.0, 30.0, 2.5])
def test_it_is_the_papers_network_of_the_ratio(threshold):
    torch.manual_seed(0)
    encoding = Fire(2, 7, c=0.3, threshold=threshold).double()
    encoding.multiplier.data.fill_(-1.1)  # its size counts

    def psi(x):
        return math.log(abs(float(encoding.c) * x) + 1)

    def one(q, k, i, j, head):
        ratio = psi(i - j) / (psi(max(i, 1.1 * threshold)) + 1e-6)
        hidden = encoding.inner(torch.tensor([ratio], dtype=torch.float64)).relu()
        return encoding.outer(hidden)[head]

    pair_by_pair(encoding, one)


def test_units_that_do_not_bend_are_kept():
    encoding = Fire(1, 3, threshold=2.0).double()
    encoding.inner.weight.data.copy_(torch.tensor([[0.0], [0.0], [0.0]]))
    encoding.inner.bias.data.copy_(torch.tensor([0.0, 2.0, -2.0]))
    i = torch.arange(9)
    bias = encoding.score(torch.zeros(1, 1, 9, 2, dtype=torch.float64), None, i, i, None)
    wanted = 2 * encoding.outer.weight[0, 1] + encoding.outer.bias[0]
    assert torch.allclose(bias, wanted.expand(1, 9, 9))


def test_positions_past_the_threshold_reach_its_gradient_and_that_of_c():
    encoding = Fire(2, threshold=3.0).double()
    i = torch.arange(9)
    q = torch.zeros(1, 2, 9, 2, dtype=torch.float64)
    bias = encoding.score(q, None, i, i, None)
    for slope in torch.autograd.grad(bias.sin().sum(), (encoding.c, encoding.multiplier)):
        assert float(slope) != 0


def test_narrow_parameters_do_not_round_positions():
    encoding = Fire(2, threshold=2000.0).to(torch.bfloat16)
    wide = Fire(2, threshold=2000.0)
    wide.load_state_dict(encoding.state_dict())
    i = torch.arange(1000, 1003)
    q = torch.zeros(1, 2, 3, 2)
    assert torch.equal(encoding.score(q, None, i, i, None), wide.score(q, None, i, i, None))


def test_negative_positions_are_refused():
    layer = Attention(8, 2, Fire(2))
    with pytest.raises(ArgumentError, match=r"positions must be non-negative; got -2\. A query's"):
        layer(torch.randn(1, 3, 8), positions=torch.arange(-2, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_heads": 0}, "n_heads must be"),
        ({"hidden": 0}, "hidden must be"),
        ({"c": -1.0}, "c must be a number, positive; got -1.0"),
        ({"threshold": 0}, "threshold must be a number, positive; got 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=f"Fire: {message}"):
        Fire(**{"n_heads": 2, **arguments})
