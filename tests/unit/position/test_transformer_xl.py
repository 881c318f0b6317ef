"""Transformer-XL against the paper's four terms pair by pair, and the refusals."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import TransformerXL

_spec = importlib.util.spec_from_file_location("loops", Path(__file__).with_name("loops.py"))
loops = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loops)
pair_by_pair = loops.pair_by_pair


def code(r, m):
    angles = [r / 10_000 ** (2 * t / m) for t in range(m // 2)]
    found = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return torch.tensor(found, dtype=torch.float64)


def test_the_terms_of_the_offset_are_the_papers():
    encoding = TransformerXL(6, 2, 4, bidirectional=True).double()
    for value in encoding.parameters():
        torch.nn.init.normal_(value)

    def one(q, k, i, j, head):  # q comes with u added
        own = q - encoding.content[head] + encoding.offset[head]
        return own @ (encoding.weight[head] @ code(i - j, 6)) / 2

    pair_by_pair(encoding, one)


def test_queries_get_u():
    encoding = TransformerXL(8, 2)
    q = torch.randn(1, 2, 3, 4)
    moved = encoding.query(q, torch.arange(3)) - q
    assert torch.allclose(moved, encoding.content[:, None].expand(2, 3, 4), atol=1e-6)


def test_both_directions_are_told_apart():
    encoding = TransformerXL(8, 2, bidirectional=True)
    torch.nn.init.normal_(encoding.weight)
    i = torch.arange(5)
    q = torch.ones(1, 2, 5, 4)
    bias = encoding.score(q, q, i, i, None)
    assert not torch.allclose(bias, bias.mT, atol=1e-2)


def test_a_bidirectional_layer_is_refused_unless_asked_for():
    with pytest.raises(ArgumentError, match="causal must be True with TransformerXL; got False"):
        Attention(8, 2, TransformerXL(8, 2), causal=False)
    Attention(8, 2, TransformerXL(8, 2, bidirectional=True), causal=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7, 1), "d_model must be even, sines and cosines; got 7"),
        ((8, 3), "n_heads must divide d_model, 8; got 3. Or give d_head"),
        ((8, 0), "n_heads must be an integer"),
        ((8, 2, 0), "d_head must be an integer"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=f"TransformerXL: {message}"):
        TransformerXL(*arguments)
