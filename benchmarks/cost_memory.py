"""Peak memory of real models, counted from the configuration and tracked tensor by tensor.

Models of transformers 5 at their real sizes on tensors without memory (FakeTensorMode): the same
operators run and the same storages are born and die; the tracker of the tests sums those alive.
Beside it the rule of thumb that a model's card gives, the weights, with as many gradients in
training. Forward without gradients; training as a forward pass and the backward pass of the sum of
the outputs, without an optimizer. Nothing is timed. Needs transformers 5.
"""

import argparse
import sys
from pathlib import Path

import torch
from harness import Board, fingerprint, markdown, provenance, run_benchmark
from torch._subclasses.fake_tensor import FakeTensorMode

from trivium.cost import TransformerShape
from trivium.cost.config import known

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parity"))
import cost_models
from memory_tracker import Tracker

# Name, tokens of a row, rows.
CASES = (
    ("bert-base-uncased", 512, 8),
    ("roberta-large", 512, 4),
    ("distilbert-base-uncased", 512, 8),
    ("electra-small-discriminator", 512, 8),
    ("albert-base-v2", 512, 8),
    ("gpt2", 1024, 4),
    ("pythia-1.4b", 2048, 1),
    ("opt-350m", 1024, 2),
    ("Llama-3.2-1B", 2048, 1),
    ("Mistral-7B-v0.1", 2048, 1),
    ("Qwen3-0.6B", 1024, 2),
    ("gemma-2b", 1024, 1),
    ("phi-2", 1024, 1),
    ("OLMo-2-1124-7B", 2048, 1),
    ("t5-base", 512, 4),
    ("bart-base", 512, 4),
    ("whisper-small", 448, 2),
)
MODES = ("forward", "train")


def tracked(model: torch.nn.Module, inputs: dict, *, train: bool) -> int:
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


def compared(name: str, n: int, batch: int) -> dict:
    import transformers

    transformers.logging.set_verbosity_error()
    # Values are not there to be asked whether rows are packed.
    transformers.masking_utils.is_tracing = lambda *_: True
    values = dict(known()[name])
    model_type = values.pop("model_type")
    config = transformers.AutoConfig.for_model(model_type, **values)
    config.use_cache = False
    kind = (
        transformers.AutoModel
        if model_type in cost_models.ENCODERS
        else transformers.AutoModelForSeq2SeqLM
        if model_type in cost_models.PAIRS
        else transformers.AutoModelForSpeechSeq2Seq
        if model_type in cost_models.SPEECH
        else transformers.AutoModelForCausalLM
    )
    shape = TransformerShape.from_config(name)
    found: dict = {}
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = kind.from_config(config, attn_implementation="eager")
        meta = cost_models.inputs(model_type, config, n, batch)
        inputs = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in meta.items()}
        for mode in MODES:
            theirs = tracked(model, inputs, train=mode == "train")
            peak = shape.peak(n, batch, mode)
            rule = peak.weights * (2 if mode == "train" else 1)
            found[mode] = {"tracked": theirs, "counted": peak.total, "rule": rule, "at": peak.at}
    return found


def run(arguments: argparse.Namespace, board: Board) -> None:
    cases = CASES[:2] if arguments.quick else CASES
    board.n_planned = len(cases)
    for name, n, batch in cases:
        task = lambda name=name, n=n, batch=batch: compared(name, n, batch)  # noqa: E731
        board.cell(f"{name}/{n}/{batch}", task, fingerprint("cost"))


def table(board: Board) -> str:
    cells, rows, off = board.known(), [], []
    for name, n, batch in CASES:
        cell = cells.get(f"{name}/{n}/{batch}")
        if cell is None:
            continue
        if "failed" in cell:
            rows.append([f"{name}, {batch} × {n}", cell["failed"][:60], *[""] * 7])
            continue
        row = [f"{name}, {batch} × {n}"]
        for mode in MODES:
            one = cell[mode]
            error, rule = (one[key] / one["tracked"] - 1 for key in ("counted", "rule"))
            off.append(abs(error))
            row += [f"{one['tracked'] / 1e9:.3f}", f"{one['counted'] / 1e9:.3f}"]
            row += [f"{100 * error:+.2f} %", f"{100 * rule:+.0f} %"]
        rows.append(row)
    header = ["model, rows × tokens", "forward, GB", "counted", "error", "rule of thumb"]
    header += ["training, GB", "counted", "error", "rule of thumb"]
    off.sort()
    text = "# Peak memory, counted and tracked\n\n" + markdown(header, rows)
    text += (
        f"\n{len(off)} passes: median error {100 * off[len(off) // 2]:.2f} %, "
        f"largest {100 * off[-1]:.2f} %.\n\n"
    )
    return text + provenance(board.path)


if __name__ == "__main__":
    run_benchmark("cost_memory", __doc__, run, table)
