"""TUPE against its formula pair by pair, the reset of the first token, and the refusals."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import Buckets, NoPosition, Untied

_spec = importlib.util.spec_from_file_location("loops", Path(__file__).with_name("loops.py"))
loops = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loops)
pair_by_pair = loops.pair_by_pair


@pytest.mark.parametrize(("cls", "relative"), [(True, True), (False, True), (True, False)])
def test_positions_add_what_the_paper_says(cls, relative):
    bias = Buckets(2, 8, 20) if relative else None
    encoding = Untied(6, 2, 4, max_length=90, cls=cls, relative=bias).double()
    for value in encoding.parameters():
        torch.nn.init.normal_(value)

    def one(q, k, i, j, head):
        if cls and i == 0:
            return encoding.from_cls[head]
        if cls and j == 0:
            return encoding.to_cls[head]
        p, r = encoding.norm(encoding.table[i]), encoding.norm(encoding.table[j])
        total = (encoding.by_query[head] @ p) @ (encoding.by_key[head] @ r) / math.sqrt(2 * 4)
        return total + (bias.curve(torch.tensor(i - j))[head] if relative else 0)

    pair_by_pair(encoding, one, n=70, t=70, first=0)


def test_queries_times_keys_share_the_scale():
    assert Untied(8, 2).scale(4) == 8**-0.5


def test_causal_buckets_make_it_causal():
    causal = Untied(8, 2, relative=Buckets(2, bidirectional=False))
    with pytest.raises(ArgumentError, match="causal must be True with Untied"):
        Attention(8, 2, causal, causal=False)


@pytest.mark.parametrize(
    ("positions", "value"), [(torch.arange(3, 7), 6), (torch.arange(-1, 3), -1)]
)
def test_positions_outside_the_table_are_refused(positions, value):
    layer = Attention(8, 2, Untied(8, 2, max_length=6))
    message = f"positions must be from 0 to 5, the rows of its table; got {value}. Raise max_length"
    with pytest.raises(ArgumentError, match=message):
        layer(torch.randn(1, 4, 8), positions=positions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_heads": 3}, "n_heads must divide d_model, 8; got 3"),
        ({"max_length": 0}, "max_length must be"),
        ({"d_head": -1}, "d_head must be"),
        ({"relative": NoPosition()}, r"relative must be an Offset; got NoPosition\(\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=f"Untied: {message}"):
        Untied(**{"d_model": 8, "n_heads": 2, **arguments})
