"""The counts: by hand, by brute force over the pairs, and between each other."""

import itertools
import subprocess
import sys
import time

import pytest

from trivium._core.errors import ArgumentError
from trivium.cost import TransformerShape, Workload
from trivium.cost.blocks import Block
from trivium.cost.component import GROUPS
from trivium.cost.config import known
from trivium.cost.families import FAMILIES
from trivium.cost.mask import Mask

# Parameters of the published models without tables of embeddings, in millions, as their authors
# or the files of their weights state them.
PUBLISHED = {
    "bert-base-uncased": 86,
    "gpt2": 124,
    "gpt2-xl": 1_558,
    "Llama-2-7b-hf": 6_607,
    "Llama-3.1-8B": 7_505,
    "Mistral-7B-v0.1": 7_110,
    "Mixtral-8x7B-v0.1": 46_570,
    "gemma-2-9b": 9_240,
    "DeepSeek-V3": 670_100,
    "Qwen3-30B-A3B": 30_220,
    "MiniMax-Text-01-hf": 455_000,
    "whisper-large-v3": 1_540,
    "vit-base-patch16-224": 86,
}


def seen(mask, i, j):
    """Whether the query at place i sees the key at place j."""
    if mask.kind == "causal":
        return j <= i and (mask.window is None or i - j < mask.window)
    return mask.window is None or abs(i - j) <= mask.window


@pytest.mark.parametrize("kind", ["full", "causal"])
@pytest.mark.parametrize("window", [None, 1, 2, 3, 5, 40])
def test_needed_pairs_by_brute_force(kind, window):
    mask = Mask(kind, window)
    for queries, context in itertools.product((1, 2, 3, 7, 12), (0, 1, 4, 9)):
        if kind == "full" and context:
            continue
        every = context + queries
        expected = sum(seen(mask, i, j) for i in range(context, every) for j in range(every))
        assert mask.needed(queries, context, every) == expected
        held = mask.held(context)
        assert mask.executed(queries, context, held + queries) == queries * (held + queries)
        # No query sees a key that the cache has dropped.
        assert not any(
            seen(mask, i, j) for i in range(context, every) for j in range(context - held)
        )


def test_a_window_is_positive():
    with pytest.raises(ArgumentError, match="window must be at least 1"):
        Mask("causal", 0)


def test_chunks_by_brute_force():
    mask = Mask("causal", 4, "chunked")
    for n in range(1, 14):
        same = [(i, j) for i in range(n) for j in range(n) if i // 4 == j // 4]
        assert mask.executed(n, 0, n) == len(same)
        assert mask.needed(n, 0, n) == sum(j <= i for i, j in same)


def test_needed_is_causal():
    shape = TransformerShape.from_config("gpt2")
    full, needed = shape.table(64), shape.table(64, count="needed")
    assert needed.total("macs", "quadratic") == 12 * 2 * 768 * (64 * 65 // 2)
    assert full.total("macs", "quadratic") == 12 * 2 * 768 * 64 * 64
    assert full.total("macs", "ffn") == needed.total("macs", "ffn")


def test_a_windowed_model_needs_less_and_executes_the_same():
    shape = TransformerShape.from_config("gemma-3-1b-pt")
    wide = TransformerShape.from_config({**known()["gemma-3-1b-pt"], "sliding_window": 4096})
    assert shape.table(2048).flops == wide.table(2048).flops
    few, many = (s.table(2048, count="needed").flops for s in (shape, wide))
    assert few < many
    # 22 of 26 layers have the window.
    saved = (
        22
        * 4
        * 256
        * 2
        * (Mask("causal").needed(2048, 0, 2048) - Mask("causal", 512).needed(2048, 0, 2048))
    )
    assert many - few == 2 * saved


def test_decoding_adds_up_to_the_needed_pass():
    """n steps of one token do what one causal pass needs, the head apart."""
    shape = TransformerShape.from_config("Llama-3.2-1B", head="base")
    steps = sum(shape.table(1, mode="decode", context=i).flops for i in range(9))
    assert steps == shape.table(9, count="needed").flops


def test_prefill_has_the_head_on_one_token():
    shape = TransformerShape.from_config("gpt2")
    forward, prefill = shape.table(32, 2), shape.table(32, 2, "prefill")
    assert forward.total("flops", "head") == 32 * prefill.total("flops", "head")
    assert forward.total("flops", "ffn") == prefill.total("flops", "ffn")
    # Keys and values of 12 layers of width 768 in float32.
    assert prefill.total("cache") == 2 * 32 * 12 * 2 * 768 * 4
    assert forward.total("cache") == 0


def test_training_is_three_times_the_products():
    shape = TransformerShape.from_config("roberta-base")
    forward, train = shape.table(77, 3), shape.table(77, 3, "train")
    assert train.flops == 3 * forward.flops
    assert train.total("saved") > 0 == forward.total("saved")
    # The images need no gradient: their filters have one product back.
    vit = TransformerShape.from_config("vit-base-patch16-224")
    filters = vit.table().total("flops", "patches")
    assert vit.table(mode="train").flops == 3 * vit.table().flops - filters


def test_fused_training_computes_the_scores_again_and_keeps_no_pairs():
    shape = TransformerShape.from_config("bert-base-uncased")
    eager, fused = (shape.table(512, mode="train", attention=a) for a in ("eager", "sdpa"))
    scores = shape.table(512).total("flops", "scores")
    assert fused.flops == eager.flops + scores
    kept = eager.total("saved") - fused.total("saved")
    # Softmax, the factors of its dropout and the result, without a number for each query.
    assert kept == 12 * 12 * (3 * 512 * 512 - 512) * 4


@pytest.mark.parametrize("name", known())
def test_every_bundled_model(name):
    shape = TransformerShape.from_config(name)
    table = shape.table(None if shape.tokens else 33, 2)
    assert known()[name]["source"].endswith(name)
    assert table.flops == 2 * table.macs > 0
    assert {row.group for row in table.rows} <= {*GROUPS}
    assert sum(table.groups().values()) == table.flops
    assert str(table).splitlines()[-1].startswith("total")
    if shape.causal and shape.tokens is None:
        assert shape.table(1, mode="decode", context=32).flops > 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_are_as_many_as_published(name):
    shape = TransformerShape.from_config(name)
    total = sum(
        part.component.weight * max(part.component.experts, 1) * part.layers
        for part in shape.parts()
    )
    assert total / 1e6 == pytest.approx(PUBLISHED[name], rel=0.01)


def test_about_forty_models_of_most_families():
    types = {config["model_type"] for config in known().values()}
    assert len(known()) >= 40
    assert len(types) >= 25
    assert types <= {*FAMILIES}


def test_a_count_takes_less_than_a_millisecond(slowness):
    config = known()["DeepSeek-V3"]
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        TransformerShape.from_config(config).table(512)
        best = min(best, time.perf_counter() - start)
    assert best < 1e-3 * slowness


def test_counts_import_no_torch():
    code = (
        "import sys; from trivium.cost import TransformerShape, crossover, compare\n"
        "s = TransformerShape.from_config('Llama-3.1-8B'); s.table(4096, mode='train')\n"
        "crossover(s, 'ffn', 'attention'); compare((s, ['sdpa']), [9, 80])\n"
        "print([m for m in ('torch', 'numpy', 'transformers', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_huge_lengths_do_not_overflow():
    table = TransformerShape.from_config("Llama-3.1-70B").table(2**31 - 1, 2**31 - 1)
    n = 2**31 - 1
    assert table.total("macs", "scores") == 80 * 64 * 128 * n * n * n


def test_components_are_a_frozen_list():
    shape = TransformerShape.from_config("Qwen3-0.6B")
    part = next(part for part in shape.components if part.component.name == "scores")
    assert part.component.gemm == "16·b of n × 128 × s"
    assert part.layers == 28
    with pytest.raises(AttributeError):
        part.component.name = "other"
    with pytest.raises(AttributeError):
        shape.name = "other"
    assert all(isinstance(b, Block) for stack in shape.stacks for b in stack.layers[0].blocks)


def test_experts_are_read_only_as_far_as_they_are_chosen():
    shape = TransformerShape.from_config("Mixtral-8x7B-v0.1")
    one, two, many = (
        next(r for r in shape.table(n).rows if r.name == "expert down") for n in (1, 2, 4096)
    )
    weight = 32 * 4096 * 14336 * 4
    moved = 32 * 2 * (4096 + 14336) * 4
    assert one.bytes_read + one.bytes_written == 2 * weight + moved
    assert two.bytes_read + two.bytes_written == 4 * weight + 2 * moved
    assert many.bytes_read + many.bytes_written == 8 * weight + 4096 * moved


def test_a_cache_of_latents_is_small():
    shape = TransformerShape.from_config("DeepSeek-V3")
    table = shape.table(1, mode="decode", context=99, itemsize=2)
    assert table.total("cache") == 61 * 100 * (512 + 64) * 2


def test_encoder_and_decoder_have_their_own_lengths():
    shape = TransformerShape.from_config("t5-base")
    table = shape.table(7, source=50)
    encoder = table.total("macs", "ffn") - 12 * 7 * 2 * 768 * 3072
    assert encoder == 12 * 50 * 2 * 768 * 3072
    step = shape.table(1, mode="decode", context=6, source=50)
    assert {row.stack for row in step.rows} == {"decoder"}
    assert not [row for row in step.rows if row.name == "key" and row.layers != 12]
    whisper = TransformerShape.from_config("whisper-tiny")
    assert whisper.table(5).total("macs", "convolution 1") == 3000 * 240 * 384


def test_configurations_of_several_parts_and_heads():
    text = known()["Llama-3.2-1B"]
    inside = TransformerShape.from_config({"model_type": "llava_like", "text_config": text})
    assert inside.table(9).flops == TransformerShape.from_config(text).table(9).flops
    base = TransformerShape.from_config("bert-base-uncased")
    masked = TransformerShape.from_config("bert-base-uncased", head="lm")
    more = masked.table(9).macs - base.table(9).macs
    assert more == 9 * 768 * (768 + 30522) - 768 * 768
    assert TransformerShape.from_config("gpt2", head="base").table(9).total("flops", "head") == 0


def test_a_workload_knows_its_past():
    assert Workload(3, mode="decode", context=5).past == 5
    assert Workload(3).past == 0
