"""Causal linear attention on a CPU: time, memory and error against the peers and fused softmax.

One thread, float32, one row of 8 heads of dimension 64, features elu(x) + 1 unless a peer has
its own. Each contestant gets its inputs in its own layout, ready. fast-transformers runs its
compiled kernel where it is installed; linear-attention-transformer has other features and
attends to whole buckets before its own, so only its time compares. Run it with the `peers` of this
room installed: pytorch-fast-transformers, flash-linear-attention (and fla-core),
performer-pytorch, linear-attention-transformer.
"""

import argparse
import warnings
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
from torch import Tensor
from torch.nn import functional

HEADS, DIM = 8, 64
LENGTHS = (512, 1024, 4096)
TURNS = 3
Inputs = tuple[Tensor, ...]
LABELS = {
    "ours": "ours: `linear_attention`",
    "fast": "fast-transformers (compiled)",
    "fla": "flash-linear-attention (plain chunked code)",
    "performer": "performer-pytorch",
    "transformer": "linear-attention-transformer",
    "softmax": "softmax: fused `scaled_dot_product_attention`",
    "ours scalar": "ours, one factor a step",
    "fla scalar": "fla's plain chunked code, one factor a step",
    "ours channel": "ours, one factor a feature",
    "fla channel": "fla's plain recurrent code, one factor a feature",
}
CHEAP = ("ours", "fast", "fla", "performer", "transformer", "softmax")
DECAYED = ("ours scalar", "fla scalar", "ours channel", "fla channel")


def inputs(n: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Inputs:
    """Return queries, keys and values `(1, h, n, d)`."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, HEADS, n, DIM)
    return tuple(torch.randn(shape, generator=generator).to(dtype) for _ in range(3))


def by_steps(rows: Inputs) -> Inputs:
    """Return them as `(1, n, h, d)`, the layout of fast-transformers and fla."""
    return tuple(x.transpose(1, 2).contiguous() for x in rows)


def factors(n: int, *more: int) -> Tensor:
    """Return log factors near zero, `(1, h, n, ...)`."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn((1, HEADS, n, *more), generator=generator)
    return functional.logsigmoid(drawn + 4)


def phi(x: Tensor) -> Tensor:
    """Return elu(x) + 1, as the peers write it."""
    return functional.elu(x) + 1


def ours(n: int) -> tuple[Callable, Inputs]:
    """Our function."""
    from trivium.attention import linear_attention

    return linear_attention, inputs(n)


def fast(n: int) -> tuple[Callable, Inputs]:
    """fast-transformers' causal layer with its compiled product."""
    from fast_transformers.attention import CausalLinearAttention
    from fast_transformers.masking import LengthMask, TriangularCausalMask

    layer, mask = CausalLinearAttention(DIM), TriangularCausalMask(n)
    whole = LengthMask(torch.tensor([n]))
    return lambda q, k, v: layer(q, k, v, mask, whole, whole), by_steps(inputs(n))


def fla(n: int) -> tuple[Callable, Inputs]:
    """Plain fla: chunked code."""
    from fla.ops.linear_attn.naive import naive_chunk_linear_attn

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return naive_chunk_linear_attn(phi(q), phi(k), v, normalize=True)

    return call, by_steps(inputs(n))


def performer(n: int) -> tuple[Callable, Inputs]:
    """performer-pytorch's causal code for machines without its CUDA product."""
    from performer_pytorch.performer_pytorch import causal_linear_attention_noncuda

    return lambda q, k, v: causal_linear_attention_noncuda(phi(q), phi(k), v), inputs(n)


def transformer(n: int) -> tuple[Callable, Inputs]:
    """linear-attention-transformer's causal code, with its own features."""
    from linear_attention_transformer.linear_attention_transformer import causal_linear_attn

    return causal_linear_attn, inputs(n)


def softmax(n: int) -> tuple[Callable, Inputs]:
    """Torch's fused softmax attention."""
    return partial(functional.scaled_dot_product_attention, is_causal=True), inputs(n)


def ours_decayed(n: int, *more: int) -> tuple[Callable, Inputs]:
    """Our function with decay, not normalized, as fla has it."""
    from trivium.attention import linear_attention

    def call(q: Tensor, k: Tensor, v: Tensor, log: Tensor) -> Tensor:
        return linear_attention(q, k, v, feature_map="identity", log_decay=log)

    return call, (*inputs(n), factors(n, *more))


def fla_scalar(n: int) -> tuple[Callable, Inputs]:
    """Plain fla: chunked code with one factor a step."""
    from fla.ops.simple_gla.naive import naive_chunk_simple_gla

    log = factors(n).transpose(1, 2).contiguous()
    return lambda *x: naive_chunk_simple_gla(*x, scale=1.0)[0], (*by_steps(inputs(n)), log)


def fla_channel(n: int) -> tuple[Callable, Inputs]:
    """Plain fla: recurrent code with one factor a feature; it divides by √d."""
    from fla.ops.gla.naive import naive_recurrent_gla

    log = factors(n, DIM).transpose(1, 2).contiguous()
    return lambda *x: naive_recurrent_gla(*x)[0], (*by_steps(inputs(n)), log)


CONTESTANTS: dict[str, Callable[[int], tuple[Callable, Inputs]]] = {
    "ours": ours,
    "fast": fast,
    "fla": fla,
    "performer": performer,
    "transformer": transformer,
    "softmax": softmax,
    "ours scalar": ours_decayed,
    "fla scalar": fla_scalar,
    "ours channel": lambda n: ours_decayed(n, DIM),
    "fla channel": fla_channel,
}


def loops(n: int) -> int:
    """Return how many calls make one measurement: a call of milliseconds alone is noise."""
    return max(2, 8192 // n)


def forward_cell(who: str, n: int) -> dict:
    """Time a forward pass without gradients: the least of three means, after one to warm up."""
    call, rows = CONTESTANTS[who](n)

    def several() -> None:
        for _ in range(loops(n)):
            call(*rows)

    with torch.no_grad():
        call(*rows)
        spent = measure(several, 3)[1]
    return {name: spent[name] / loops(n) for name in ("cpu", "wall")}


def backward_cell(who: str, n: int) -> dict:
    """Time backward alone, and the forward pass that builds its graph."""
    call, rows = CONTESTANTS[who](n)
    rows = tuple(x.requires_grad_() for x in rows)
    slope = torch.ones_like(call(*rows))
    ahead, back = [], []
    for _ in range(3):
        outs, spent = measure(lambda: [call(*rows) for _ in range(loops(n))])
        ahead.append(spent["cpu"] / loops(n))
        spent = measure(lambda outs=outs: [torch.autograd.grad(out, rows, slope) for out in outs])
        back.append(spent[1]["cpu"] / loops(n))
        del outs, spent
    return {"cpu": min(back), "forward": min(ahead)}


def train(data: tuple[Callable, Inputs]) -> None:
    """One forward and backward pass."""
    call, rows = data
    rows = tuple(x.requires_grad_() for x in rows)
    out = call(*rows)
    torch.autograd.grad(out, rows, torch.ones_like(out))


def setup(who: str, n: int) -> tuple[Callable, Inputs]:
    """Build a contestant in the process that is watched, its first call done."""
    warnings.simplefilter("ignore")
    call, rows = CONTESTANTS[who](n)
    train(
        (call, tuple(x[:, :, :256] if x.shape[1] == HEADS else x[:, :256] for x in rows))
        if who != "fast"
        else (call, rows)
    )
    return call, rows


def run_time(arguments: argparse.Namespace, board: Board) -> None:
    """Forward and backward, contestants interleaved in each turn."""
    code = fingerprint("attention")
    lengths = (256,) if arguments.quick else LENGTHS
    for turn in range(1 if arguments.quick else TURNS):
        for n in lengths:
            for who in (*CHEAP, *(DECAYED if n == 1024 else ())):
                mine = code if who.startswith("ours") else ""
                heavy = who in ("performer", "fla channel") and turn > 0
                if heavy:
                    continue
                board.cell(f"forward/{n}/{who}/{turn}", partial(forward_cell, who, n), mine)
                board.cell(f"backward/{n}/{who}/{turn}", partial(backward_cell, who, n), mine)


def run_memory(arguments: argparse.Namespace, board: Board) -> None:
    """Growth of peak memory, forward and backward."""
    code = fingerprint("attention")
    for n in (512,) if arguments.quick else (4096, 16384):
        for who in ("ours", "fast", "fla", "softmax"):
            mine = code if who.startswith("ours") else ""
            board.cell(f"memory/{n}/{who}", partial(peak_memory, setup, train, who, n), mine)


def error_cell(n: int, dtype: str, feature_map: str, seed: int) -> dict:
    """Relative error, in norm and of the worst step, against the same inputs in float64."""
    from trivium.attention import linear_attention

    rows = tuple(x[:, :2] for x in inputs(n, seed, getattr(torch, dtype)))
    with torch.no_grad():
        exact = linear_attention(*(x.double() for x in rows), feature_map=feature_map)
        gap = linear_attention(*rows, feature_map=feature_map).double() - exact
    worst = (gap.norm(dim=-1) / exact.norm(dim=-1)).max()
    return {"norm": float(gap.norm() / exact.norm()), "worst": float(worst)}


def run_error(arguments: argparse.Namespace, board: Board) -> None:
    """Single and half precision."""
    code = fingerprint("attention")
    n = 1024 if arguments.quick else 32768
    for dtype in ("float32", "bfloat16"):
        for feature_map in ("elu1", "relu", "hedgehog"):
            for seed in range(3):
                task = partial(error_cell, n, dtype, feature_map, seed)
                board.cell(f"error/{n}/{dtype}/{feature_map}/{seed}", task, code)


def best(known: dict, key: str, field: str = "cpu") -> float | None:
    """Return the least figure over the turns."""
    found = [
        cell[field]
        for name, cell in known.items()
        if name.rsplit("/", 1)[0] == key and field in cell
    ]
    return min(found) if found else None


def time_table(known: dict, kind: str, who: tuple[str, ...]) -> str:
    """Return milliseconds and their ratio to ours, a column for each length."""
    lengths = sorted({int(k.split("/")[1]) for k in known if k.startswith(kind + "/")})
    lengths = [n for n in lengths if best(known, f"{kind}/{n}/{who[0]}") is not None]
    rows = []
    for name in who:
        row = [LABELS[name]]
        for n in lengths:
            base = "ours" if name in CHEAP else "ours " + name.split()[1]
            mine, spent = (best(known, f"{kind}/{n}/{x}") for x in (base, name))
            shown = "–" if spent is None else f"{spent * 1e3:.1f} ({spent / mine:.2f}×)"
            row.append(shown)
        rows.append(row)
    return markdown([f"{kind}, CPU ms (of ours)", *(f"n = {n:,}" for n in lengths)], rows)


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    text = "# Causal linear attention\n\n"
    text += f"One row, {HEADS} heads, d = {DIM}, float32; least of the turns.\n\n"
    text += time_table(known, "forward", CHEAP) + "\n" + time_table(known, "backward", CHEAP)
    text += "\nWith decay:\n\n" + time_table(known, "forward", DECAYED) + "\n"
    text += time_table(known, "backward", DECAYED) + "\n"
    rows = []
    for key in sorted(k for k in known if k.startswith("memory/")):
        _, n, who = key.split("/")
        cell = known[key]
        held = f"{cell['bytes'] / 1e6:.0f}" if "bytes" in cell else cell["failed"][:60]
        rows.append([f"n = {int(n):,}: {LABELS[who]}", held])
    text += markdown(["memory of forward and backward", "MB"], rows) + "\n"
    rows = []
    for key in sorted({k.rsplit("/", 1)[0] for k in known if k.startswith("error/")}):
        cells = [c for k, c in known.items() if k.rsplit("/", 1)[0] == key]
        figures = [f"{max(c[f] for c in cells):.1e}" for f in ("norm", "worst")]
        _, n, dtype, feature_map = key.split("/")
        rows.append([f"{dtype}, {feature_map}, n = {int(n):,}", *figures])
    text += markdown(["error against float64 (worst of 3 seeds)", "whole", "worst step"], rows)
    return text + "\n" + provenance(board.path)


SECTIONS = {"time": run_time, "memory": run_memory, "error": run_error}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    run_benchmark("linear_attention", __doc__, SECTIONS, table)
