"""KERPLE's two kernels against loops over pairs, their bounds, and the refusals."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.position import Kerple

_spec = importlib.util.spec_from_file_location("loops", Path(__file__).with_name("loops.py"))
loops = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loops)
pair_by_pair = loops.pair_by_pair


@pytest.mark.parametrize("kind", ["log", "power"])
def test_kernels_are_the_papers(kind):
    encoding = Kerple(2, kind).double()

    def one(q, k, i, j, head):
        r1, r2, r = float(encoding.r1[head]), float(encoding.r2[head]), abs(i - j)
        return -r1 * (math.log(1 + r2 * r) if kind == "log" else r**r2)

    pair_by_pair(encoding, one)


def test_parameters_outside_their_bounds_are_used_at_the_bound_with_their_gradient():
    encoding = Kerple(2, "power").double()
    encoding.r1.data.copy_(torch.tensor([-3.0, 1.0]))
    encoding.r2.data.copy_(torch.tensor([0.5, 7.0]))
    bias = encoding.curve(torch.tensor(4))
    assert torch.allclose(bias, torch.tensor([-0.01 * 2, -16.0], dtype=torch.float64))
    slopes = torch.autograd.grad(bias.sum(), (encoding.r1, encoding.r2))
    wanted = [-2.0, -16.0], [-0.01 * 2 * math.log(4), -16 * math.log(4)]
    for slope, value in zip(slopes, wanted, strict=True):
        assert torch.allclose(slope, torch.tensor(value, dtype=torch.float64))


def test_the_query_itself_has_a_finite_gradient():
    encoding = Kerple(2, "power")
    for slope in torch.autograd.grad(encoding.curve(torch.tensor(0)).sum(), encoding.parameters()):
        assert bool(slope.isfinite().all())


def test_narrow_parameters_do_not_round_distances():
    encoding = Kerple(2).to(torch.bfloat16)
    encoding.r1.data.fill_(1.0)
    encoding.r2.data.fill_(1.0)
    r = torch.tensor([1000, 1001])
    assert torch.allclose(encoding.curve(r), -torch.log1p(r.float())[:, None], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "n_heads must be"), ((2, "cubic"), "kind must be one of 'log', 'power'; got 'cubic'")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=f"Kerple: {message}"):
        Kerple(*arguments)
