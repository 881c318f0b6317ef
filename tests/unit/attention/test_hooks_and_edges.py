"""Softmax attention where hooks meet: nothing is passed over, and empty or odd rows are rows."""

import pytest
import torch

from trivium import ArgumentError
from trivium._core.errors import ShapeError
from trivium.attention import Attention
from trivium.position import (
    Buckets,
    Disentangled,
    DynamicNTK,
    Linear,
    LongRoPE,
    NoPosition,
    Offset,
    Position,
    Rotary,
    TransformerXL,
    ZeroPadding,
    packed,
)
from trivium.position.rotation import turned


class Ones(Offset):
    """A bias of the offset, and one more in each output."""

    def curve(self, r):
        return -0.1 * r.abs()[..., None].double()

    def value(self, weights, i, j):
        return weights.sum(-1, keepdim=True).expand(*weights.shape[:-1], 4)


class Near(Position):
    """A bias without a declaration."""

    def score(self, q, k, i, j, keep):
        return -1.0 * (i[..., :, None] - j[..., None, :]).abs().to(q.dtype)


def made(*args, **options):
    torch.manual_seed(0)
    return Attention(8, 2, *args, **options).double()


def rows(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_an_offset_keeps_what_it_adds_to_the_output():
    layer, x = made(Ones()), rows(2, 5, 8)
    without = made(Linear(2))
    without.position.slopes = (0.1, 0.1)
    wanted = without(x) + layer.output(torch.ones(8, dtype=torch.float64))
    assert (layer(x) - wanted).abs().max() <= 1e-13
    assert (layer(x) - layer(x, positions=torch.arange(5))).abs().max() <= 1e-13


def test_a_hook_that_is_overridden_is_declared():
    assert (Near.scored, Near.weighted) == (True, False)
    assert (Ones.scored, Ones.weighted) == (True, True)
    assert (NoPosition.scored, NoPosition.weighted) == (False, False)
    layer, x = made(Near()), rows(1, 6, 8)
    other = made(Linear(2))
    other.position.slopes = (1.0, 1.0)
    assert (layer(x) - other(x)).abs().max() <= 1e-13

    class Quiet(Near):
        scored = False

    assert not Quiet.scored
    assert not Quiet().scored


def test_the_next_token_follows_the_positions_given():
    layer, x = made(Buckets(2, d_model=1)), rows(2, 6, 8)
    turning = made(Rotary(4))
    for one in (layer, turning):
        _, state = one(x[:, :5], positions=torch.arange(10, 15), return_state=True)
        assert state.position.tolist() == [15, 15]
        found, state = one.step(x[:, 5], state)
        assert (found - one(x)[:, 5]).abs().max() <= 1e-13
        assert state.position.tolist() == [16, 16]
    at, keep = torch.arange(7, 13), torch.zeros(2, 6, dtype=torch.bool)
    keep[0, 1:4] = True
    _, state = turning(x, keep=keep, positions=at, return_state=True)
    assert state.position.tolist() == [11, 0]
    _, state = turning(x, lengths=[4, 6], positions=at, return_state=True)
    assert state.position.tolist() == [11, 13]
    keep, positions = packed([4, 2])
    _, state = turning(x[:1], keep=keep, positions=positions, return_state=True)
    assert (state.position.tolist(), state.count.tolist()) == ([2], [6])


@pytest.mark.parametrize(
    "scaling", [DynamicNTK(2.0, 4), LongRoPE([1.0, 1.5], [2.0, 4.0], 5, factor=4.0)]
)
def test_positions_given_on_padding_end_no_document(scaling):
    """Keys that change with the length: whatever stands on padding, also between cached tokens."""
    layer, x = made(Rotary(4, scaling=scaling)), rows(2, 9, 8)
    whole = layer(x)[:, -1]
    keep = torch.tensor([[1, 1, 1, 0, 0, 1], [0, 1, 0, 1, 0, 0]], dtype=torch.bool)
    first, at = x.new_zeros(2, 6, 8), torch.zeros(2, 6, dtype=torch.int64)
    for row, n in enumerate((4, 2)):
        first[row, keep[row]], at[row, keep[row]] = x[row, :n], torch.arange(n)
    _, state = layer(first, keep=keep, positions=at, return_state=True)
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    _, state = layer(x[:, :2], state, keep=nothing, positions=[0, 7], return_state=True)
    rest, at = torch.stack((x[0, 2:], x[1, 2:])), torch.arange(2, 9).repeat(2, 1)
    keep = torch.ones(2, 7, dtype=torch.bool)
    keep[0, :2], at[0, :2] = False, 0
    found = layer(rest, state, keep=keep, positions=at)[:, -1]
    assert (found - whole).abs().max() <= 1e-13


@pytest.mark.parametrize(
    "wrong", [torch.tensor([True, False]), "a", torch.tensor([1j]), [2], [[0]]]
)
def test_selection_takes_whole_numbers_only(wrong):
    _, state = made()(rows(2, 3, 8), return_state=True)
    with pytest.raises(ArgumentError, match="select: index must be whole numbers from 0 to 1"):
        state.select(wrong)


def test_selection_reads_bytes_as_numbers():
    _, state = made()(rows(2, 3, 8), return_state=True)
    for dtype in (torch.uint8, torch.int16):
        assert torch.equal(state.select(torch.tensor([1, 1], dtype=dtype)).keys, state.keys[[1, 1]])


def test_a_state_keeps_its_type():
    _, state = made()(rows(2, 3, 8), return_state=True)
    with pytest.raises(ArgumentError, match=r"to: device must be a device; got torch\.float32"):
        state.to(torch.float32)


@pytest.mark.parametrize("position", [None, Linear(2), Rotary(4), ZeroPadding(8)])
def test_rows_without_tokens_and_batches_without_rows(position):
    layer = made(position, causal=not isinstance(position, ZeroPadding))
    x = rows(2, 4, 8)
    out, state = layer(x[:, :0], return_state=True)
    assert (out.shape, len(state), state.count.tolist()) == ((2, 0, 8), 0, [0, 0])
    assert (layer(x, state) - layer(x)).abs().max() <= 1e-13
    out, state = layer(x[:0], return_state=True)
    assert (out.shape, state.keys.shape[0]) == ((0, 4, 8), 0)
    assert layer(x[:0], state).shape == (0, 4, 8)


def test_heads_of_odd_size_turn_in_part():
    torch.manual_seed(0)
    layer, x = Attention(10, 2, Rotary(5, share=0.8)).double(), rows(2, 4, 10)
    q = rows(2, 2, 4, 5)
    angles = layer.position.angles(torch.arange(4))
    found = turned(q, angles.cos(), angles.sin(), "interleaved")
    assert torch.equal(found[..., 4:], q[..., 4:])
    even = turned(q[..., :4], angles.cos(), angles.sin(), "interleaved")
    assert (found[..., :4] - even).abs().max() <= 1e-15
    assert (layer(x) - layer(x, positions=torch.arange(7, 11))).abs().max() <= 1e-13


@pytest.mark.parametrize("position", [TransformerXL(8, 2), Disentangled.examples()[0]])
def test_training_under_autocast(position):
    layer = made(position).float()
    x = rows(2, 5, 8).float()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    out.float().sum().backward()
    slope = layer.projection.weight.grad
    layer.zero_grad()
    wanted = layer(x)
    wanted.sum().backward()
    assert (out - wanted).abs().max() <= 0.03
    assert (slope - layer.projection.weight.grad).abs().max() <= 0.3


@pytest.mark.parametrize("values", [lambda r: r, lambda r: r[..., None].expand(*r.shape, 3)])
@pytest.mark.parametrize("mask", [None, torch.ones(1, 4, 4, dtype=torch.bool).tril()])
def test_a_curve_of_another_shape_is_refused(values, mask):
    class Wrong(Offset):
        def curve(self, r):
            return values(-r.abs().float())

    with pytest.raises(ShapeError, match=r"curve: the result must have the shape \(7, 2\)|\(4, 4"):
        Attention(8, 2, position=Wrong())(torch.randn(1, 4, 8), keep=mask)
