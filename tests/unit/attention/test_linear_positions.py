"""Position encodings in linear attention: what acts before φ does, what needs logits is refused."""

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import LinearAttention
from trivium.kernel.spectral import Geometric, cos_sin
from trivium.position import (
    Learned,
    Linear,
    NoPosition,
    Position,
    Shaw,
    Sinusoidal,
    ZeroPadding,
    combine,
)


def rows(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def layers(*positions, **options):
    found = []
    for position in positions:
        torch.manual_seed(0)
        found.append(LinearAttention(8, 2, position=position, **options).double())
    return found


class Turned(Position):
    """Pairs of coordinates turned by their position."""

    def query(self, q, i):
        cos, sin = cos_sin(i, Geometric(100.0).frequencies(q.shape[-1] // 2), q.dtype)
        cos, sin = (x.unsqueeze(-3) if i.ndim == 2 else x for x in (cos, sin))
        a, b = q.chunk(2, -1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    key = query


class Doubled(Turned):
    """Twice as many dimensions: moduli, turned."""

    def query(self, q, i):
        return super().query(torch.cat((q.abs(), torch.zeros_like(q)), -1), i)

    key = query

    def width(self, d):
        return 2 * d


def test_vectors_are_added_to_the_tokens():
    position = Sinusoidal(8)
    plain, layer = layers(None, position)
    x = rows(2, 7, 8)
    assert torch.equal(layer(x), plain(position.embed(x, torch.arange(7))))
    _, state = layer(x[:, :4], layer.start(2, 3), return_state=True)
    found, wanted = layer(x[:, 4:], state), plain(position.embed(x, torch.arange(3, 10)))
    assert (found - wanted[:, 4:]).abs().max() <= 1e-14


def test_turned_keys_see_the_distance_alone():
    """With the identity map a rotation is relative, wherever the row stands."""
    (layer,) = layers(Turned(), feature_map="identity")
    x = rows(2, 7, 8)
    wanted = layer(x)
    for at in (5, 1000):
        assert (layer(x, layer.start(2, at)) - wanted).abs().max() <= 1e-11
    weights = torch.stack(
        [
            layer.position.query(rows(1, 1, 1, 4), torch.tensor([i + at]))
            @ layer.position.key(rows(1, 1, 1, 4, seed=1), torch.tensor([i])).mT
            for i in (0, 50)
            for at in (0, 3)
        ]
    ).flatten()
    assert (weights[:2] - weights[2:]).abs().max() <= 1e-12
    assert (weights[0] - weights[1]).abs() > 1e-3


@pytest.mark.parametrize("feature_map", ["elu1", "taylor2", "favor", "hedgehog"])
def test_maps_fit_queries_of_more_dimensions(feature_map):
    (layer,) = layers(Doubled(), feature_map=feature_map)
    assert layer.width == layer.features.width(8)
    x = rows(2, 6, 8)
    first, state = layer(x[:, :3], return_state=True)
    rest = layer(x[:, 3:], state)
    assert (torch.cat((first, rest), 1) - layer(x)).abs().max() <= 1e-12


def test_padding_is_no_neighbour():
    (layer,) = layers(ZeroPadding(8, 3, 2), causal=False)
    x = rows(2, 7, 8)
    out = layer(x, lengths=[7, 4])
    assert (out[1:, :4] - layer(x[1:, :4])).abs().max() <= 1e-13


def test_a_layer_without_positions_knows_no_order():
    plain, named, ordered = layers(None, NoPosition(), Learned(9, 8), causal=False)
    assert [net.ordered for net in (plain, named, ordered)] == [False, False, True]


@pytest.mark.parametrize(
    ("position", "causal", "message"),
    [
        (Linear(2), True, "tokens, queries and keys only; got Linear, which needs the logits"),
        (Shaw(4, 3), True, "tokens, queries and keys only; got Shaw, which needs the logits"),
        (combine(Sinusoidal(8), Linear(2)), True, "got CombinedOffset, which needs the logits"),
        (ZeroPadding(8), True, "causal must be False with ZeroPadding; got True"),
    ],
    ids=str,
)
def test_what_needs_logits_is_refused(position, causal, message):
    with pytest.raises(ArgumentError, match=message):
        LinearAttention(8, 2, position=position, causal=causal)


def test_what_changes_keys_again_is_refused():
    class Refreshed(Turned):
        refresh = True

    class Weighted(Turned):
        weighted = True

    with pytest.raises(ArgumentError, match="must leave keys as they are; got Refreshed"):
        LinearAttention(8, 2, position=Refreshed())
    with pytest.raises(ArgumentError, match="got Weighted, which needs the weights"):
        LinearAttention(8, 2, position=Weighted())
