"""T5's buckets against the formula, offset by offset, and their refusals."""

import math

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import Buckets


def by_formula(rho, n, m, bidirectional):
    """Bucket of ρ = j − i as the paper's code has it; the logarithm is nudged past rounding."""
    base = 0
    if bidirectional:
        n //= 2
        base, distance = n * (rho > 0), abs(rho)
    else:
        distance = max(-rho, 0)
    e = n // 2
    if distance < e:
        return base + distance
    far = (n - e) * math.log(distance / e) / math.log(m / e)
    return base + min(n - 1, e + math.floor(far + 1e-9))


@pytest.mark.parametrize(
    ("n", "m", "bidirectional"),
    [
        (32, 128, True),
        (32, 128, False),
        (8, 10, True),
        (7, 30, False),
        (64, 5000, True),
        (2, 2, False),
    ],
)
def test_buckets_are_the_formula(n, m, bidirectional):
    encoding = Buckets(1, n, m, bidirectional=bidirectional)
    r = torch.arange(-3 * m, 3 * m + 1)
    wanted = [by_formula(-x, n, m, bidirectional) for x in r.tolist()]
    assert encoding.bucket(r).tolist() == wanted


def test_many_buckets_are_found_at_once():
    assert Buckets(1, 2000, 10**7).bucket(torch.tensor([10**8])).tolist() == [999]


def test_each_head_reads_its_own_column():
    encoding = Buckets(3, 8, 20)
    i, j = torch.tensor([[0, 4, 30]]), torch.tensor([[2, 0]])
    q = torch.zeros(1, 3, 3, 2)
    bias = encoding.score(q, q, i, j, None)
    for a, at in enumerate(i[0].tolist()):
        for b, key in enumerate(j[0].tolist()):
            row = by_formula(key - at, 8, 20, True)
            assert torch.equal(bias[0, :, a, b], encoding.weight[row])


def test_queries_times_keys_keep_their_factor_on_request_only():
    assert (Buckets(2).scale(16), Buckets(2, scaled=True).scale(16)) == (1.0, 0.25)


def test_the_table_is_drawn_at_the_width_of_the_model():
    torch.manual_seed(0)
    assert Buckets(64, d_model=400).weight.std().item() == pytest.approx(0.05, rel=0.1)


def test_causal_buckets_stand_in_causal_layers_only():
    with pytest.raises(ArgumentError, match="causal must be True with Buckets"):
        Attention(8, 2, position=Buckets(2, bidirectional=False), causal=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_heads": 0}, "n_heads must be"),
        (
            {"n_buckets": 3},
            "n_buckets must be at least 2 a direction, 4 where bidirectional; got 1",
        ),
        ({"n_buckets": 1, "bidirectional": False}, "n_buckets must be at least 2 a direction"),
        ({"max_distance": 8}, "max_distance must be greater than 8, .*; got 8. Or take fewer"),
        ({"max_distance": 1.5}, "max_distance must be an integer"),
        ({"d_model": -1}, "d_model must be"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Buckets(**{"n_heads": 2, **arguments})
