"""The path of biases by offset: values, gradients of every order, faint weights, who takes it."""

import sys

import pytest
import torch

from trivium.attention import Attention
from trivium.attention.offset_path import fits_offset_path, offset_attention
from trivium.position import Offset

SIZES = [(300, 300), (7, 150), (150, 400), (1, 9), (530, 541)]


def _heads(n, t, d=16, dtype=torch.float64):
    generator = torch.Generator().manual_seed(n + t)
    shapes = [(3, 2, n, d), (3, 2, t, d), (3, 2, t, d), (2, n + t - 1)]
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]


def _dense(q, k, v, table, causal, scale):
    n, t = q.shape[2], k.shape[2]
    bias = torch.stack([table[:, a : a + t].flip(-1) for a in range(n)], 1)
    logits = scale * q @ k.mT + bias
    if causal:
        logits = logits.masked_fill(~torch.ones(n, t, dtype=torch.bool).tril(t - n), -torch.inf)
    return logits.softmax(-1) @ v


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("n", "t"), SIZES)
def test_values_and_gradients_are_those_of_the_matrix(n, t, causal, learned):
    heads = _heads(n, t)
    asked = heads if learned else heads[:3]  # a table that learns has a backward pass of its own
    heads[3].requires_grad_(learned)
    found = offset_attention(*heads, causal=causal, scale=0.3)
    wanted = _dense(*heads, causal, 0.3)
    assert (found - wanted).abs().max() <= 1e-13
    slope = torch.randn_like(wanted)
    pairs = zip(
        torch.autograd.grad(found, asked, slope),
        torch.autograd.grad(wanted, asked, slope),
        strict=True,
    )
    assert all((ours - theirs).abs().max() <= 1e-12 for ours, theirs in pairs)


@pytest.mark.parametrize("learned", [True, False])
def test_second_derivatives(learned):
    heads = _heads(3, 4, d=2)
    heads[3].requires_grad_(learned)
    assert torch.autograd.gradgradcheck(
        lambda *x: offset_attention(*x, causal=True, scale=0.3), heads
    )


@pytest.mark.parametrize("learned", [True, False])
def test_a_slope_of_any_strides(learned):
    heads = _heads(300, 300)
    heads[3].requires_grad_(learned)
    found = offset_attention(*heads, causal=True, scale=0.3)
    wanted = _dense(*heads, True, 0.3)
    for slope in (torch.ones(()).double().expand_as(wanted), torch.randn_like(wanted.mT).mT):
        ours = torch.autograd.grad(found, heads[:3], slope, retain_graph=True)
        theirs = torch.autograd.grad(wanted, heads[:3], slope, retain_graph=True)
        assert all((a - b).abs().max() <= 1e-12 for a, b in zip(ours, theirs, strict=True))


def test_only_what_is_asked_for_gets_a_gradient():
    q, k, v, table = _heads(20, 20)
    out = offset_attention(q, k.detach(), v, table.detach(), causal=True, scale=0.3)
    (slope,) = torch.autograd.grad(out.sin().sum(), q)
    wanted = _dense(q, k.detach(), v, table.detach(), True, 0.3)
    (known,) = torch.autograd.grad(wanted.sin().sum(), q)
    assert (slope - known).abs().max() <= 1e-13


@pytest.mark.parametrize("learned", [True, False])
def test_faint_weights_are_left_out_and_nothing_changes(learned):
    q, k, v, _ = _heads(400, 400, d=8)
    table = -0.5 * torch.arange(-399, 400, dtype=torch.float64).abs().repeat(2, 1)
    table.requires_grad_(learned)
    found = offset_attention(q, k, v, table, causal=False, scale=0.3)
    wanted = _dense(q, k, v, table, False, 0.3)
    assert (found - wanted).abs().max() <= 1e-14
    ours = torch.autograd.grad(found.sin().sum(), (q, k, v))
    theirs = torch.autograd.grad(wanted.sin().sum(), (q, k, v))
    assert all((a - b).abs().max() <= 1e-13 for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_the_processor_is_left_as_it_was(before, learned):
    heads = _heads(7, 7)
    heads[3].requires_grad_(learned)
    half = torch.tensor(sys.float_info.min, dtype=torch.float64)
    if not torch.set_flush_denormal(before):
        pytest.skip("this processor cannot flush")
    try:
        out = offset_attention(*heads, causal=True, scale=0.3)
        assert bool(half * 0.5 == 0) is before
        torch.autograd.grad(out.sum(), heads[:3])
        assert bool(half * 0.5 == 0) is before
    finally:
        torch.set_flush_denormal(False)


class Steep(Offset):
    """Near keys only, by a learned slope."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor([0.5, 0.1]))

    def curve(self, r):
        return -r.abs()[..., None] * self.slope


@pytest.mark.parametrize("causal", [True, False])
def test_the_layer_gives_the_same_on_both_paths(causal):
    torch.manual_seed(0)
    layer = Attention(8, 2, position=Steep(), causal=causal).double()
    x = torch.randn(2, 200, 8, dtype=torch.float64)
    everything = torch.ones(1, 200, 200, dtype=torch.bool)
    assert (layer(x) - layer(x, keep=everything)).abs().max() <= 1e-13  # a mask: the other path


class Crossed(Steep):
    """Queries and keys that come with their features far apart in memory."""

    def query(self, q, i):
        return q.mT.contiguous().mT

    key = query


@pytest.mark.parametrize("causal", [True, False])
def test_heads_that_are_laid_out_otherwise(causal):
    torch.manual_seed(0)
    layer = Attention(8, 2, position=Crossed(), causal=causal).double()
    plain = Attention(8, 2, position=Steep(), causal=causal).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 30, 8, dtype=torch.float64)
    assert (layer(x) - plain(x)).abs().max() <= 1e-13


def test_who_takes_the_path():
    q, k, v, _ = _heads(4, 4)
    assert fits_offset_path(q, k, v, 0.0)
    assert not fits_offset_path(q, k, v, 0.1)
    assert not fits_offset_path(q, k, v[..., :3], 0.0)
    assert not fits_offset_path(q.mT.contiguous().mT, k, v, 0.0)  # the kernel reads rows
    assert not fits_offset_path(q.bfloat16(), k.bfloat16(), v.bfloat16(), 0.0)
