"""Encodings of logits and weights against transformers, with the same weights, in float64.

What the peers gave is stored beside this file (`position_peers.py` writes it), so that parity is
held everywhere; where a peer is installed, it is also asked again, with other weights.
"""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trivium.attention import Attention
from trivium.position import Buckets, Disentangled, Linear, NoPosition, Shaw, TransformerXL

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import position_peers as peers  # noqa: E402

sys.path.pop(0)
pytestmark = pytest.mark.filterwarnings("ignore")
B, N, M, H, D = peers.B, peers.N, peers.M, peers.H, peers.D

ENCODINGS = {
    "t5": lambda: Buckets(H, 8, 16),
    "t5_causal": lambda: Buckets(H, 8, 16, bidirectional=False),
    "bloom": lambda: Linear(H),
    "deberta_v2": lambda: Disentangled(M, peers.WIDER, max_distance=8),
    "deberta_v3": lambda: Disentangled(
        M, peers.WIDER, n_buckets=6, max_distance=15, projections="layer", norm=True
    ),
    "xlnet": lambda: TransformerXL(M, H, bidirectional=True),
    "relative_key": lambda: Shaw(D, N + 2, values=False),
    "relative_key_query": lambda: Shaw(D, N + 2, values=False, keys=True),
    "nezha": lambda: Shaw(D, 5, table="sinusoidal"),
    "transformer_xl": lambda: TransformerXL(M, H),
}
CAUSAL = {"t5_causal", "bloom", "transformer_xl"}
SUMMED = {"xlnet", "transformer_xl"}  # they end in the norm of the sum with their input
# A softmax in float32, sinusoids in float32; the rest agrees to rounding.
NARROW = {"bloom": 1e-6, "nezha": 1e-6, "xlnet": 1e-6}
NAMES = {"table": ("weight", "table.weight")}
CASES = [(version, name) for version, found in peers.PEERS.items() for name in found]


def layer_of(name, given):
    """Return our layer with the peer's weights."""
    position = ENCODINGS[name]()
    heads = peers.WIDER if name.startswith("deberta") else H
    layer = Attention(M, heads, position, causal=name in CAUSAL, bias="q_bias" in given).double()
    with torch.no_grad():
        for kind in ("weight", "bias"):
            if f"q_{kind}" in given:
                joined = torch.cat([given[f"{part}_{kind}"] for part in "qkv"])
                getattr(layer.projection, kind).copy_(joined)
        output = given.get("o_weight", torch.eye(H * D))
        layer.output.weight.copy_(output)
        if layer.output.bias is not None:
            layer.output.bias.copy_(given.get("o_bias", torch.zeros(M)))
        own = dict(position.named_parameters())
        for key, value in given.items():
            if key not in ("x", "out") and key[:2] not in ("q_", "k_", "v_", "o_"):
                found = [alias for alias in NAMES.get(key, (key,)) if alias in own]
                own.pop(found[0]).copy_(value)
    assert not own, f"no weight of the peer for {sorted(own)}"
    return layer


def gap(name, given):
    given = {key: value.double() for key, value in given.items()}
    out = layer_of(name, given)(given["x"])
    if name in SUMMED:
        eps = 1e-12 if name == "xlnet" else 1e-5
        out = torch.nn.functional.layer_norm(out + given["x"], (M,), eps=eps)
    return float((out - given["out"]).detach().abs().max())


def stored(version, name):
    held = load_file(HERE / f"position_peers_{version}.safetensors")
    return {k.split("/")[1]: v for k, v in held.items() if k.split("/")[0] == name}


@pytest.mark.parametrize(("version", "name"), CASES, ids=str)
def test_what_the_peer_gave(version, name):
    assert gap(name, stored(version, name)) <= NARROW.get(name, 1e-12)


@pytest.mark.parametrize(("version", "name"), CASES, ids=str)
def test_the_peer_itself(version, name):
    transformers = pytest.importorskip("transformers")
    if int(transformers.__version__.partition(".")[0]) != version:
        pytest.skip(f"the class is in transformers {version}")
    for seed in (1, 2):
        assert gap(name, peers.drawn(version, name, seed)) <= NARROW.get(name, 1e-12)


@pytest.mark.parametrize(("version", "name"), CASES, ids=str)
def test_without_the_encoding_it_is_another(version, name):
    given = {key: value.double() for key, value in stored(version, name).items()}
    layer = layer_of(name, given)
    layer.position = NoPosition()
    assert not torch.allclose(layer(given["x"]), given["out"], atol=1e-3)
