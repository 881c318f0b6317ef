"""Several encodings as one: every hook, the flags, the scale, the fast path."""

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import (
    Buckets,
    Contextual,
    Learned,
    Linear,
    NoPosition,
    Offset,
    Polar,
    Position,
    Shaw,
    Sinusoidal,
    TransformerXL,
    ZeroPadding,
    combine,
)

X = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))


class Doubles(Position):
    """Keys and queries twice as large; an embed that adds one; causal only."""

    causal_only = True

    def embed(self, x, i):
        return x + 1

    def query(self, q, i):
        return 2 * q

    def key(self, k, j):
        return 2 * k


class Joins(Position):
    """Remembers the layers that it is told of."""

    def join(self, projection, n_kv_heads):
        self.told = (projection.out_features, n_kv_heads)


class Halves(Doubles):
    causal_only = False
    refresh = True

    def scale(self, d):
        return 0.5


def output(position, causal=True):
    torch.manual_seed(0)
    return Attention(8, 2, position=position, causal=causal)(X)


def test_tokens_queries_and_keys_go_through_each_in_order():
    at = torch.arange(6)
    learned = Learned(6, 8, merge="multiply")
    both = combine(Doubles(), learned)
    assert torch.equal(both.embed(X, at), learned.embed(X + 1, at))
    assert torch.equal(combine(learned, Doubles()).embed(X, at), learned.embed(X, at) + 1)
    assert torch.equal(both.query(X, at), 2 * X)
    assert torch.equal(combine(both, Halves()).key(X, at), 4 * X)


def test_biases_are_summed_on_the_fast_path():
    slopes, buckets = Linear(2), Buckets(2, scaled=True)
    both = combine(slopes, buckets, Sinusoidal(8))
    assert isinstance(both, Offset)
    r = torch.arange(-5, 6)
    assert torch.equal(both.curve(r), slopes.curve(r) + buckets.curve(r))

    class Summed(Position):
        scored = True

        def embed(self, x, i):
            return Sinusoidal(8).embed(x, i)

        def score(self, q, k, i, j, keep):
            return slopes.score(q, k, i, j, keep) + buckets.score(q, k, i, j, keep)

    for causal in (True, False):
        assert (output(both, causal) - output(Summed(), causal)).abs().max() <= 1e-6


def test_vectors_in_keys_and_values_beside_a_bias():
    shaw, slopes = Shaw(4, 3), Linear(2)
    both = combine(shaw, slopes)
    assert not isinstance(both, Offset)
    assert both.weighted
    at, weights = torch.arange(6), torch.rand(2, 2, 6, 6)
    assert torch.equal(both.value(weights, at, at), shaw.value(weights, at, at))
    assert not torch.allclose(output(both), output(shaw))


def test_flags_are_joined():
    both = combine(Learned(8, 8), Doubles())
    assert (both.causal_only, both.refresh, both.scored, both.stationary) == (
        True,
        False,
        False,
        False,
    )
    assert combine(Linear(2), NoPosition()).stationary
    assert combine(Doubles(), Halves()).refresh
    with pytest.raises(ArgumentError, match="causal must be True with Combined"):
        output(both, causal=False)
    with pytest.raises(
        ArgumentError, match=r"one layer; got Doubles for causal .* ZeroPadding for"
    ):
        combine(Doubles(), ZeroPadding(8))


def test_one_scale_for_all():
    assert combine(Learned(8, 8), Buckets(2)).scale(16) == 1
    assert combine(Learned(8, 8), Linear(2)).scale(16) == 0.25
    with pytest.raises(ArgumentError, match=r"got 0\.5 from Halves and 1 from Buckets at dim"):
        combine(Halves(), Linear(2), Buckets(2))


@pytest.mark.parametrize("part", [Shaw(4), Contextual(4), TransformerXL(8, 2)])
def test_terms_of_another_scale_are_refused(part):
    """(q + u) k and q a under one factor: with T5's, which is 1, they would have two."""
    with pytest.raises(ArgumentError, match=r"got 1 from Buckets and 0\.5 from .* at dimension 4"):
        combine(part, Buckets(2))
    with pytest.raises(ArgumentError, match=r"scale of the logits; got .* from Polar and"):
        combine(Polar(4), part)
    assert combine(part, Buckets(2, scaled=True)).scale(4) == 0.5


def test_wider_keys_are_cached_as_they_are():
    both = combine(Polar(4), Linear(2))
    assert both.width(4) == 8
    layer = Attention(8, 2, position=both)
    first, state = layer(X[:, :4], return_state=True)
    assert state.keys.shape == (2, 2, 4, 8)
    assert torch.allclose(torch.cat((first, layer(X[:, 4:], state)), 1), layer(X), atol=1e-6)


def test_few_parts():
    slopes = Linear(2)
    assert combine(slopes) is slopes
    assert type(combine()) is NoPosition
    nested = combine(combine(Learned(8, 8), slopes), Sinusoidal(8))
    assert [type(part).__name__ for part in nested.parts] == ["Learned", "Linear", "Sinusoidal"]
    assert sum(p.numel() for p in nested.parameters()) == 64


def test_parts_are_told_of_the_layer():
    both = combine(Joins(), Linear(4))
    Attention(8, 4, position=both, n_kv_heads=2)
    assert both.parts[0].told == (16, 2)


def test_parts_are_encodings():
    for wrong in ((None,), (Linear(2), "rotary")):
        with pytest.raises(ArgumentError, match="combine: positions must each be a Position; got"):
            combine(*wrong)
