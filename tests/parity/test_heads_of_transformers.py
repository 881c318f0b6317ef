"""H of heads from the weights of transformers' models gives the scores of their own layers."""

from typing import Any

import pytest
import torch

from trivium.sinusoid import hessian

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SIZES: dict[str, dict[str, Any]] = {
    "Bert": {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 8},
    "Roberta": {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 8},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 8},
    "ViT": {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 8},
    "Bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
             "decoder_attention_heads": 4, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8},
    "T5": {"d_model": 16, "num_layers": 2, "num_heads": 4, "d_kv": 4, "d_ff": 8},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 4},
    "GPTNeoX": {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 8},
    "Bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 4},
    "Llama": {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 8,
              "num_key_value_heads": 2},
    "Qwen2": {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 8,
              "num_key_value_heads": 2},
}  # fmt: skip
# Where query and key are layers of their own: their names.
APART = {"Bert": ("query", "key"), "DistilBert": ("q_lin", "k_lin"), "T5": ("q", "k"),
         "Llama": ("q_proj", "k_proj"), "Qwen2": ("q_proj", "k_proj")}  # fmt: skip


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {"vocab_size": 9, **SIZES[name]}
    if "hidden_size" in options and "n_head" not in options:
        options["num_attention_heads"] = 4
    if name == "ViT":
        options = {**options, "image_size": 8, "patch_size": 4}
        options.pop("vocab_size")
    config = getattr(transformers, f"{name}Config")(**options)
    return getattr(transformers, f"{name}Model")(config).eval()


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.filterwarnings("ignore")
def test_every_attention_layer_is_recognised(name: str) -> None:
    found = hessian(build(name))
    layers = {"Bart": 3, "T5": 6}.get(name, 2)  # with those across from decoder to encoder
    assert len(found) == layers
    for each in found.values():
        assert each.shape == (4, 16, 16)
        assert torch.linalg.matrix_rank(each).tolist() == [4] * 4


@pytest.mark.parametrize("name", APART)
@pytest.mark.filterwarnings("ignore")
def test_h_gives_the_scores_of_the_layer(name: str) -> None:
    model = build(name)
    where, h = next(iter(hessian(model).items()))
    layer = model.get_submodule(where)
    x = torch.randn(5, 16)
    q, k = (
        (x @ getattr(layer, each).weight.mT).unflatten(1, (-1, 4)).transpose(0, 1)
        for each in APART[name]
    )
    k = k.repeat_interleave(4 // len(k), 0)
    assert torch.allclose(x @ h @ x.mT, q @ k.mT, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_h_gives_the_scores_of_gpt2() -> None:
    model = build("GPT2")
    h = hessian(model)["h.0.attn"]
    layer = model.get_submodule("h.0.attn")
    x = torch.randn(5, 16)
    q, k, _ = (layer.c_attn(x) - layer.c_attn.bias).split(16, 1)
    q, k = (each.unflatten(1, (4, 4)).transpose(0, 1) for each in (q, k))
    assert torch.allclose(x @ h @ x.mT, q @ k.mT, atol=1e-5)
