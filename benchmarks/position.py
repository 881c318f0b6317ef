"""Position encodings in one attention layer on a CPU: time over no encoding, and far angles.

One thread, float32, 8 rows, d_model 512, 8 heads of 64: the layer's forward and backward, with the
same projections and the same fused kernel for everyone; causal, or in both directions beside a
layer of its own kind without an encoding, where the name says so. A peer's encoding is put in as a
`Position` that calls its own code: x-transformers, rotary-embedding-torch and transformers.
A contestant is a line of `CONTESTANTS`; run it with the `peers` of this room installed.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import Board, fingerprint, in_a_loop, markdown, provenance, run_benchmark
from torch import Tensor

ROWS, HEADS, DIM = 8, 8, 64
LENGTHS = (512, 1024)
TURNS = 2
BOTH = ", both directions"


def _ours(name: str, **options: Any) -> Any:
    import trivium.position as room

    return getattr(room, name)(**options)


def _hooked(query: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """Return a peer's rotation as an encoding."""
    from trivium.position import Position

    class Peer(Position):
        def query(self, q: Tensor, i: Tensor) -> Tensor:
            return query(q, i)

        def key(self, k: Tensor, j: Tensor) -> Tensor:
            return query(k, j)

    return Peer()


def _x_transformers() -> Any:
    from x_transformers.x_transformers import RotaryEmbedding, apply_rotary_pos_emb

    rotary = RotaryEmbedding(DIM)

    def turn(x: Tensor, i: Tensor) -> Tensor:
        angles, scale = rotary.forward_from_seq_len(len(i))
        return apply_rotary_pos_emb(x, angles, scale)

    return _hooked(turn)


def _rotary_embedding_torch() -> Any:
    from rotary_embedding_torch import RotaryEmbedding

    rotary = RotaryEmbedding(DIM)
    return _hooked(lambda x, i: rotary.rotate_queries_or_keys(x))


def _llama() -> Any:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, rotate_half

    config = LlamaConfig(hidden_size=HEADS * DIM, num_attention_heads=HEADS)
    rotary = LlamaRotaryEmbedding(config)

    def turn(x: Tensor, i: Tensor) -> Tensor:
        cos, sin = rotary(x, i[None])
        return x * cos[:, None] + rotate_half(x) * sin[:, None]

    return _hooked(turn)


def _biased(bias: Any, scale: float | None = None) -> Any:
    """Return a peer's bias `(i, j) -> (h, i, j)` as an encoding."""
    from trivium.position import Position

    class Peer(Position):
        scored = True

        def __init__(self) -> None:
            super().__init__()
            self.bias = bias

        def score(self, q: Tensor, k: Tensor, i: Tensor, j: Tensor, keep: Tensor) -> Tensor:
            return self.bias(q.shape[2], k.shape[2])

        def scale(self, d: int) -> float:
            return d**-0.5 if scale is None else scale

    return Peer()


def _x_alibi() -> Any:
    from x_transformers.x_transformers import AlibiPositionalBias

    return _biased(AlibiPositionalBias(HEADS, HEADS))


def _x_t5() -> Any:
    from x_transformers.x_transformers import RelativePositionBias

    return _biased(RelativePositionBias(scale=1.0, causal=True, heads=HEADS))


def _t5() -> Any:
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    config = T5Config(d_model=HEADS * DIM, num_heads=HEADS, d_kv=DIM, is_decoder=True)
    attention = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)

    class Bias(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = attention.relative_attention_bias

        def forward(self, n: int, t: int) -> Tensor:
            return attention.compute_bias(n, t)[0]

    return _biased(Bias(), 1.0)


# Name in the table, and what makes the encoding. `ours` ones are measured again with new code.
CONTESTANTS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "ours: Rotary": lambda: _ours("Rotary", d_head=DIM),
    "ours: Rotary, half layout": lambda: _ours("Rotary", d_head=DIM, layout="half"),
    "ours: XPos": lambda: _ours("XPos", d_head=DIM),
    "ours: Polar": lambda: _ours("Polar", d_head=DIM, n_heads=HEADS),
    "ours: Linear (ALiBi)": lambda: _ours("Linear", n_heads=HEADS),
    "ours: Buckets (T5)": lambda: _ours("Buckets", n_heads=HEADS, bidirectional=False),
    "ours: Kerple": lambda: _ours("Kerple", n_heads=HEADS),
    "ours: Fire": lambda: _ours("Fire", n_heads=HEADS),
    "ours: Shaw, keys and values": lambda: _ours("Shaw", d_head=DIM),
    "ours: TransformerXL": lambda: _ours(
        "TransformerXL", d_model=HEADS * DIM, n_heads=HEADS, d_head=DIM
    ),
    "ours: Disentangled (DeBERTa)": lambda: _ours(
        "Disentangled", d_model=HEADS * DIM, n_heads=HEADS, d_head=DIM
    ),
    "ours: Contextual (CoPE)": lambda: _ours("Contextual", d_head=DIM),
    "none" + BOTH: lambda: None,
    "ours: Linear (ALiBi)" + BOTH: lambda: _ours("Linear", n_heads=HEADS),
    "ours: Buckets (T5)" + BOTH: lambda: _ours("Buckets", n_heads=HEADS),
    "x-transformers: ALiBi": _x_alibi,
    "x-transformers: T5": _x_t5,
    "transformers: T5": _t5,
    "x-transformers: rotary": _x_transformers,
    "rotary-embedding-torch": _rotary_embedding_torch,
    "transformers: Llama's rotary": _llama,
}


def layer(who: str) -> Any:
    """Return the layer with a contestant's encoding; the same weights for all."""
    from trivium.attention import Attention

    torch.manual_seed(0)
    return Attention(HEADS * DIM, HEADS, CONTESTANTS[who](), causal=not who.endswith(BOTH))


def time_cell(who: str, n: int) -> dict:
    """Forward and backward of the layer, right after the same without an encoding."""
    x = torch.randn(ROWS, n, HEADS * DIM)

    def step(attention: Any) -> None:
        leaf = x.clone().requires_grad_()
        attention(leaf).sum().backward()

    repeats = 3 if n <= 512 else 2
    base, mine = (
        in_a_loop(partial(step, layer(name)), repeats=repeats, warm=1)
        for name in ("none" + BOTH if who.endswith(BOTH) else "none", who)
    )
    return {**mine, "over": mine["cpu"] / base["cpu"], "base": base["cpu"]}


def run_time(arguments: argparse.Namespace, board: Board) -> None:
    """Forward and backward, over no encoding in the same turn."""
    code = fingerprint("position", "attention", "kernel/spectral")
    for n in (128,) if arguments.quick else LENGTHS:
        for turn in range(TURNS):
            for who in CONTESTANTS:
                mine = code if who.startswith(("ours", "none")) else ""
                board.cell(f"time/{n}/{who}/{turn}", partial(time_cell, who, n), mine)


def angle_cell(who: str, dtype: str) -> dict:
    """Worst error of the cosines at far positions, read from a head that holds ones and zeros."""
    encoding = CONTESTANTS[who]()
    at = torch.tensor([4096, 65_537, 2**20 - 1, 2**20])
    theta = 10_000.0 ** (-torch.arange(DIM // 2, dtype=torch.float64) / (DIM // 2))
    exact = at.double()[:, None] * theta
    if hasattr(encoding, "angles"):
        from trivium.position.rotation import cos_sin_of

        like = torch.zeros((), dtype=getattr(torch, dtype))
        found = cos_sin_of(encoding.angles(at), like)[0].double()
        return {"error": float((found - exact.cos()).abs().max())}
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(hidden_size=HEADS * DIM, num_attention_heads=HEADS)
    like = torch.zeros((), dtype=getattr(torch, dtype))
    found = LlamaRotaryEmbedding(config)(like, at[None])[0][0, :, : DIM // 2].double()
    return {"error": float((found - exact.cos()).abs().max())}


def run_angles(arguments: argparse.Namespace, board: Board) -> None:
    """Cosines at positions up to 2²⁰."""
    code = fingerprint("position", "kernel/spectral")
    for dtype in ("float32", "bfloat16"):
        for who in ("ours: Rotary", "transformers: Llama's rotary"):
            mine = code if who.startswith("ours") else ""
            board.cell(f"angles/{dtype}/{who}", partial(angle_cell, who, dtype), mine)


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    lengths = sorted({int(key.split("/")[1]) for key in known if key.startswith("time/")})
    rows = []
    for who in CONTESTANTS:
        row = [who]
        for n in lengths:
            cells = [
                cell
                for key, cell in known.items()
                if key.rsplit("/", 1)[0] == f"time/{n}/{who}" and "over" in cell
            ]
            if not cells:
                row += ["–", "–"]
                continue
            ms = statistics.median(cell["cpu"] for cell in cells) * 1e3
            row += [f"{ms:.0f}", f"{statistics.median(cell['over'] for cell in cells):.2f}"]
        rows.append(row)
    head = [part for n in lengths for part in (f"n = {n:,}, CPU ms", "over none")]
    text = (
        "# Position encodings\n\n"
        "Forward and backward of a layer, causal where nothing else is said; medians of the turns."
        "\n\n"
    )
    text += markdown(["encoding", *head], rows)
    errors = [
        [key.removeprefix("angles/").replace("/", ", ", 1), f"{cell['error']:.1e}"]
        for key, cell in sorted(known.items())
        if key.startswith("angles/") and "error" in cell
    ]
    text += "\n" + markdown(["cosines to position 2²⁰, inputs", "worst error"], errors)
    return text + "\n" + provenance(board.path)


SECTIONS = {"time": run_time, "angles": run_angles}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    run_benchmark("position", __doc__, SECTIONS, table)
