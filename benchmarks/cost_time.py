"""Seconds of Transformer layers on one CPU thread: predicted by a calibration, and measured.

The calibration sees operators at sizes of its own (`trivium.cost.cases`: widths 384, 512, 640,
1280, 1600, 2048 and 2560, heads of 32, 64, 96 and 128 in numbers 4, 6, 8, 10 and 16, rows that are
no power of two up to 6,000). The layers here are others: BERT-base, BERT-large, and the gated
layer with grouped heads of Llama-3.2-1B, in plain torch with random weights. Times are CPU
seconds, the least of the turns; in a turn lengths and parts are interleaved. A result of 31 MiB is
freed first, as the calibration does: from then on glibc serves smaller ones from memory it has.
Measure with `--only machine` first, then `--only layers` (both go on where they were stopped).
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from harness import Board, markdown, provenance, run_benchmark
from torch import Tensor, nn
from torch.nn import functional

from trivium.attention import linear_attention, linear_attention_cases
from trivium.cost import CostModel, Machine, TransformerShape, crossover

TURNS = 3
SPAN = 0.03
CONFIGS = {
    "BERT-base": {
        "model_type": "bert",
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    "BERT-large": {
        "model_type": "bert",
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
    "Llama-3.2-1B": {
        "model_type": "llama",
        "hidden_size": 2048,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "intermediate_size": 8192,
    },
}
LENGTHS = {
    "BERT-base": (128, 256, 512, 640, 768, 896, 1024, 2048, 4096),
    "BERT-large": (128, 512, 640, 768, 1024, 2048),
    "Llama-3.2-1B": (128, 512, 1024),
}
DESIGNS = ("eager", "sdpa", "linear")
Call = Callable[[], object]


def shape(name: str, layers: int) -> TransformerShape:
    """Return a model of so many layers."""
    config = CONFIGS[name] | {"vocab_size": 100, "num_hidden_layers": layers}
    return TransformerShape.from_config(config, head="base")


def pairs(q: Tensor, k: Tensor, v: Tensor, design: str, *, causal: bool) -> Tensor:
    """Attend, and put the heads of a token side by side."""
    if design == "eager":
        if k.shape[1] != q.shape[1]:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        if causal:
            scores = scores + torch.full(scores.shape[-2:], -1e9).triu(1)
        out = functional.softmax(scores, dim=-1) @ v
    elif design == "sdpa":
        grouped = k.shape[1] != q.shape[1]
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)
    else:
        if k.shape[1] != q.shape[1]:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        out = linear_attention(q, k, v, causal=causal)
    return out.transpose(1, 2).contiguous().flatten(2)


class Bert(nn.Module):
    """A layer of BERT: attention, sum, norm, feed-forward, sum, norm."""

    causal = False

    def __init__(self, config: dict) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.heads = config["num_attention_heads"]
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def project(self, x: Tensor) -> list[Tensor]:
        """Return queries, keys and values in heads."""
        split = (*x.shape[:2], self.heads, -1)
        return [p(x).view(split).transpose(1, 2) for p in (self.query, self.key, self.value)]

    def ffn(self, x: Tensor) -> Tensor:
        """Return the feed-forward layer."""
        return self.down(functional.gelu(self.up(x)))

    def forward(self, x: Tensor, design: str) -> Tensor:
        """Return the layer's output."""
        x = self.first(self.output(pairs(*self.project(x), design, causal=False)) + x)
        return self.second(self.ffn(x) + x)


class RmsNorm(nn.Module):
    """RMSNorm operator by operator, as transformers writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the norm."""
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


class Llama(nn.Module):
    """A layer of LLaMA: norms before, rotary positions, grouped heads, a gate."""

    causal = True

    def __init__(self, config: dict) -> None:
        super().__init__()
        width, inner, size = (config[k] for k in ("hidden_size", "intermediate_size", "head_dim"))
        self.size = size
        many, few = (size * config[k] for k in ("num_attention_heads", "num_key_value_heads"))
        self.query, self.output = (
            nn.Linear(a, b, bias=False) for a, b in ((width, many), (many, width))
        )
        self.key, self.value = (nn.Linear(width, few, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, width, bias=False)
        self.first, self.second = RmsNorm(width), RmsNorm(width)
        angles = torch.arange(8192)[:, None] * 5e5 ** -torch.linspace(0, 1, size // 2)
        self.cos, self.sin = (torch.cat((f(angles),) * 2, -1) for f in (torch.cos, torch.sin))

    def turn(self, x: Tensor) -> Tensor:
        """Turn vectors by their positions."""
        n, half = x.shape[2], self.size // 2
        other = torch.cat((-x[..., half:], x[..., :half]), -1)
        return x * self.cos[:n] + other * self.sin[:n]

    def project(self, x: Tensor) -> list[Tensor]:
        """Return queries, keys and values in heads."""
        split = (*x.shape[:2], -1, self.size)
        q, k, v = (p(x).view(split).transpose(1, 2) for p in (self.query, self.key, self.value))
        return [self.turn(q), self.turn(k), v]

    def ffn(self, x: Tensor) -> Tensor:
        """Return the gated feed-forward layer."""
        return self.down(functional.silu(self.gate(x)) * self.up(x))

    def forward(self, x: Tensor, design: str) -> Tensor:
        """Return the layer's output."""
        x = self.output(pairs(*self.project(self.first(x)), design, causal=True)) + x
        return self.ffn(self.second(x)) + x


def spent(call: Call) -> float:
    """Return CPU seconds of a call, after one to warm up."""
    call()
    begun, times = time.process_time(), 0
    while times == 0 or time.process_time() - begun < SPAN:
        call()
        times += 1
    return (time.process_time() - begun) / times


def parts(layer: nn.Module, x: Tensor) -> dict[str, Call]:
    """Return what is measured of a layer."""
    q, k, v = layer.project(x)
    found: dict[str, Call] = {
        "projections": lambda: (layer.project(x), layer.output(x)),
        "ffn": lambda: layer.ffn(x),
    }
    for design in DESIGNS:
        found[f"pairs {design}"] = partial(pairs, q, k, v, design, causal=layer.causal)
        found[f"layer {design}"] = partial(layer, x, design)
    return found


def layer_cell(name: str, n: int) -> dict:
    """Measure a layer and its parts at one length."""
    torch.manual_seed(0)
    with torch.inference_mode():
        torch.zeros(31 * 2**20, dtype=torch.uint8)
        layer = (Llama if name.startswith("Llama") else Bert)(CONFIGS[name])
        x = torch.randn(1, n, CONFIGS[name]["hidden_size"])
        return {part: spent(call) for part, call in parts(layer, x).items()}


def run_machine(arguments: argparse.Namespace, board: Board) -> None:
    """Calibrate: a minute."""

    def task() -> dict:
        cases = linear_attention_cases()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "machine.json")
            begun, cpu = time.perf_counter(), time.process_time()
            Machine.calibrate(15 if arguments.quick else 60, cases=cases).save(path)
            took, cpu = time.perf_counter() - begun, time.process_time() - cpu
            return {"machine": path.read_text(), "wall": took, "cpu": cpu}

    board.cell("machine", task)


def run_layers(arguments: argparse.Namespace, board: Board) -> None:
    """Measure the layers, lengths interleaved in each turn."""
    for turn in range(1 if arguments.quick else TURNS):
        for name, lengths in LENGTHS.items():
            for n in lengths[:2] if arguments.quick else lengths:
                board.cell(f"layer/{name}/{n}/{turn}", partial(layer_cell, name, n))


def predicted(machine: Machine, name: str, n: int, part: str) -> tuple[float, float, float]:
    """Return the seconds of a part of one layer: of two, the rows that run twice, halved."""
    what, _, design = part.partition(" ")
    chosen = {"pairs": "quadratic" if design != "linear" else "state", "layer": "all"}
    table = shape(name, 2).table(n, attention=design or "eager").select(chosen.get(what, what))
    rows = [row for row in table.rows if row.layers == 2]
    return machine.seconds(each.times(0.5) for row in rows for each in row.operations)


def measured(known: dict) -> dict[tuple[str, int], dict[str, float]]:
    """Return the least seconds over the turns."""
    best: dict[tuple[str, int], dict[str, float]] = {}
    for key, cell in known.items():
        if key.startswith("layer/") and "failed" not in cell:
            _, name, n, _ = key.split("/")
            mine = best.setdefault((name, int(n)), {})
            for part, value in cell.items():
                if part.split()[0] in ("projections", "ffn", "pairs", "layer"):
                    mine[part] = min(value, mine.get(part, math.inf))
    order = list(CONFIGS)
    return dict(sorted(best.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def where(lengths: list[int], ratios: list[float]) -> str:
    """Return where a ratio that grows passes 1, between lengths by its logarithm."""
    for (n, a), (m, b) in pairwise(zip(lengths, ratios, strict=True)):
        if a < 1 <= b:
            share = -math.log(a) / (math.log(b) - math.log(a))
            return f"{n * (m / n) ** share:,.0f}"
    return f"under {lengths[0]:,}" if ratios[0] >= 1 else f"beyond {lengths[-1]:,}"


def crossing_rows(machine: Machine, found: dict, name: str) -> list[list[str]]:
    """Return time crossovers: measured, predicted, and in FLOPs."""
    lengths = [n for who, n in found if who == name]
    model = shape(name, 24)
    clock = CostModel(model, machine)
    rows = []

    def times(part: str) -> list[float]:
        return [found[name, n][part] for n in lengths]

    for design in ("eager", "sdpa"):
        whole = zip(
            *(times(p) for p in ("projections", f"pairs {design}", "ffn", f"layer {design}")),
            strict=True,
        )
        both = [((p + q) / f, q / (every - q)) for p, q, f, every in whole]
        for (a, b), ratios in zip(
            (("ffn", "attention"), ("quadratic", "rest")), zip(*both, strict=True), strict=True
        ):
            seen = where(lengths, list(ratios))
            told = crossover(model, a, b, "time", clock=clock, attention=design, farthest=2**15)
            flops = crossover(model, a, b, attention=design)
            rows.append([f"{name}, {design}: {a} = {b}", seen, *map(points, (told, flops))])
    # All else is the same in both, so the parts that differ tell it best.
    ratios = [a / b for a, b in zip(times("pairs sdpa"), times("pairs linear"), strict=True)]
    told = crossover(model, "sdpa", "linear", "time", clock=clock, farthest=2**15)
    flops = crossover(model, "sdpa", "linear")
    rows.append([f"{name}: sdpa = linear", where(lengths, ratios), *map(points, (told, flops))])
    return rows


def points(found: object) -> str:
    """Return the places of a crossover, without its names."""
    return "; ".join(str(point) for point in found.crossings) or f"{found.smaller} is smaller"


def layer_rows(machine: Machine, found: dict) -> tuple[list[list[str]], list[tuple[float, bool]]]:
    """Return measured and predicted times, and the errors of whole layers."""
    rows, errors = [], []
    best = min(law.flops for kind, law in machine.laws.items() if kind == "linear")
    for (name, n), mine in found.items():
        for part, seconds in mine.items():
            low, middle, high = predicted(machine, name, n, part)
            error, inside = middle / seconds - 1, low <= seconds <= high
            what, _, design = part.partition(" ")
            naive = ""
            if what == "layer":
                errors.append((error, inside))
                flops = [shape(name, k).table(n, attention=design).flops for k in (2, 1)]
                naive = f"{100 * ((flops[0] - flops[1]) * best / seconds - 1):+.0f} %"
            span = f"{low * 1e3:.1f} to {high * 1e3:.1f}"
            shown = [f"{seconds * 1e3:.2f}", f"{middle * 1e3:.2f}", f"{100 * error:+.0f} %", span]
            rows.append([f"{name}, n = {n:,}: {part}", *shown, "yes" if inside else "no", naive])
    return rows, errors


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    cell = known["machine"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "machine.json")
        path.write_text(cell["machine"])
        machine = Machine.load(path)
    found = measured(known)
    text = "# Seconds of layers, predicted and measured\n\n"
    about = json.dumps({k: machine.about[k] for k in ("cases", "rounds")})
    text += f"Calibration: {cell['wall']:.1f} s ({cell['cpu']:.1f} CPU seconds), {about}.\n\n"
    text += f"```\n{machine}\n```\n\n"
    rows, errors = layer_rows(machine, found)
    off = sorted(abs(error) for error, _ in errors)
    inside = sum(flag for _, flag in errors)
    text += (
        f"Whole layers: median error {100 * off[len(off) // 2]:.0f} %, largest "
        f"{100 * off[-1]:.0f} %, {inside} of {len(errors)} inside their interval.\n\n"
    )
    header = ["CPU ms", "measured", "predicted", "error", "interval", "inside"]
    text += markdown([*header, "FLOPs at the best rate"], rows) + "\n"
    rows = [
        row
        for name in dict.fromkeys(n for n, _ in found)
        for row in crossing_rows(machine, found, name)
    ]
    text += markdown(["crossover at n", "measured", "predicted", "in FLOPs"], rows) + "\n"
    return text + provenance(board.path)


SECTIONS = {"machine": run_machine, "layers": run_layers}

if __name__ == "__main__":
    run_benchmark("cost_time", __doc__, SECTIONS, table)
