"""Packed rows: what each document gives alone, a row or several at a time."""

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import Learned, packed


def test_one_row():
    keep, positions = packed([2, 3])
    block = torch.block_diag(torch.ones(2, 2), torch.ones(3, 3)).bool()
    assert torch.equal(keep, block[None])
    assert positions.tolist() == [[0, 1, 0, 1, 2]]
    assert (keep.dtype, positions.dtype) == (torch.bool, torch.int64)


@pytest.mark.parametrize("causal", [True, False])
def test_rows_of_several_lengths(causal):
    lengths = [[3, 1, 2], [2, 2]]
    keep, positions = packed(lengths)
    assert positions.tolist() == [[0, 1, 2, 0, 0, 1], [0, 1, 0, 1, 0, 0]]
    layer = Attention(8, 2, position=Learned(4, 8), causal=causal).double()
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    out = layer(x, keep=keep, positions=positions)
    for b, row in enumerate(lengths):
        at = 0
        for n in row:
            alone = layer(x[b : b + 1, at : at + n])
            assert (out[b, at : at + n] - alone[0]).abs().max() <= 1e-14
            at += n
    assert not keep[1, 4:].any()
    assert not keep[1, :, 4:].any()
    assert (out[1, 4:] == 0).all()


def test_tensors_are_lengths_too():
    one, other = packed(torch.tensor([[2, 3], [4, 1]])), packed([[2, 3], [4, 1]])
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("lengths", [[], [[2], []], [2, 0], [[1], [2, -1]], [1.5], 3, ["a"]])
def test_lengths_are_checked(lengths):
    with pytest.raises(ArgumentError, match="packed: lengths must"):
        packed(lengths)
