"""Attention with position encodings as transformers computes it, from drawn weights.

    python tests/parity/position_peers.py 5    # transformers 5
    python tests/parity/position_peers.py 4    # transformers 4.46, which still has four of them

writes what each peer takes and gives to `position_peers_5.safetensors` and
`position_peers_4.safetensors`, so that the test holds where no peer is installed.
"""

import sys
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
B, N, M, H, D = 2, 22, 12, 3, 4
WIDER = 4  # heads of DeBERTa, whose √(3 d) of float32 is then exact


def fill(module, scale=0.4):
    """Draw every parameter in float32, so that a file holds it exactly; compute in float64."""
    module = module.double().eval()
    for value in module.parameters():
        value.data = (torch.randn(value.shape) * scale).double()
    return module


def rows():
    return torch.randn(B, N, M).double()


def mask():
    """What is added to logits: nothing where a query sees a key."""
    seen = torch.ones(N, N, dtype=torch.bool).tril()
    return torch.zeros(N, N).double().masked_fill(~seen, torch.finfo(torch.float64).min)


def linears(q, k, v, o=None):
    found = {}
    for name, layer in zip("qkvo", (q, k, v, o), strict=True):
        if layer is not None:
            found[f"{name}_weight"] = layer.weight
            if layer.bias is not None:
                found[f"{name}_bias"] = layer.bias
    return found


def t5(causal):
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    config = T5Config(
        d_model=M,
        d_kv=D,
        num_heads=H,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        dropout_rate=0.0,
        is_decoder=causal,
    )
    config._attn_implementation = "eager"
    layer, x = fill(T5Attention(config, has_relative_attention_bias=True, layer_idx=0)), rows()
    bias = layer.compute_bias(N, N) + (mask() if causal else 0)
    out = layer(x, position_bias=bias)[0]
    table = {"table": layer.relative_attention_bias.weight}
    return {"x": x, "out": out, **linears(layer.q, layer.k, layer.v, layer.o), **table}


def bloom():
    from transformers import BloomConfig
    from transformers.models.bloom.modeling_bloom import BloomAttention, build_alibi_tensor

    config = BloomConfig(hidden_size=M, n_head=H, hidden_dropout=0.0, attention_dropout=0.0)
    layer, x = fill(BloomAttention(config, layer_idx=0)), rows()
    alibi = build_alibi_tensor(torch.ones(B, N), H, torch.float64)
    out = layer(x, torch.zeros_like(x), alibi, mask().expand(B, 1, N, N))[0]
    fused = layer.query_key_value
    weights = fused.weight.view(H, 3, D, M).transpose(0, 1).reshape(3, H * D, M)
    biases = fused.bias.view(H, 3, D).transpose(0, 1).reshape(3, H * D)
    found = {f"{n}_weight": weights[at] for at, n in enumerate("qkv")}
    found |= {f"{n}_bias": biases[at] for at, n in enumerate("qkv")}
    return {
        "x": x,
        "out": out,
        **found,
        "o_weight": layer.dense.weight,
        "o_bias": layer.dense.bias,
    }


def deberta(version):
    from transformers import DebertaV2Config
    from transformers.models.deberta_v2.modeling_deberta_v2 import (
        DebertaV2Encoder,
        DisentangledSelfAttention,
    )

    kinds = {
        2: {"position_buckets": -1, "share_att_key": False, "norm_rel_ebd": "none"},
        3: {"position_buckets": 6, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    }
    config = DebertaV2Config(
        hidden_size=M,
        num_attention_heads=WIDER,
        num_hidden_layers=1,
        intermediate_size=4,
        relative_attention=True,
        max_relative_positions=8 if version == 2 else 15,
        pos_att_type=["c2p", "p2c"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **kinds[version],
    )
    encoder, layer, x = (
        fill(DebertaV2Encoder(config)),
        fill(DisentangledSelfAttention(config)),
        rows(),
    )
    table = encoder.get_rel_embedding()
    seen = torch.ones(B, 1, N, N)
    at = encoder.get_rel_pos(x)
    out = layer(x, seen, relative_pos=at, rel_embeddings=table)[0]
    found = {"table": encoder.rel_embeddings.weight}
    if version == 2:
        own = {"key_projection": layer.pos_key_proj, "query_projection": layer.pos_query_proj}
        for name, linear in own.items():
            found |= {f"{name}.weight": linear.weight, f"{name}.bias": linear.bias}
    else:
        found |= {"norm.weight": encoder.LayerNorm.weight, "norm.bias": encoder.LayerNorm.bias}
    return {
        "x": x,
        "out": out,
        **linears(layer.query_proj, layer.key_proj, layer.value_proj),
        **found,
    }


def xlnet():
    from transformers import XLNetConfig, XLNetModel

    config = XLNetConfig(
        vocab_size=4,
        d_model=M,
        n_head=H,
        n_layer=1,
        d_inner=4,
        dropout=0.0,
        attn_type="bi",
        pad_token_id=None,
    )
    model, x = XLNetModel(config).double().eval(), rows()
    layer = fill(model.layer[0].rel_attn)
    torch.nn.init.ones_(layer.layer_norm.weight)
    torch.nn.init.zeros_(layer.layer_norm.bias)
    codes = model.relative_positional_encoding(N, N, bsz=B).double()
    out = layer(x.transpose(0, 1), None, None, None, codes, None)[0].transpose(0, 1)
    found = {f"{name}_weight": getattr(layer, name).flatten(1).mT for name in "qkv"}
    return {
        "x": x,
        "out": out,
        **found,
        "o_weight": layer.o.flatten(1),
        "content": layer.r_w_bias,
        "offset": layer.r_r_bias,
        "weight": layer.r.permute(1, 2, 0),
    }


def transformer_xl():
    from transformers.models.deprecated.transfo_xl.modeling_transfo_xl import (
        PositionalEmbedding,
        RelPartialLearnableMultiHeadAttn,
    )

    layer, x = fill(RelPartialLearnableMultiHeadAttn(H, M, D, 0.0)), rows()
    torch.nn.init.ones_(layer.layer_norm.weight)
    torch.nn.init.zeros_(layer.layer_norm.bias)
    codes = PositionalEmbedding(M).double()
    codes.inv_freq = 10_000 ** -(torch.arange(0, M, 2).double() / M)  # it has them in float32
    codes = codes(torch.arange(N - 1, -1, -1.0).double())
    hidden = torch.ones(N, N, dtype=torch.uint8).triu(1)
    with patch.object(torch.Tensor, "float", torch.Tensor.double):  # it masks in float32
        out = layer(x.transpose(0, 1), codes, attn_mask=hidden[:, :, None])[0].transpose(0, 1)
    q, k, v = layer.qkv_net.weight.chunk(3)
    return {
        "x": x,
        "out": out,
        "q_weight": q,
        "k_weight": k,
        "v_weight": v,
        "o_weight": layer.o_net.weight,
        "content": layer.r_w_bias,
        "offset": layer.r_r_bias,
        "weight": layer.r_net.weight.view(H, D, M),
    }


def bert(kind):
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertSelfAttention

    config = BertConfig(
        hidden_size=M,
        num_attention_heads=H,
        max_position_embeddings=N + 3,
        attention_probs_dropout_prob=0.0,
        position_embedding_type=kind,
    )
    layer, x = fill(BertSelfAttention(config)), rows()
    found = {"key_vectors": layer.distance_embedding.weight}
    return {"x": x, "out": layer(x)[0], **linears(layer.query, layer.key, layer.value), **found}


def nezha():
    from transformers.models.deprecated.nezha import NezhaConfig
    from transformers.models.deprecated.nezha.modeling_nezha import NezhaSelfAttention

    config = NezhaConfig(
        hidden_size=M,
        num_attention_heads=H,
        max_position_embeddings=N,
        max_relative_position=5,
        attention_probs_dropout_prob=0.0,
    )
    layer, x = fill(NezhaSelfAttention(config)), rows()
    return {"x": x, "out": layer(x)[0], **linears(layer.query, layer.key, layer.value)}


PEERS = {
    5: {
        "t5": lambda: t5(causal=False),
        "t5_causal": lambda: t5(causal=True),
        "bloom": bloom,
        "deberta_v2": lambda: deberta(2),
        "deberta_v3": lambda: deberta(3),
        "xlnet": xlnet,
    },
    4: {
        "relative_key": lambda: bert("relative_key"),
        "relative_key_query": lambda: bert("relative_key_query"),
        "nezha": nezha,
        "transformer_xl": transformer_xl,
    },
}


def drawn(version, name, seed=0):
    """Return what a peer takes and gives, from weights drawn with a seed."""
    torch.manual_seed(seed)
    with torch.no_grad():
        return {key: value.detach() for key, value in PEERS[version][name]().items()}


def write(version):
    held = {}
    for name in PEERS[version]:
        for key, value in drawn(version, name).items():
            narrow = value if key == "out" else value.float()  # drawn in float32: exact
            held[f"{name}/{key}"] = narrow.contiguous()
    save_file(held, HERE / f"position_peers_{version}.safetensors")


if __name__ == "__main__":
    write(int(sys.argv[1]))
