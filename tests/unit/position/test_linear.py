"""ALiBi against the paper's sequence, and its refusals."""

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.position import Linear


def test_powers_of_two_are_a_geometric_sequence():
    for n_heads in (1, 2, 8, 16):
        wanted = [2 ** (-8 * h / n_heads) for h in range(1, n_heads + 1)]
        assert Linear(n_heads).slopes == tuple(wanted)


def test_other_heads_take_every_second_slope_of_twice_the_power():
    # The published rule for 12 heads: the 8 of eight, then 2^-0.5, 2^-1.5, 2^-2.5, 2^-3.5.
    wanted = [2.0**-h for h in range(1, 9)] + [2 ** -(h + 0.5) for h in range(4)]
    assert Linear(12).slopes == tuple(wanted)
    assert Linear(3).slopes == (2**-4, 2**-8, 2**-2)


def test_the_bias_is_slope_times_distance_both_ways():
    encoding, i, j = Linear(3), torch.arange(5, 9), torch.arange(2, 12)
    q = torch.zeros(1, 3, 4, 2, dtype=torch.float64)
    bias = encoding.score(q, q, i, j, None)
    for head, slope in enumerate(encoding.slopes):
        for a, at in enumerate(i.tolist()):
            for b, key in enumerate(j.tolist()):
                assert bias[head, a, b] == -slope * abs(at - key)


def test_narrow_models_keep_exact_slopes():
    bias = Linear(12).to(torch.bfloat16).curve(torch.tensor([1000]))
    assert torch.equal(bias, Linear(12).curve(torch.tensor([1000])))


@pytest.mark.parametrize("n_heads", [0, -2, 2.5, "two", True])
def test_heads_that_are_none_are_refused(n_heads):
    with pytest.raises(ArgumentError, match="Linear: n_heads must be an integer, positive; got"):
        Linear(n_heads)
