"""Sandwich against the inner products of the published listing, and the refusals."""

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.position import Sandwich


@pytest.mark.parametrize(("n_heads", "d_code"), [(12, 128), (3, 2)])
def test_the_bias_is_inner_products_of_codes_less_that_of_a_code_with_itself(n_heads, d_code):
    n = 300
    at = np.arange(n)[:, None] / 10_000 ** (2 * np.arange(d_code // 2) / d_code)
    codes = np.concatenate((np.sin(at), np.cos(at)), 1)
    products = codes @ codes.T - d_code / 2
    bias = Sandwich(n_heads, d_code).score(
        torch.zeros(1, n_heads, n, 2, dtype=torch.float64),
        torch.zeros(0),
        torch.arange(n),
        torch.arange(n),
        None,
    )
    for head in range(n_heads):
        compressed = products / (8 * (head + 1) / n_heads)
        assert np.abs(bias[head].numpy() - compressed).max() <= 1e-9
    assert bool((bias.diagonal(dim1=1, dim2=2) == 0).all())


@pytest.mark.parametrize(
    ("arguments", "message"), [((0,), "n_heads must be"), ((2, 7), "d_code must be even; got 7")]
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=f"Sandwich: {message}"):
        Sandwich(*arguments)
