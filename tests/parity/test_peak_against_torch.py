"""The most bytes alive at once against a tracker of every tensor, model type by model type."""

import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from trivium.cost import TransformerShape
from trivium.cost.config import known

transformers = pytest.importorskip(
    "transformers", minversion="5.0", reason="peaks are held against transformers 5"
)
sys.path.insert(0, str(Path(__file__).parent))
import cost_models as models  # noqa: E402
from memory_tracker import Tracker  # noqa: E402

sys.path.pop(0)
transformers.logging.set_verbosity_error()
pytestmark = pytest.mark.filterwarnings("ignore")

LENGTHS = (24, 96, 320)
WITHIN = 0.03
ENCODERS = [
    *("bert", "roberta", "xlm-roberta", "camembert", "ernie", "data2vec-text"),
    *("roberta-prelayernorm", "electra", "albert", "distilbert", "modernbert"),
]
WRITERS = [
    *("gpt2", "gpt_neox", "gptj", "opt", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"),
    *("gemma3_text", "phi", "phi3", "olmo", "olmo2", "olmo3", "granite", "helium", "starcoder2"),
    *("stablelm", "smollm3", "glm", "glm4", "nemotron", "seed_oss", "ernie4_5", "exaone4"),
    *("hunyuan_v1_dense", "arcee", "cohere", "cohere2"),
]
PAIRS = ["t5", "mt5", "bart", "mbart", "plbart", "marian", "pegasus", "m2m_100", "blenderbot"]
OTHERS = ["whisper", "vit", "deit"]
EAGER = [*ENCODERS, *WRITERS, *PAIRS, *OTHERS]
# Whisper copies what its kernel returns; T5 adds biases with a gradient, for which torch's kernel
# writes the pairs out; Gemma 2 knows no such kernel; StableLM holds more vectors than the others.
FUSED = [m for m in EAGER if m not in ("whisper", "t5", "mt5", "gemma2", "stablelm")]
DECODING = [
    *("gpt2", "gpt_neox", "opt", "llama", "qwen3", "gemma", "phi", "olmo2", "starcoder2"),
    *("t5", "bart", "marian"),
]
WIDER = {
    *("hidden_size", "head_dim", "n_embd", "dim", "d_model", "d_kv", "embedding_size"),
    *("word_embed_proj_dim", "rotary_dim"),
}
INNER = {
    *("intermediate_size", "n_inner", "hidden_dim", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"),
    *("ffn_dim", "ffn_hidden_size"),
}
LAYERS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"}
LAYERS |= {"encoder_layers", "decoder_layers"}
POSITIONS = {"max_position_embeddings", "n_positions", "max_target_positions"}
WINDOWS = {"sliding_window", "local_attention"}
SET = {
    **dict.fromkeys(INNER, 704),
    **dict.fromkeys(POSITIONS, 600),
    **dict.fromkeys(WINDOWS, 64),
    "vocab_size": 997,
    "image_size": 128,
    "max_source_positions": 200,
}
DROPOUT = ("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "dropout_rate")


def sizes(model_type):
    """Those of the small models, four times as wide, four layers deep."""
    found = {}
    for name, value in models.MODELS[model_type].items():
        new = SET.get(name, value)
        if name in WIDER:
            new = 4 * value
        elif name in LAYERS:
            new = max(value, 4)
        elif name == "layer_types":
            new = 2 * value
        found[name] = new
    return found


def built(model_type, attention, *, cache=False):
    config = transformers.AutoConfig.for_model(model_type, **sizes(model_type))
    config.use_cache = cache
    if attention == "sdpa":
        # With a dropout on the weights torch's kernel for a CPU writes the pairs out.
        for name in DROPOUT:
            if hasattr(config, name):
                setattr(config, name, 0.0)
    model = kind_of(model_type).from_config(config, attn_implementation=attention)
    return config, model, TransformerShape.from_config(config)


def kind_of(model_type):
    if model_type in {**models.ENCODERS, **models.IMAGES}:
        return transformers.AutoModel
    if model_type in models.PAIRS:
        return transformers.AutoModelForSeq2SeqLM
    if model_type in models.SPEECH:
        return transformers.AutoModelForSpeechSeq2Seq
    return transformers.AutoModelForCausalLM


def given(model_type, config, n, batch):
    meta = models.inputs(model_type, config, n, batch)
    return {name: torch.zeros_like(value, device="cpu") for name, value in meta.items()}


def tracked(model, inputs, *, train):
    """The peak of a pass."""
    tracker = Tracker([*model.parameters(), *model.buffers()], inputs)
    model.train(train)
    with torch.set_grad_enabled(train), tracker:
        out = model(**inputs)
        if train:
            pooled = getattr(out, "pooler_output", None)
            loss = out.logits.sum() if hasattr(out, "logits") else out.last_hidden_state.sum()
            (loss if pooled is None else loss + pooled.sum()).backward()
    model.zero_grad(set_to_none=True)
    return tracker.peak


def lengths_of(model_type, config):
    if model_type in models.IMAGES:
        return [(config.image_size // config.patch_size) ** 2]
    return LENGTHS


def held(model_type, attention):
    """Compare forward and training at every length."""
    config, model, shape = built(model_type, attention)
    for n in lengths_of(model_type, config):
        inputs = given(model_type, config, n, 2)
        for mode in ("forward", "train"):
            theirs = tracked(model, inputs, train=mode == "train")
            ours = shape.peak(n, 2, mode, attention=attention)
            assert ours.total == pytest.approx(theirs, rel=WITHIN), (n, mode, ours)


def test_there_are_enough_types():
    assert len(EAGER) >= 17
    assert len(FUSED) >= 17


@pytest.mark.parametrize("model_type", EAGER)
def test_eager(model_type):
    held(model_type, "eager")


@pytest.mark.parametrize("model_type", FUSED)
def test_fused(model_type):
    held(model_type, "sdpa")


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("model_type", DECODING)
def test_decoding(model_type, attention):
    """A prompt into an empty cache, then one token on top of it."""
    config, model, shape = built(model_type, attention, cache=True)
    model.eval()
    pair = model_type in models.PAIRS
    for context in (96, 500):
        inputs = given(model_type, config, context, 2)
        known = [*model.parameters(), *model.buffers()]
        with torch.no_grad(), Tracker(known, inputs) as tracker:
            first = model(**inputs, **({} if pair else {"logits_to_keep": 1}))
        if not pair:
            prefill = shape.peak(context, 2, "prefill", attention=attention)
            assert prefill.total == pytest.approx(tracker.peak, rel=WITHIN), (context, prefill)
        cache = first.past_key_values
        ids = torch.zeros(2, 1, dtype=torch.long)
        more = {"input_ids": ids, "past_key_values": cache}
        if pair:
            states = first.encoder_last_hidden_state
            more = {**more, "decoder_input_ids": ids, "encoder_outputs": (states,)}
            del more["input_ids"]
        parts = [cache.self_attention_cache, cache.cross_attention_cache] if pair else [cache]
        tensors = [[layer.keys, layer.values] for part in parts for layer in part.layers]
        del first, parts
        tracker = Tracker(known, ids, tensors, more.get("encoder_outputs"))
        del tensors
        with torch.no_grad(), tracker:
            model(**more)
        step = shape.peak(1, 2, "decode", context, attention=attention)
        assert step.total == pytest.approx(tracker.peak, rel=WITHIN), (context, step)
        assert step.cache > 0


@pytest.mark.parametrize(
    ("name", "n", "batch"),
    [
        ("bert-base-uncased", 512, 8),
        ("gpt2", 1024, 4),
        ("Llama-3.2-1B", 2048, 1),
        ("Mistral-7B-v0.1", 2048, 1),
        ("t5-base", 512, 4),
    ],
)
def test_models_of_real_size(name, n, batch, monkeypatch):
    """On tensors without memory: the same operators, and up to 74 GB of storages."""
    values = dict(known()[name])
    model_type = values.pop("model_type")
    config = transformers.AutoConfig.for_model(model_type, **values)
    config.use_cache = False
    shape = TransformerShape.from_config(name)
    # Values are not there to be asked whether rows are packed.
    monkeypatch.setattr(transformers.masking_utils, "is_tracing", lambda *_: True)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = kind_of(model_type).from_config(config, attn_implementation="eager")
        inputs = given(model_type, config, n, batch)
        for mode in ("forward", "train"):
            theirs = tracked(model, inputs, train=mode == "train")
            assert shape.peak(n, batch, mode).total == pytest.approx(theirs, rel=WITHIN)


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "mistral", "phi", "bart"])
def test_what_the_fused_kernel_keeps(model_type):
    """Bytes kept for the backward pass under torch's kernel: a window's matrix is among them."""
    config, model, shape = built(model_type, "sdpa")
    model.train()
    known = {t.untyped_storage()._cdata for t in [*model.parameters(), *model.buffers()]}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if tensor.numel() > 1 and storage._cdata not in known:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**given(model_type, config, 96, 2))
    table = shape.table(96, 2, "train", attention="sdpa")
    assert table.total("saved") == sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_the_comparison_can_fail(model_type):
    """A shape with one layer more, or with another vocabulary, is seen."""
    config, model, _ = built(model_type, "eager")
    theirs = tracked(model, given(model_type, config, 96, 2), train=True)
    for name, value in (("num_hidden_layers", 5), ("intermediate_size", 900)):
        wrong = TransformerShape.from_config({**config.to_dict(), name: value})
        assert wrong.peak(96, 2, "train").total != pytest.approx(theirs, rel=WITHIN)
