"""Sinusoids by their formula, far away, in every layout and scale."""

import copy
import math

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.kernel.spectral import Geometric, Schedule, Trained, Uniform
from trivium.position import Sinusoidal


def by_hand(places, d, base=10_000.0):
    return [
        [f(k * base ** (-2 * t / d)) for t in range(d // 2) for f in (math.sin, math.cos)]
        for k in places
    ]


def test_values():
    places = [0, 1, 7, 4096, 2**20, -3]
    found = Sinusoidal(6).vectors(torch.tensor(places))
    assert (found - torch.tensor(by_hand(places, 6), dtype=torch.float64)).abs().max() <= 1e-9


def test_layouts_hold_the_same_numbers():
    at = torch.tensor([[3, 5], [0, 9]])
    one, other = (Sinusoidal(8, layout=name).vectors(at) for name in ("interleaved", "half"))
    assert torch.equal(torch.cat((one[..., ::2], one[..., 1::2]), -1), other)


def test_far_positions_in_narrow_layers():
    """In bfloat16 too the encoding is off by its own rounding only, at position 2²⁰."""
    at = torch.tensor([2**20, 2**20 + 1])
    for dtype, tolerance in ((torch.float32, 1e-7), (torch.bfloat16, 4e-3)):
        position = Sinusoidal(8).to(dtype)
        found = position.embed(torch.zeros(1, 2, 8, dtype=dtype), at).double()
        assert (found - Sinusoidal(8).vectors(at)).abs().max() <= tolerance


def test_inner_products_depend_on_the_distance_alone():
    p = Sinusoidal(16, Uniform(0.0, 2.0)).vectors(torch.arange(50))
    gram = p @ p.mT
    for r in range(50):
        diagonal = gram.diagonal(r)
        assert (diagonal - diagonal[0]).abs().max() <= 1e-12


def test_scales():
    x, at = torch.randn(2, 5, 8, dtype=torch.float64), torch.arange(5)
    p = Sinusoidal(8).vectors(at)
    assert torch.equal(Sinusoidal(8).embed(x, at), x + p)
    assert torch.equal(Sinusoidal(8, scale="sqrt").embed(x, at), x * math.sqrt(8) + p)
    learned = Sinusoidal(8, scale="learned").double()
    assert torch.equal(learned.embed(x, at), x + p)
    with torch.no_grad():
        learned.factor.fill_(0.5)
    assert torch.equal(learned.embed(x, at), x + 0.5 * p)
    (slope,) = torch.autograd.grad(learned.embed(x, at).sum(), learned.factor)
    assert slope == pytest.approx(2 * float(p.sum()))


def test_trained_frequencies_learn_and_keep_their_type():
    start = Geometric().frequencies(4)
    position = Sinusoidal(8, Trained(start)).to(torch.bfloat16)
    assert position.frequencies().dtype == torch.float64
    assert torch.equal(position.frequencies(), start)
    assert len(list(position.parameters())) == 1
    position.vectors(torch.arange(4)).sum().backward()
    assert position.schedule.values.grad.abs().min() > 0


def test_a_module_of_ones_own_learns_too():
    class Stretched(torch.nn.Module, Schedule):
        def __init__(self):
            super().__init__()
            self.stretch = torch.nn.Parameter(torch.ones(()))

        def quantile(self, t):
            return self.stretch * 100.0**-t

        @classmethod
        def examples(cls):
            return (cls(),)

    position, at = Sinusoidal(8, Stretched()), torch.arange(5)
    position.schedule.stretch.data.fill_(2.0)
    wanted = Sinusoidal(8, Geometric(100.0)).vectors(2 * at)
    assert (position.vectors(at) - wanted).abs().max() <= 1e-14
    position.vectors(at).sum().backward()
    assert position.schedule.stretch.grad.abs() > 0


def test_nothing_fixed_is_saved_or_rounded():
    position = copy.deepcopy(Sinusoidal(8)).half()
    assert not position.state_dict()
    assert position.frequencies().dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_model": 7}, "d_model must be even; got 7"),
        ({"d_model": 0}, "d_model must be an integer, positive"),
        ({"d_model": 8, "schedule": 10_000}, "schedule must be a trivium.kernel.spectral.Sch"),
        ({"d_model": 8, "layout": "split"}, "layout must be one of 'interleaved', 'half'"),
        ({"d_model": 8, "scale": 2}, "scale must be one of 'learned', 'sqrt'"),
        ({"d_model": 8, "scale": "sqrt", "merge": "multiply"}, "scale must be None or 'learned'"),
    ],
)
def test_guards(arguments, message):
    with pytest.raises(ArgumentError, match=f"Sinusoidal: {message}"):
        Sinusoidal(**arguments)
