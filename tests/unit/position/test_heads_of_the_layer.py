"""Encodings made for other heads than the layer's are refused when the layer is made."""

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention, LinearAttention
from trivium.position import (
    Buckets,
    ComplexOrder,
    Contextual,
    Disentangled,
    Fire,
    Flow,
    Learned,
    Linear,
    Multiplicative,
    Polar,
    Position,
    Shaw,
    Sinusoidal,
    TransformerXL,
    Untied,
    ZeroPadding,
    combine,
)


class Doubled(Position):
    """Queries and keys twice as wide."""

    def query(self, q, i):
        return torch.cat((q, q), -1)

    def key(self, k, j):
        return torch.cat((k, k), -1)

    def width(self, d):
        return 2 * d


@pytest.mark.parametrize(
    "made",
    [
        lambda: Linear(4),
        lambda: Buckets(3),
        lambda: TransformerXL(8, 4, 4),
        lambda: Untied(8, 4, 4),
        lambda: Disentangled(8, 4, 4, max_distance=5),
    ],
)
def test_other_heads(made):
    with pytest.raises(
        ArgumentError, match=r"position must have the layer's n_heads, 2; got .* wi"
    ):
        Attention(8, 2, made())


@pytest.mark.parametrize("made", [lambda: Shaw(3), lambda: Contextual(3), lambda: Untied(8, 2, 3)])
def test_heads_of_another_dimension(made):
    with pytest.raises(ArgumentError, match=r"layer's d_head, 4; got .* with 3"):
        Attention(8, 2, made())


@pytest.mark.parametrize(
    "made",
    [
        lambda: Learned(9, 6),
        lambda: Learned(9, 1),  # which torch would broadcast
        lambda: Sinusoidal(6),
        lambda: ComplexOrder(2),  # likewise
        lambda: Flow(9, 6),
        lambda: ZeroPadding(6),
        lambda: Multiplicative(Sinusoidal(6)),
        lambda: combine(Sinusoidal(8), Learned(9, 6)),
    ],
)
def test_tokens_of_another_width(made):
    with pytest.raises(ArgumentError, match=r"position must have the layer's d_model, 8; got .* w"):
        Attention(8, 2, made(), causal=False)
    with pytest.raises(ArgumentError, match=r"LinearAttention: position must have the layer's d_m"):
        LinearAttention(8, 2, position=made(), causal=False)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: combine(Sinusoidal(8), Shaw(3)), "d_head, 4; got Shaw with 3"),
        (lambda: combine(Sinusoidal(8), Fire(3)), "n_heads, 2; got Fire with 3"),
        (lambda: combine(Doubled(), Shaw(4)), "d_head, 8; got Shaw with 4"),
        (lambda: combine(Shaw(4, values=False), Doubled()), "d_head, 8; got Shaw with 4"),
        (lambda: combine(TransformerXL(8, 4), Linear(2)), "n_heads, 2; got TransformerXL with 4"),
        (lambda: Shaw(4, d_value=3), "d_value, 4; got Shaw with 3"),
    ],
)
def test_parts_and_values_of_other_sizes(made, message):
    with pytest.raises(ArgumentError, match=f"position must have the layer's {message}"):
        Attention(8, 2, made())


def test_parts_that_fit_what_others_leave():
    x = torch.randn(2, 5, 8)
    for fitting in (combine(Doubled(), Shaw(8, d_value=4)), combine(Polar(4), Linear(1))):
        assert Attention(8, 2, fitting)(x).shape == x.shape
    assert Attention(8, 2, Shaw(4, values=False, d_value=3))(x).shape == x.shape


def test_one_head_of_an_offset_serves_all():
    x = torch.randn(2, 9, 8)
    for causal in (True, False):
        layer = Attention(8, 2, Buckets(1, 8, 20), causal=causal)
        two = Attention(8, 2, Buckets(2, 8, 20), causal=causal)
        two.load_state_dict(
            {**layer.state_dict(), "position.weight": layer.position.weight.expand(8, 2)}
        )
        assert torch.allclose(layer(x), two(x), atol=1e-6)
