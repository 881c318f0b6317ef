"""Configurations that cannot be used: each error names the field and the value."""

import json

import pytest

from trivium._core.errors import ArgumentError, DataError, MissingExtraError
from trivium.cost import TransformerShape, verify
from trivium.cost.config import known

LLAMA = known()["Llama-3.2-1B"]
BERT = known()["bert-base-uncased"]


def shape(config, **more):
    return TransformerShape.from_config({**config, **more})


@pytest.mark.parametrize(
    ("base", "field", "value", "said"),
    [
        (LLAMA, "hidden_size", -1, "hidden_size must be from 1 to 16,777,216; got -1"),
        (LLAMA, "hidden_size", 0, "got 0"),
        (LLAMA, "hidden_size", 10**30, "hidden_size must be from 1"),
        (LLAMA, "hidden_size", 768.0, "hidden_size must be an integer; got 768.0"),
        (LLAMA, "hidden_size", True, "must be an integer; got True"),
        (LLAMA, "hidden_size", "768", "must be an integer; got '768'"),
        (LLAMA, "hidden_size", None, "hidden_size must be given; it is missing"),
        (LLAMA, "vocab_size", None, "vocab_size must be given"),
        (LLAMA, "num_key_value_heads", 5, "num_key_value_heads must divide num_attention_heads"),
        (LLAMA, "layer_types", ["full_attention"], "an entry for each of 16 layers; got 1"),
        (LLAMA, "layer_types", ["mamba"] * 16, "be among full_attention; got 'mamba'"),
        (LLAMA, "layer_types", 3, "be a list of words"),
        (LLAMA, "sliding_window", -4, "sliding_window must be from 1"),
        (LLAMA, "use_sliding_window", "no", "be true or false"),
        (LLAMA, "attention_dropout", 1.5, "be a number from 0 to 1"),
        (LLAMA, "hidden_act", 3, "hidden_act must be text"),
        (LLAMA, "partial_rotary_factor", 2.0, "above 0, at most 1"),
        (LLAMA, "model_type", 3, "model_type must be one of"),
        (LLAMA, "model_type", None, "model_type must be one of"),
        (BERT, "num_attention_heads", 7, "num_attention_heads must divide hidden_size"),
        (known()["gpt2"], "n_head", 7, "num_attention_heads must divide"),
        (known()["pythia-160m"], "rotary_pct", 0, "above 0, at most 1"),
        (known()["gpt-neo-125m"], "attention_types", [["global"]], "a list of"),
        (known()["gpt-neo-125m"], "attention_types", [[["far"], 12]], "global or local"),
        (known()["falcon-7b"], "num_kv_heads", 5, "must divide"),
        (known()["ModernBERT-base"], "layer_types", ["linear"] * 22, "be among"),
        (known()["Mixtral-8x7B-v0.1"], "num_experts_per_tok", 9, "at most the 8 experts"),
        (known()["DeepSeek-V3"], "num_experts_per_tok", 999, "at most the 256 experts"),
        (known()["Qwen1.5-MoE-A2.7B"], "mlp_only_layers", "all", "be a list of layers"),
        (known()["MiniMax-Text-01-hf"], "layer_types", ["mamba"] * 80, "be among"),
        (known()["vit-base-patch16-224"], "image_size", [1, 2, 3], "one side or two"),
        (known()["vit-base-patch16-224"], "patch_size", 15, "patch_size must divide image_size"),
        (known()["bart-base"], "encoder_attention_heads", 5, "must divide d_model"),
    ],
)
def test_fields_that_break_their_rule(base, field, value, said):
    more = {"new_decoder_architecture": True} if field == "num_kv_heads" else {}
    with pytest.raises(ArgumentError, match=r"TransformerShape\.from_config: ") as error:
        shape(base, **more, **{field: value})
    assert said in str(error.value)


def test_missing_groups_where_no_default_is_safe():
    config = {k: v for k, v in known()["Mistral-7B-v0.1"].items() if k != "num_key_value_heads"}
    with pytest.raises(ArgumentError, match="num_key_value_heads must be given"):
        TransformerShape.from_config(config)


@pytest.mark.parametrize(
    ("model_type", "near"), [("llama4_text", "llama"), ("qwen3_next", "qwen3"), ("t6", "t5")]
)
def test_an_unknown_type_names_the_nearest(model_type, near):
    with pytest.raises(ArgumentError, match=f"The nearest known family is {near}") as error:
        shape(LLAMA, model_type=model_type)
    assert repr(model_type) in str(error.value)


def test_unknown_names():
    with pytest.raises(ArgumentError, match="bert-base-uncased"):
        TransformerShape.from_config("bert-base-uncase")
    with pytest.raises(ArgumentError, match="a bundled name or an existing file"):
        TransformerShape.from_config("zzzzzzzz")
    with pytest.raises(ArgumentError, match="got int"):
        TransformerShape.from_config(3)
    with pytest.raises(ArgumentError, match="head must be lm or base"):
        TransformerShape.from_config("gpt2", head="pooled")
    assert TransformerShape.from_config("google-bert/bert-base-uncased").table(9).flops
    assert "gpt2" in TransformerShape.names()


@pytest.mark.parametrize("text", ["", "{", "[1]", "nul", "[" * 100_000])
def test_files_that_are_no_configuration(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        TransformerShape.from_config(path)
    assert error.value.code == "E-CONFIG"
    assert str(path) in str(error.value)


def test_a_file_and_its_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    for given in (tmp_path, tmp_path / "config.json"):
        assert TransformerShape.from_config(given).table(9).flops == shape(LLAMA).table(9).flops


@pytest.mark.parametrize(
    "arguments",
    [
        {"n": 0},
        {"n": -5},
        {"n": 2**31},
        {"n": 1.5},
        {"n": True},
        {"n": None},
        {"n": 9, "batch": 0},
        {"n": 9, "mode": "backward"},
        {"n": 9, "count": "all"},
        {"n": 9, "itemsize": 3},
        {"n": 9, "mode": "decode"},
        {"n": 9, "mode": "decode", "context": -1},
        {"n": 9, "context": 4},
        {"n": 9, "mode": "train", "context": 4},
        {"n": 9, "source": 4},
        {"n": 9, "attention": "flash3"},
    ],
)
def test_passes_that_break_their_rule(arguments):
    with pytest.raises(ArgumentError):
        shape(LLAMA).table(**arguments)


def test_passes_that_do_not_fit_the_model():
    with pytest.raises(ArgumentError, match="does not write"):
        shape(BERT).table(9, mode="decode", context=3)
    with pytest.raises(ArgumentError, match="the 196 patches"):
        TransformerShape.from_config("vit-base-patch16-224").table(9)
    with pytest.raises(ArgumentError, match="the 1500 tokens"):
        TransformerShape.from_config("whisper-tiny").table(9, source=3)
    with pytest.raises(ArgumentError, match="source must be an integer"):
        TransformerShape.from_config("t5-small").table(9, source=0)


def test_unknown_parts_and_quantities():
    table = shape(BERT).table(9)
    with pytest.raises(ArgumentError, match="part must be one of attention, rest"):
        table.total("flops", "attn")
    with pytest.raises(ArgumentError, match="quantity must be one of bytes"):
        table.total("joules")
    with pytest.raises(ArgumentError, match="must not be 0"):
        table.share("ffn", "cache")


def test_verify_needs_transformers(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match="transformers must be installed"):
        verify("gpt2", [9])
