"""A Transformer of about ten million parameters, trained while recorded, explained exactly.

24 steps of AdamW on batches of eight sequences of 32 tokens; four queries are then explained: each
training row's share in the logit of the next token. Beside it, gradients written out row by row by
autograd, as tracers of single checkpoints hold them (one checkpoint, not the whole run): measured
on a few rows, their time and memory for all rows extrapolated.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from harness import (
    Board,
    fingerprint,
    markdown,
    measure,
    peak_memory,
    provenance,
    run_benchmark,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

STEPS, BATCH, LENGTH, WORDS, QUERIES = 24, 8, 32, 1000, 4
ROWS = STEPS * BATCH // 2
SIZES = {False: (320, 8), True: (64, 2)}  # width and layers


class Block(nn.Module):
    """Attention and a feed-forward layer, after normalization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(b, s, d)`."""
        parts = self.mix(self.first(x)).chunk(3, -1)
        query, key, value = (one.unflatten(-1, (4, -1)).transpose(1, 2) for one in parts)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


class Writer(nn.Module):
    """A causal language model that answers with the logits of the last token."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.look, self.place = nn.Embedding(WORDS, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.last, self.answer = nn.LayerNorm(width), nn.Linear(width, WORDS)

    def forward(self, text: Tensor) -> Tensor:
        """Return `(b, words)`."""
        places = torch.arange(text.shape[1]).expand(len(text), -1)
        x = self.blocks(self.look(text) + self.place(places))
        return self.answer(self.last(x)[:, -1])


def texts() -> tuple[Tensor, Tensor]:
    """Return sequences whose last token follows from two earlier ones."""
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(WORDS, (ROWS + QUERIES, LENGTH), generator=generator)
    return text, (text[:, -1] + text[:, -2]) % WORDS


def setup(quick: bool) -> tuple:
    torch.manual_seed(0)
    return Writer(*SIZES[quick]), *texts()


def trained(inputs: tuple, kept: list | None = None) -> nn.Module:
    """Train; with a list, record into it."""
    from contextlib import nullcontext

    from trivium.pathkernel import record

    model, text, y = inputs
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    generator = torch.Generator().manual_seed(1)
    recording = None if kept is None else record(model, optimizer, cross_entropy, stride=4)
    with nullcontext() if recording is None else recording:
        for _ in range(STEPS):
            ids = torch.randperm(ROWS, generator=generator)[:BATCH]
            if recording is not None:
                recording.batch(ids)
            optimizer.zero_grad()
            cross_entropy(model(text[ids]), y[ids]).backward()
            optimizer.step()
    if kept is not None:
        kept.append(recording)
    return model


def explained(recording: object, text: Tensor) -> object:
    return recording.made(text[ROWS:], of="logit")


def whole(inputs: tuple) -> None:
    """Train, record and explain: for the peak of memory."""
    kept: list = []
    trained(inputs, kept)
    explained(kept[0], inputs[1])


def plain(inputs: tuple) -> None:
    """Train only: for the peak of memory."""
    trained(inputs)


def run_cell(quick: bool) -> dict:
    """Plain training, recorded training, and the explanation."""
    whole((Writer(*SIZES[True]), *texts()))  # imports and first calls are not timed
    inputs = setup(quick)
    n_parameters = sum(p.numel() for p in inputs[0].parameters())
    _, bare = measure(partial(trained, inputs))
    inputs, kept = setup(quick), []
    _, noted = measure(partial(trained, inputs, kept))
    made, cost = measure(partial(explained, kept[0], inputs[1]))
    net_change = (made.after - made.before).abs()
    return {
        "parameters": n_parameters,
        "rows": len(made.ids),
        "training": bare["cpu"],
        "recorded": noted["cpu"],
        "explained": cost["cpu"],
        "completeness": made.completeness_error,
        "over": float((made.contributions.abs().sum(1) / net_change).median()),
        "checkpoints": sum(one.n_bytes for one in kept[0].checkpoints.held),
    }


def memory_cell(quick: bool, task: Callable) -> dict:
    """Growth of the peak of memory, in a process of its own."""
    return peak_memory(setup, task, quick)


def written_out_cell(quick: bool, count: int) -> dict:
    """Gradients of single rows by autograd, written out: time of `count` of them."""
    model, text, y = setup(quick)
    p = sum(one.numel() for one in model.parameters())
    out = torch.zeros(count, p)

    def task() -> None:
        for row in range(count):
            loss = cross_entropy(model(text[row : row + 1]), y[row : row + 1])
            parts = torch.autograd.grad(loss, list(model.parameters()))
            out[row] = torch.cat([one.reshape(-1) for one in parts])

    _, cost = measure(task)
    each = cost["cpu"] / count
    return {"row": each, "all": each * ROWS * STEPS, "bytes": 4 * p * ROWS}


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Fill the file."""
    tasks: dict[str, Callable[[], dict]] = {
        "written_out": partial(written_out_cell, arguments.quick, 4),
        "run": partial(run_cell, arguments.quick),
        "memory/training": partial(memory_cell, arguments.quick, plain),
        "memory/whole": partial(memory_cell, arguments.quick, whole),
    }
    board.n_planned, code = len(tasks), fingerprint("pathkernel", "kernel")
    for key, task in tasks.items():
        board.cell(key, task, "" if key == "written_out" else code)


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    cells = board.known()
    cell, out = cells["run"], cells["written_out"]
    peaks = [
        f"{cells[k]['bytes'] / 1e6:.0f}" if "bytes" in cells.get(k, {}) else "-"
        for k in ("memory/training", "memory/whole")
    ]
    millions = cell["parameters"] / 1e6
    text = f"# A Transformer of {millions:.1f} million parameters, {STEPS} steps of AdamW\n\n"
    share = cell["recorded"] / cell["training"] - 1
    rows = [
        ["training alone", f"{cell['training']:.1f}", peaks[0]],
        ["training, recorded", f"{cell['recorded']:.1f} ({share:+.0%})", ""],
        [
            f"**{QUERIES} queries, each row's exact share through all {STEPS} steps**",
            f"{cell['explained']:.1f}",
            f"{peaks[1]} (with training)",
        ],
        [
            f"gradients written out by autograd, {ROWS} rows at {STEPS} checkpoints",
            f"{out['all']:.0f} (from {out['row']:.2f} a row)",
            f"{out['bytes'] / 1e6:.0f} (one checkpoint)",
        ],
    ]
    text += markdown(["", "CPU s", "peak memory, MB"], rows)
    text += (
        f"\nCompleteness error {cell['completeness']:.0e} in float32; {cell['rows']} rows seen; "
        f"checkpoints of {cell['checkpoints'] / 1e6:.0f} MB, every fourth step; absolute shares "
        f"add up to {cell['over']:.0f} times the net change.\n\n"
    )
    return text + provenance(board.path)


if __name__ == "__main__":
    run_benchmark("path_large", __doc__, run, table)
