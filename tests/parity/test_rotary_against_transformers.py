"""Rotary encodings against the live classes of transformers 5, with the same weights."""

import pytest
import torch

from trivium.attention import Attention
from trivium.kernel.spectral import Geometric
from trivium.position import (
    DynamicNTK,
    LinearScaling,
    Llama3,
    LongRoPE,
    Proportional,
    Rotary,
    YaRN,
)

transformers = pytest.importorskip(
    "transformers", minversion="5.0", reason="rotary is held against transformers 5"
)
from transformers.models.gpt_neox import modeling_gpt_neox  # noqa: E402
from transformers.models.llama import modeling_llama  # noqa: E402
from transformers.models.roformer import modeling_roformer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

D, BASE, TRAINED = 16, 500.0, 64
SHORT = [1.0, 1.1, 1.3, 1.7, 2.0, 2.2, 3.0, 4.0]
LONG = [1.5, 2.0, 2.5, 4.0, 6.0, 7.0, 8.0, 9.5]
ORIGINAL = {"original_max_position_embeddings": TRAINED}
KINDS = {
    "default": ({}, None),
    "linear": ({"factor": 4.0}, LinearScaling(4.0)),
    "dynamic": ({"factor": 4.0}, DynamicNTK(4.0, TRAINED)),
    "yarn": ({"factor": 4.0, **ORIGINAL}, YaRN(4.0, TRAINED)),
    "yarn, its own options": (
        {"factor": 8.0, "beta_fast": 6.0, "beta_slow": 2.0, "attention_factor": 1.3, **ORIGINAL},
        YaRN(8.0, TRAINED, fast=6.0, slow=2.0, attention_factor=1.3),
    ),
    "yarn, ends between pairs": (
        {"factor": 8.0, "truncate": False, **ORIGINAL},
        YaRN(8.0, TRAINED, truncate=False),
    ),
    "longrope": (
        {"factor": 4.0, "short_factor": SHORT, "long_factor": LONG, **ORIGINAL},
        LongRoPE(SHORT, LONG, TRAINED, factor=4.0),
    ),
    "llama3": (
        {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL},
        Llama3(8.0, TRAINED),
    ),
    "proportional": (
        {"factor": 2.0, "partial_rotary_factor": 0.5},
        Proportional(0.5, factor=2.0),
    ),
}


def llama(kind, **more):
    given, _ = KINDS[kind]
    config = transformers.LlamaConfig(
        hidden_size=4 * D,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=TRAINED,
        rope_parameters={"rope_type": kind.split(",")[0], "rope_theta": BASE, **given},
        attn_implementation="sdpa",
        **more,
    )
    config._attn_implementation = "sdpa"
    return config


def same_weights(ours, *theirs, output):
    with torch.no_grad():
        ours.projection.weight.copy_(torch.cat([part.weight for part in theirs]))
        ours.output.weight.copy_(output.weight)
        if ours.projection.bias is not None:
            ours.projection.bias.copy_(torch.cat([part.bias for part in theirs]))
            ours.output.bias.copy_(output.bias)


@pytest.mark.parametrize("n", [24, 100])  # below the length trained on, and beyond
@pytest.mark.parametrize("kind", KINDS)
def test_llama_attention_with_every_scaling(kind, n):
    torch.manual_seed(0)
    config = llama(kind)
    theirs = modeling_llama.LlamaAttention(config, 0).double().eval()
    rotary = modeling_llama.LlamaRotaryEmbedding(config)
    encoding = Rotary(D, Geometric(BASE), layout="half", scaling=KINDS[kind][1])
    ours = Attention(4 * D, 4, encoding, n_kv_heads=2).double()
    same_weights(ours, theirs.q_proj, theirs.k_proj, theirs.v_proj, output=theirs.o_proj)
    x, at = torch.randn(2, n, 4 * D, dtype=torch.float64), torch.arange(n)[None]
    with torch.no_grad():
        tables = rotary(x.float(), at)
        wanted, _ = theirs(x, [table.double() for table in tables])
        torch.testing.assert_close(ours(x), wanted, rtol=0, atol=1e-6)
        # With tables of our own, not rounded to float32, all of the rest agrees to the last bits.
        angles = encoding.angles(torch.arange(n))
        angles = torch.cat((angles, angles), -1).expand(1, n, D)
        factor = 1.0 if encoding.scaling is None else encoding.scaling.attention_factor
        exact, _ = theirs(x, (angles.cos() * factor, angles.sin() * factor))
        torch.testing.assert_close(ours(x), exact, rtol=0, atol=1e-12)
    assert factor == pytest.approx(rotary.attention_scaling, rel=1e-12)


@pytest.mark.parametrize("n", [24, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_of_every_scaling(kind, n):
    rotary = modeling_llama.LlamaRotaryEmbedding(llama(kind))
    rotary(torch.zeros(1), torch.arange(n)[None])  # sets what depends on the length
    angles = Rotary(D, Geometric(BASE), scaling=KINDS[kind][1]).angles(torch.arange(n))
    torch.testing.assert_close((angles[1] - angles[0]).float(), rotary.inv_freq, rtol=2e-6, atol=0)


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "llama3"])
def test_scalings_of_a_part_of_the_head(kind):
    _, scaling = KINDS[kind]
    config = llama(kind, head_dim=2 * D)
    config.rope_parameters["partial_rotary_factor"] = 0.5
    rotary = modeling_llama.LlamaRotaryEmbedding(config)
    rotary(torch.zeros(1), torch.arange(90)[None])
    encoding = Rotary(2 * D, Geometric(BASE), scaling=scaling, share=0.5)
    found = encoding.angles(torch.arange(90)).diff(dim=0)[0]
    torch.testing.assert_close(found.float(), rotary.inv_freq, rtol=2e-6, atol=0)


def test_gpt_neox_attention_turns_a_quarter_of_the_head():
    torch.manual_seed(0)
    config = transformers.GPTNeoXConfig(
        hidden_size=4 * D,
        num_attention_heads=4,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 0.25,
        },
    )
    config._attn_implementation = "sdpa"
    theirs = modeling_gpt_neox.GPTNeoXAttention(config, 0).double().eval()
    rotary = modeling_gpt_neox.GPTNeoXRotaryEmbedding(config)
    ours = Attention(4 * D, 4, Rotary(D, layout="half", share=0.25), bias=True).double()
    with torch.no_grad():
        for name in ("weight", "bias"):  # theirs goes head by head: query, key, value of each
            mixed = getattr(theirs.query_key_value, name).unflatten(0, (4, 3, D))
            getattr(ours.projection, name).copy_(mixed.transpose(0, 1).flatten(0, 2))
            getattr(ours.output, name).copy_(getattr(theirs.dense, name))
        x, at = torch.randn(2, 30, 4 * D, dtype=torch.float64), torch.arange(30)[None]
        tables = [table.double() for table in rotary(x.float(), at)]
        wanted, _ = theirs(x, None, position_embeddings=tables)
    torch.testing.assert_close(ours(x), wanted, rtol=0, atol=1e-6)


def test_roformer_attention():
    torch.manual_seed(0)
    config = transformers.RoFormerConfig(
        hidden_size=4 * D, num_attention_heads=4, attention_probs_dropout_prob=0.0
    )
    theirs = modeling_roformer.RoFormerSelfAttention(config).double().eval()
    table = modeling_roformer.RoFormerSinusoidalPositionalEmbedding(40, D)
    table.weight.data = table.create_weight()
    ours = Attention(4 * D, 4, Rotary(D, layout="interleaved"), causal=False, bias=True).double()
    x = torch.randn(2, 30, 4 * D, dtype=torch.float64)
    with torch.no_grad():
        eye = torch.nn.Linear(4 * D, 4 * D).double()
        eye.weight.copy_(torch.eye(4 * D))
        eye.bias.zero_()
        same_weights(ours, theirs.query, theirs.key, theirs.value, output=eye)
        waves = table((2, 30)).double()[None, None]
        wanted = theirs(x, sinusoidal_pos=waves)[0]
    torch.testing.assert_close(ours(x), wanted, rtol=0, atol=1e-6)


def test_another_base_is_caught():
    torch.manual_seed(0)
    rotary = modeling_llama.LlamaRotaryEmbedding(llama("default"))
    angles = Rotary(D, Geometric(BASE * 1.001)).angles(torch.arange(9))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            (angles[1] - angles[0]).float(), rotary.inv_freq, rtol=2e-6, atol=0
        )
