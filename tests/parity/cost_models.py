"""Small models of transformers on the meta device, with sizes that no two fields share."""

from collections import Counter
from math import prod

import torch
from torch.utils._python_dispatch import TorchDispatchMode

SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 116,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
WIDE = {**GROUPED, "head_dim": 10}
GPT = {"vocab_size": 97, "n_embd": 48, "n_layer": 2, "n_head": 6, "n_positions": 64}
ROUTED = {"num_experts_per_tok": 2, "moe_intermediate_size": 34}
LATENT = {
    **SIZES,
    **ROUTED,
    "num_hidden_layers": 3,
    "num_key_value_heads": 6,
    "q_lora_rank": 14,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 6,
    "v_head_dim": 12,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
}
T5 = {
    "vocab_size": 97,
    "d_model": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 6,
    "d_kv": 10,
    "d_ff": 116,
}
BART = {
    "vocab_size": 97,
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 116,
    "decoder_ffn_dim": 92,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    # In training some layers would be left out by chance.
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}
IMAGE = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 116,
    "image_size": 32,
    "patch_size": 8,
}
ENCODERS = {
    "bert": SIZES,
    "roberta": SIZES,
    "xlm-roberta": SIZES,
    "camembert": SIZES,
    "mpnet": SIZES,
    "ernie": SIZES,
    "data2vec-text": SIZES,
    "roberta-prelayernorm": SIZES,
    "xlm-roberta-xl": SIZES,
    "esm": {**SIZES, "position_embedding_type": "absolute"},
    "electra": {**SIZES, "embedding_size": 20},
    "albert": {**SIZES, "embedding_size": 20, "num_hidden_layers": 3},
    "distilbert": {
        "vocab_size": 97,
        "dim": 48,
        "n_layers": 2,
        "n_heads": 6,
        "hidden_dim": 116,
        "max_position_embeddings": 64,
    },
    "modernbert": {**SIZES, "local_attention": 8, "num_hidden_layers": 4},
}
DECODERS = {
    "gpt2": {**GPT, "n_inner": 116},
    "gpt_neo": {
        "vocab_size": 97,
        "hidden_size": 48,
        "num_layers": 2,
        "num_heads": 6,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 64,
        "intermediate_size": 116,
        "window_size": 8,
    },
    "gpt_neox": SIZES,
    "gptj": {**GPT, "rotary_dim": 4},
    "codegen": {**GPT, "n_head": 8, "rotary_dim": 4},
    "gpt_bigcode": {**GPT, "n_inner": 116},
    "opt": {
        "vocab_size": 97,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "ffn_dim": 116,
        "word_embed_proj_dim": 20,
        "max_position_embeddings": 64,
    },
    "bloom": {"vocab_size": 97, "hidden_size": 48, "n_layer": 2, "n_head": 6},
    "mpt": {"vocab_size": 97, "d_model": 48, "n_layers": 2, "n_heads": 6, "max_seq_len": 64},
    "falcon": {**SIZES, "ffn_hidden_size": 116, "multi_query": True},
    "llama": WIDE,
    "mistral": {**WIDE, "sliding_window": 8},
    "ministral": {**WIDE, "sliding_window": 8},
    "qwen2": GROUPED,
    "qwen3": WIDE,
    "gemma": WIDE,
    "gemma2": {**WIDE, "sliding_window": 8},
    "gemma3_text": {**WIDE, "sliding_window": 8, "num_hidden_layers": 7},
    "phi": GROUPED,
    "phi3": {**GROUPED, "sliding_window": 8},
    "olmo": GROUPED,
    "olmo2": GROUPED,
    "olmo3": {**GROUPED, "sliding_window": 8, "num_hidden_layers": 5},
    "cohere": GROUPED,
    "cohere2": {**GROUPED, "sliding_window": 8, "num_hidden_layers": 5},
    "granite": GROUPED,
    "helium": {**GROUPED, "head_dim": 8},
    "starcoder2": GROUPED,
    "stablelm": GROUPED,
    "smollm3": GROUPED,
    "glm": WIDE,
    "glm4": WIDE,
    "nemotron": GROUPED,
    "seed_oss": WIDE,
    "ernie4_5": WIDE,
    "exaone4": {
        **GROUPED,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "hunyuan_v1_dense": WIDE,
    "arcee": GROUPED,
    "apertus": GROUPED,
    "mixtral": {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {
        **GROUPED,
        **ROUTED,
        "num_experts": 4,
        "shared_expert_intermediate_size": 52,
        "mlp_only_layers": [0],
    },
    "qwen3_moe": {**WIDE, **ROUTED, "num_experts": 4},
    "olmoe": {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {
        **WIDE,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 8,
    },
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "minimax": {**WIDE, "num_local_experts": 4, "num_experts_per_tok": 2, "block_size": 16},
}
PAIRS = {
    "t5": T5,
    "mt5": {**T5, "feed_forward_proj": "gated-gelu"},
    "umt5": {**T5, "feed_forward_proj": "gated-gelu"},
    "bart": BART,
    "mbart": BART,
    "plbart": BART,
    "marian": BART,
    "pegasus": BART,
    "m2m_100": BART,
    "blenderbot": BART,
}
SPEECH = {
    "whisper": {
        **{k: v for k, v in BART.items() if k != "max_position_embeddings"},
        "num_mel_bins": 10,
        "max_source_positions": 32,
        "max_target_positions": 64,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "decoder_start_token_id": 0,
    }
}
IMAGES = {"vit": IMAGE, "deit": IMAGE}
MODELS = {**ENCODERS, **DECODERS, **PAIRS, **SPEECH, **IMAGES}


def build(transformers, model_type, **more):
    """A configuration and its model on the meta device, eager attention, experts as products."""
    config = transformers.AutoConfig.for_model(model_type, **MODELS[model_type], **more)
    kind = (
        transformers.AutoModel
        if model_type in {**ENCODERS, **IMAGES}
        else transformers.AutoModelForSeq2SeqLM
        if model_type in PAIRS
        else transformers.AutoModelForSpeechSeq2Seq
        if model_type in SPEECH
        else transformers.AutoModelForCausalLM
    )
    with torch.device("meta"):
        model = kind.from_config(config, attn_implementation="eager")
    # The loop over experts asks for values, which the meta device does not have.
    if "num_experts_per_tok" in MODELS[model_type]:
        model.set_experts_implementation("batched_mm")
    return config, model.eval()


def inputs(model_type, config, n, batch, source=None):
    """What the model takes: ids, pixels or sound."""
    ids = torch.zeros(batch, n, dtype=torch.long, device="meta")
    if model_type in IMAGES:
        side = config.image_size
        return {"pixel_values": torch.zeros(batch, 3, side, side, device="meta")}
    if model_type in SPEECH:
        frames = 2 * config.max_source_positions
        sound = torch.zeros(batch, config.num_mel_bins, frames, device="meta")
        return {"input_features": sound, "decoder_input_ids": ids}
    if model_type in PAIRS:
        asked = torch.zeros(batch, source or n, dtype=torch.long, device="meta")
        return {"input_ids": asked, "decoder_input_ids": ids}
    return {"input_ids": ids}


def canonical(batch, m, k, n):
    """A GEMM without the freedom that a side of 1, or a batch of 1, leaves."""
    if n == 1 and batch > 1:
        batch, m, n = 1, batch, m
    elif m == 1 and batch > 1:
        batch, m = 1, batch
    return (batch, m, k, n)


class Recorder(TorchDispatchMode):
    """Every GEMM that is dispatched, with its shape, and what no formula is known for."""

    def __init__(self):
        super().__init__()
        self.gemms = Counter()
        self.unknown = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function._overloadpacket.__name__
        if name in ("mm", "addmm", "bmm", "baddbmm"):
            left, right = args[-2:] if name in ("mm", "bmm") else args[1:3]
            batch = left.shape[0] if left.ndim == 3 else 1
            self.gemms[canonical(batch, *left.shape[-2:], right.shape[-1])] += 1
        elif name == "convolution":
            weight = args[1]
            places = out.shape[0] * prod(out.shape[2:])
            self.gemms[canonical(1, places, prod(weight.shape[1:]), weight.shape[0])] += 1
        elif any(part in name for part in ("mm", "mv", "dot", "attention")):
            self.unknown[name] += 1
        return out


def expected(shape, work, attention="eager"):
    """The GEMMs of the components under a workload."""
    found = Counter()
    lengths = work.lengths(shape.prefix, shape.source)
    for part in shape.parts(attention):
        component = part.component
        if component.kind == "elementwise" or (work.mode == "decode" and part.once):
            continue
        inside = lengths
        if component.mask is not None:
            inside = work.under(component.mask, component.stream, lengths)
        dims = component.dims(inside)
        if all(dims):
            found[canonical(*dims)] += part.layers
    return found
