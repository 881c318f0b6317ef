"""Counts against torch's FlopCounterMode and against a recorder of GEMMs, model type by type."""

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from trivium._core.errors import ArgumentError
from trivium.cost import TransformerShape, Workload, verify
from trivium.cost.families import FAMILIES

transformers = pytest.importorskip(
    "transformers", minversion="5.0", reason="counts are held against transformers 5"
)
sys.path.insert(0, str(Path(__file__).parent))
import cost_models as models  # noqa: E402

sys.path.pop(0)
transformers.logging.set_verbosity_error()
pytestmark = pytest.mark.filterwarnings("ignore")

LENGTHS = (1, 7, 16, 37)
BATCHES = (1, 3)
# Its loop over blocks is counted as one product over all of them.
IN_BLOCKS = {"minimax"}
# What these keep has a form of its own: the activations of ESM and Apertus, a mask of MPT, the
# embeddings of XLM-RoBERTa-XL, and the weights of the experts, which `batched_mm` copies for each
# token.
KEPT_OTHERWISE = {
    *("apertus", "esm", "mpt", "xlm-roberta-xl"),
    *IN_BLOCKS,
} | {name for name, sizes in models.MODELS.items() if "num_experts_per_tok" in sizes}
HALF = [
    *("bert", "gpt2", "gpt_neox", "llama", "mistral", "qwen3", "phi", "phi3", "bart", "opt"),
    "modernbert",
]
WRITING = [*models.DECODERS, *models.PAIRS, *models.SPEECH]


@pytest.fixture(scope="module")
def built():
    """Models are built once for all tests of the module."""
    made = {}

    def get(model_type):
        if model_type not in made:
            config, model = models.build(transformers, model_type)
            made[model_type] = (config, model, TransformerShape.from_config(config))
        return made[model_type]

    return get


def asked(model_type, config, n):
    """The lengths of the model and of its encoder for a length asked for."""
    if model_type in models.IMAGES:
        return (config.image_size // config.patch_size) ** 2, None
    return n, n + 3 if model_type in models.PAIRS else None


def loss(out):
    if hasattr(out, "logits"):
        return out.logits.sum()
    pooled = getattr(out, "pooler_output", None)
    return out.last_hidden_state.sum() + (0 if pooled is None else pooled.sum())


def test_every_known_type_is_held_against_torch():
    assert {*models.MODELS} == {*FAMILIES}
    assert len(models.MODELS) >= 20


@pytest.mark.parametrize("model_type", models.MODELS)
def test_forward(built, model_type):
    """FLOPs to the last one, and every component: the GEMMs are the same, shape by shape."""
    config, model, shape = built(model_type)
    for batch in BATCHES:
        for wanted in LENGTHS:
            n, source = asked(model_type, config, wanted)
            recorder = models.Recorder()
            with torch.no_grad(), FlopCounterMode(display=False) as counter, recorder:
                model(**models.inputs(model_type, config, n, batch, source))
            assert shape.table(n, batch, source=source).flops == counter.get_total_flops()
            assert not recorder.unknown
            if model_type not in IN_BLOCKS:
                work = Workload(n, batch, source=source)
                assert models.expected(shape, work) == recorder.gemms


def kept_bytes(model, given):
    """Run forward; return the output and the bytes of the storages kept for the backward pass."""
    known = {t.untyped_storage()._cdata for t in [*model.parameters(), *model.buffers()]}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        # Numbers are kept as tensors of one element where a factor is a Python number.
        if tensor.numel() > 1 and storage._cdata not in known:
            kept[storage._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(**given)
    return out, sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("model_type", models.MODELS)
def test_training(built, model_type):
    """Forward and backward FLOPs, and the bytes that wait for the backward pass."""
    config, model, shape = built(model_type)
    model.train()
    try:
        for batch, wanted in ((2, 13), (1, 6)):
            n, source = asked(model_type, config, wanted)
            given = models.inputs(model_type, config, n, batch, source)
            with FlopCounterMode(display=False) as counter:
                out, kept = kept_bytes(model, given)
                loss(out).backward()
            table = shape.table(n, batch, "train", source=source)
            assert table.flops == counter.get_total_flops()
            if model_type not in KEPT_OTHERWISE and batch > 1:
                assert table.total("saved") == kept
    finally:
        model.eval()
        model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("model_type", HALF)
def test_training_in_bfloat16(model_type):
    """What is kept in float32 whatever the dtype, and what is kept once more for the cast."""
    config, model = models.build(transformers, model_type)
    model = model.to(torch.bfloat16).train()
    n, source = asked(model_type, config, 13)
    _, kept = kept_bytes(model, models.inputs(model_type, config, n, 2, source))
    table = TransformerShape.from_config(config).table(n, 2, "train", source=source, itemsize=2)
    assert table.total("saved") == kept


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "qwen3", "mixtral", "deepseek_v3"])
def test_prefill(built, model_type):
    """The head on the last token of each row, as generation begins."""
    config, model, shape = built(model_type)
    given = models.inputs(model_type, config, 19, 3)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**given, logits_to_keep=1)
    assert shape.table(19, 3, "prefill").flops == counter.get_total_flops()


def step(model, model_type, config, context, batch, source):
    """One token on top of a context in the cache: the counter, the recorder and the cache."""
    given = models.inputs(model_type, config, context, batch, source)
    with torch.no_grad():
        first = model(**given, use_cache=True)
        cache = getattr(first, "cache", None)
        name = "cache" if cache is not None else "past_key_values"
        more = {name: cache if cache is not None else first.past_key_values, "use_cache": True}
        ids = torch.zeros(batch, 1, dtype=torch.long, device="meta")
        if model_type in {**models.PAIRS, **models.SPEECH}:
            states = (first.encoder_last_hidden_state,)
            more |= {"decoder_input_ids": ids, "encoder_outputs": states}
        else:
            more["input_ids"] = ids
        recorder = models.Recorder()
        with FlopCounterMode(display=False) as counter, recorder:
            model(**more)
    return counter.get_total_flops(), recorder.gemms, more[name]


def cached_bytes(cache):
    parts = [getattr(cache, f"{name}_attention_cache", None) for name in ("self", "cross")]
    layers = [layer for part in parts if part is not None for layer in part.layers]
    layers = layers or cache.layers
    return sum(t.numel() * t.element_size() for one in layers for t in (one.keys, one.values))


@pytest.mark.parametrize("model_type", WRITING)
def test_decoding(built, model_type):
    """One token on a context shorter and longer than the window, and what the cache holds."""
    config, model, shape = built(model_type)
    for context, batch in ((5, 2), (21, 1)):
        source = context + 3 if model_type in models.PAIRS else None
        flops, gemms, cache = step(model, model_type, config, context, batch, source)
        table = shape.table(1, batch, "decode", context, source=source)
        assert table.flops == flops
        work = Workload(1, batch, "decode", context, source)
        assert models.expected(shape, work) == gemms
        if model_type not in IN_BLOCKS:
            assert table.total("cache") == cached_bytes(cache)


@pytest.mark.parametrize("n", [5, 16, 17, 37, 48])
def test_training_in_blocks(built, n):
    """Rows of less than a block, of whole blocks, and of some and a rest."""
    config, model, shape = built("minimax")
    with FlopCounterMode(display=False) as counter:
        loss(model.train()(**models.inputs("minimax", config, n, 2))).backward()
    model.eval().zero_grad(set_to_none=True)
    assert shape.table(n, 2, "train").flops == counter.get_total_flops()


def test_a_window_is_reached(built):
    """The decoding test sees windows: the same step costs less in a window than without."""
    _, _, shape = built("mistral")
    full = TransformerShape.from_config({**models.MODELS["mistral"], "model_type": "llama"})
    assert (
        shape.table(1, mode="decode", context=5).flops
        == full.table(1, mode="decode", context=5).flops
    )
    assert (
        shape.table(1, mode="decode", context=21).flops
        < full.table(1, mode="decode", context=21).flops
    )


def test_the_comparison_can_fail(built):
    config, model, shape = built("llama")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**models.inputs("llama", config, 9, 2))
    assert shape.table(9, 2).flops == counter.get_total_flops()
    for field, value in (("num_key_value_heads", 3), ("head_dim", 8), ("vocab_size", 98)):
        wrong = TransformerShape.from_config({**config.to_dict(), field: value})
        assert wrong.table(9, 2).flops != counter.get_total_flops()


def test_configurations_of_every_kind_agree(built, tmp_path):
    config, _, shape = built("qwen3_moe")
    config.save_pretrained(tmp_path)
    for given in (config.to_dict(), tmp_path, tmp_path / "config.json", str(tmp_path)):
        assert TransformerShape.from_config(given).table(9).flops == shape.table(9).flops


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_fused_attention_is_counted_where_torch_counts_nothing(model_type):
    """On a CPU the counter misses both products of fused attention; its formula has them."""
    config = transformers.AutoConfig.for_model(model_type, **models.MODELS[model_type])
    kind = transformers.AutoModel if model_type == "bert" else transformers.AutoModelForCausalLM
    model = kind.from_config(config, attn_implementation="sdpa").eval()
    shape = TransformerShape.from_config(config)
    ids = torch.zeros(2, 11, dtype=torch.long)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids)
    table = shape.table(11, 2, attention="sdpa")
    assert table.flops - table.total("flops", "quadratic") == counter.get_total_flops()
    assert table.flops == shape.table(11, 2).flops
    heads, each = (6, 8) if model_type == "bert" else (6, 10)
    side = (2, heads, 11, each)
    forward = 2 * sdpa_flop_count(side, side, side)
    assert table.total("flops", "quadratic") == forward
    train = shape.table(11, 2, "train", attention="sdpa")
    backward = 2 * sdpa_backward_flop_count(side, side, side, side)
    assert train.total("flops", "quadratic") == forward + backward


@pytest.mark.parametrize("name", ["gpt2", "t5-small", "whisper-tiny", "vit-base-patch16-224"])
def test_bundled_models_verify(name):
    fixed = TransformerShape.from_config(name).tokens
    (found,) = verify(name, [fixed or 33], 2)
    assert found.equal
    assert found.theirs > 0


def test_masked_heads_verify():
    for name in ("bert-base-uncased", "ModernBERT-base"):
        assert verify(name, [9], head="lm")[0].equal
    assert verify("gpt2", [9], head="base")[0].equal


def test_what_transformers_does_not_know():
    config = {**models.MODELS["llama"], "model_type": "vit"}
    with pytest.raises(ArgumentError, match="transformers must know"):
        verify({**config, **models.IMAGE}, [16], head="lm")
