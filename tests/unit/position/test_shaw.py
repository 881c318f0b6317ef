"""Shaw's vectors against loops over pairs, in logits and outputs, and the refusals."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import Shaw

_spec = importlib.util.spec_from_file_location("loops", Path(__file__).with_name("loops.py"))
loops = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loops)
pair_by_pair = loops.pair_by_pair


def clipped(r, k):
    return max(-k, min(k, r)) + k


@pytest.mark.parametrize(("clip", "keys"), [(3, False), (16, False), (60, False), (3, True)])
def test_logits_are_the_papers(clip, keys):
    encoding = Shaw(4, clip, keys=keys).double()

    def one(q, k, i, j, head):
        a = encoding.key_vectors[clipped(i - j, clip)]
        return (q @ a + (k @ a if keys else 0)) / math.sqrt(4)

    pair_by_pair(encoding, one)


def test_outputs_have_the_vectors_of_their_offsets():
    encoding = Shaw(4, 3, d_value=5).double()
    for i, j in (
        (torch.arange(9, 79), torch.arange(4, 79)),
        (torch.tensor([[0, 4, 9, 2], [3, 1, 1, 0]]), torch.tensor([[2, 5, 5], [0, 9, 3]])),
    ):
        n, t = i.shape[-1], j.shape[-1]
        weights = torch.rand(2, 2, n, t, dtype=torch.float64)
        found = encoding.value(weights, i, j)
        for row in range(2):
            for a in range(0, n, 3):
                wanted = torch.zeros(2, 5, dtype=torch.float64)
                for b in range(t):
                    r = int(i.expand(2, n)[row, a] - j.expand(2, t)[row, b])
                    c = encoding.value_vectors[clipped(r, 3)]
                    wanted += weights[row, :, a, b, None] * c
                assert torch.allclose(found[row, :, a], wanted, rtol=0, atol=1e-12)


def test_the_sinusoidal_table_is_nezhas():
    table = Shaw(6, 4, table="sinusoidal").vectors("key", torch.zeros(1, dtype=torch.float64))
    for r in range(-4, 5):
        at = 4 - r  # NEZHA numbers its rows by j − i + K
        for pair in range(3):
            angle = at / 10_000 ** (2 * pair / 6)
            wanted = torch.tensor([math.sin(angle), math.cos(angle)], dtype=torch.float64)
            assert torch.allclose(table[r + 4, 2 * pair : 2 * pair + 2], wanted, rtol=0, atol=1e-14)


def test_without_vectors_of_values_no_weights_are_formed():
    assert not Shaw(4, values=False).weighted
    assert Shaw(4, values=False).value(torch.ones(1, 1, 2, 2), None, None) is None


def test_dropped_weights_drop_their_vectors_too():
    layer = Attention(8, 2, Shaw(4, 2), dropout=1.0)
    assert torch.equal(layer(torch.randn(1, 6, 8)), torch.zeros(1, 6, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_head": 0}, "d_head must be an integer, positive"),
        ({"clip": -1}, "clip must be an integer, positive"),
        ({"d_value": 1.5}, "d_value must be"),
        ({"table": "fourier"}, "table must be one of 'learned', 'sinusoidal'; got 'fourier'"),
        (
            {"table": "sinusoidal", "d_head": 5},
            "d_head must be even with a sinusoidal table; got 5",
        ),
        ({"table": "sinusoidal", "d_value": 6}, "d_value must be d_head, 4, .*; got 6. One table"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Shaw(**{"d_head": 4, **arguments})
