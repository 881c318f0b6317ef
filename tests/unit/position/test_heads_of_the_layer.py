"""Encodings made for other heads than the layer's are refused when the layer is made."""

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import Buckets, Contextual, Disentangled, Linear, Shaw, TransformerXL, Untied


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


def test_one_head_of_an_offset_serves_all():
    x = torch.randn(2, 9, 8)
    for causal in (True, False):
        layer = Attention(8, 2, Buckets(1, 8, 20), causal=causal)
        two = Attention(8, 2, Buckets(2, 8, 20), causal=causal)
        two.load_state_dict(
            {**layer.state_dict(), "position.weight": layer.position.weight.expand(8, 2)}
        )
        assert torch.allclose(layer(x), two(x), atol=1e-6)
