"""Zero padding by the definition of a convolution, in rows, packed rows and padded rows."""

import pytest
import torch
from torch import nn

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import NoPosition, ZeroPadding, packed


def rows(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def differing(out):
    middle = out[:, out.shape[1] // 2]
    return ((out - middle[:, None]).abs().amax(-1) > 1e-12).sum(-1).tolist()


@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize(("width", "layers"), [(1, 2), (3, 1), (3, 3), (5, 2), (7, 1)])
def test_ends_reach_as_far_as_the_convolutions(width, layers, depthwise):
    torch.manual_seed(0)
    position = ZeroPadding(4, width, layers, depthwise=depthwise).double()
    same = rows(2, 1, 4).expand(2, 40, 4)
    at = torch.arange(40)
    reached = 2 * layers * (width // 2)
    assert differing(position.embed(same, at)) == [reached] * 2
    assert differing(position.embed(same, at.expand(2, 40))) == [reached] * 2
    for convolution in position.convolutions:
        convolution.padding_mode = "circular"
        convolution._reversed_padding_repeated_twice = [width // 2] * 2
    assert differing(position.embed(same, at)) == [0, 0]


@pytest.mark.parametrize("depthwise", [True, False])
def test_values_by_loops(depthwise):
    position = ZeroPadding(4, 3, 2, depthwise=depthwise).double()
    x = rows(1, 6, 4)
    found = x[0]
    for layer, convolution in enumerate(position.convolutions):
        found = nn.functional.gelu(found) if layer else found
        weight, out = convolution.weight.detach(), []
        for n in range(6):
            total = convolution.bias.detach().clone()
            for tap in range(3):
                if 0 <= n + tap - 1 < 6:
                    token, part = found[n + tap - 1], weight[..., tap]
                    total += part[:, 0] * token if depthwise else part @ token
            out.append(total)
        found = torch.stack(out)
    for at in (torch.arange(6), torch.arange(6)[None] + 3):
        assert (position.embed(x, at)[0] - x[0] - found).abs().max() <= 1e-14


def test_documents_do_not_see_each_other():
    position = ZeroPadding(4, 5, 2).double()
    parts = [rows(1, n, 4, seed=n) for n in (1, 2, 6, 3)]
    _, at = packed([1, 2, 6, 3])
    found = position.embed(torch.cat(parts, 1), at)
    alone = [position.embed(part, torch.arange(part.shape[1])) for part in parts]
    assert (found - torch.cat(alone, 1)).abs().max() <= 1e-14


def test_padding_anywhere_is_no_token():
    """Tokens on both sides of padding are neighbors: a hole changes nothing."""
    layer = Attention(4, 2, position=ZeroPadding(4, 3, 2), causal=False).double()
    x = rows(2, 7, 4)
    keep = torch.ones(2, 7, dtype=torch.bool)
    keep[0, [0, 3]] = keep[1, [5, 6]] = False
    out = layer(x.masked_fill(~keep[..., None], torch.nan), keep=keep)
    for b in range(2):
        alone = layer(x[b : b + 1, keep[b]])
        assert (out[b, keep[b]] - alone[0]).abs().max() <= 1e-13
        assert (out[b, ~keep[b]] == 0).all()


def test_layer_without_convolution_sees_no_order():
    x = rows(1, 8, 4)
    layer = Attention(4, 2, position=ZeroPadding(4), causal=False).double()
    plain = Attention(4, 2, position=NoPosition(), causal=False).double()
    order = torch.arange(8).flip(0).roll(3)
    gaps = [(net(x[:, order]) - net(x)[:, order]).abs().max() for net in (layer, plain)]
    assert gaps[0] > 1e-3
    assert gaps[1] <= 1e-14


def test_guards():
    with pytest.raises(ArgumentError, match="ZeroPadding: width must be odd, as many neighb"):
        ZeroPadding(4, 4)
    with pytest.raises(ArgumentError, match="ZeroPadding: layers must be an integer, positive"):
        ZeroPadding(4, 3, 0)
    with pytest.raises(ArgumentError, match="causal must be False with ZeroPadding; got True"):
        Attention(4, 2, position=ZeroPadding(4))
