"""DeBERTa's terms against loops over pairs, its buckets, sharing, and the refusals."""

import copy
import importlib.util
import math
from pathlib import Path

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import Disentangled

_spec = importlib.util.spec_from_file_location("loops", Path(__file__).with_name("loops.py"))
loops = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loops)
pair_by_pair = loops.pair_by_pair


def place(r, span, n_buckets, far):
    """Place of an offset as the published code has it; the logarithm is nudged past rounding."""
    if n_buckets is not None and abs(r) > n_buckets // 2:
        half = n_buckets // 2
        log = math.log(abs(r) / half) / math.log((far - 1) / half) * (half - 1)
        r = int(math.copysign(half + math.ceil(log - 1e-9), r))
    return max(0, min(2 * span - 1, r + span))


@pytest.mark.parametrize(("n", "far"), [(None, 9), (8, 20), (7, 30), (4, 9), (256, 512)])
def test_places_are_the_published_ones(n, far):
    encoding = Disentangled(8, 2, max_distance=far, n_buckets=n)
    r = list(range(-3 * far, 3 * far + 1))
    wanted = [place(x, n or far, n, far) for x in r]
    assert encoding.places(torch.tensor(r)).tolist() == wanted


@pytest.mark.parametrize("terms", [("c2p", "p2c"), ("c2p",), ("p2c",)])
@pytest.mark.parametrize(("n", "far"), [(None, 50), (6, 40)])
def test_terms_are_the_codes(terms, n, far):
    encoding = Disentangled(6, 2, 4, max_distance=far, n_buckets=n, terms=terms, norm=True)
    encoding = encoding.double()
    for value in encoding.parameters():
        torch.nn.init.normal_(value, std=0.5)
    rows = encoding.norm(encoding.table.weight)

    def one(q, k, i, j, head):
        row = rows[place(i - j, encoding.span, n, far)]  # of i − j in both terms
        total = 0.0
        if "c2p" in terms:
            total += q @ encoding.key_projection(row).view(2, 4)[head]
        if "p2c" in terms:
            total += k @ encoding.query_projection(row).view(2, 4)[head]
        return total / math.sqrt(4 * (1 + len(terms)))

    pair_by_pair(encoding, one)
    assert encoding.scale(4) == (4 * (1 + len(terms))) ** -0.5


def test_projections_of_the_layer_are_its_own():
    shared = Attention(
        8, 2, Disentangled(8, 2, max_distance=5, projections="layer"), causal=False, bias=True
    )
    own = Attention(8, 2, Disentangled(8, 2, max_distance=5), causal=False, bias=True)
    own.load_state_dict(shared.state_dict(), strict=False)
    weight, bias = shared.projection.weight, shared.projection.bias
    for name, rows in (("query_projection", slice(8)), ("key_projection", slice(8, 16))):
        linear = own.position.get_submodule(name)
        linear.weight.data.copy_(weight[rows])
        linear.bias.data.copy_(bias[rows])
    x = torch.randn(2, 6, 8)
    assert torch.allclose(shared(x), own(x), atol=1e-6)
    assert not any("projection" in name for name in shared.position.state_dict())


def test_a_copy_of_a_layer_shares_its_own_projection():
    layer = Attention(8, 2, Disentangled(8, 2, max_distance=5, projections="layer"))
    twin = copy.deepcopy(layer)
    torch.nn.init.normal_(twin.projection.weight)
    assert twin.position._layer[0] is twin.projection
    x = torch.randn(1, 4, 8)
    assert not torch.allclose(layer(x), twin(x))


def test_layers_share_a_table():
    first = Disentangled(8, 2, max_distance=5, norm=True, projections="layer")
    second = Disentangled(8, 2, max_distance=5, projections="layer", table_of=first)
    layers = torch.nn.ModuleList([Attention(8, 2, first), Attention(8, 2, second)])
    assert second.table is first.table
    assert second.norm is first.norm
    names = [name for name, _ in layers.named_parameters()]
    assert sum("table" in name for name in names) == 1


def test_a_second_layer_is_refused():
    encoding = Disentangled(8, 2, max_distance=5, projections="layer")
    Attention(8, 2, encoding)
    with pytest.raises(ArgumentError, match=r"projections must be of one layer; .* table_of="):
        Attention(8, 2, encoding)


@pytest.mark.parametrize(("width", "n_kv_heads"), [(8, 1), (6, 2)])
def test_a_layer_that_does_not_fit_is_refused(width, n_kv_heads):
    encoding = Disentangled(width, 2, 4, max_distance=5, projections="layer")
    wanted = f"projections of the layer must be from {width} to 2 heads of 4"
    with pytest.raises(ArgumentError, match=wanted):
        Attention(8, 2, encoding, n_kv_heads=n_kv_heads)


def test_no_layer_is_refused():
    encoding, i = Disentangled(8, 2, max_distance=5, projections="layer"), torch.arange(3)
    with pytest.raises(ArgumentError, match="must be those of a layer; got no layer"):
        encoding.score(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), i, i, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_heads": 3}, "n_heads must divide d_model, 8; got 3"),
        ({"d_head": 0}, "d_head must be"),
        ({"max_distance": 0}, "max_distance must be"),
        ({"terms": ()}, "terms must be some of 'c2p', 'p2c'; got"),
        ({"terms": ("p2p",)}, "terms must be some of"),
        ({"terms": "c2p"}, "terms must be some of"),
        ({"projections": "mine"}, "projections must be one of 'own', 'layer'"),
        ({"n_buckets": 3}, "n_buckets must be at least 4; got 3"),
        ({"n_buckets": 8, "max_distance": 5}, "max_distance must be greater than 5, .*; got 5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=f"Disentangled: {message}"):
        Disentangled(**{"d_model": 8, "n_heads": 2, **arguments})


def test_a_table_of_another_size_is_refused():
    with pytest.raises(ArgumentError, match=r"table of the shape \(12, 8\); got \(10, 8\)"):
        Disentangled(8, 2, max_distance=6, table_of=Disentangled(8, 2, max_distance=5))
