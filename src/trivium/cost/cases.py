"""The operators that a calibration measures, each at sizes of its own."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trivium.cost.calibrate import Case
from trivium.cost.operation import Operation

__all__ = ["standard_cases"]

Call = Callable[[], Any]
# Rows × inputs × outputs of weights.
_LINEAR = (
    *((m, k, n) for m in (1, 3, 8, 20) for k, n in ((640, 640), (512, 2048), (2560, 640))),
    *((m, k, n) for m in (40, 96) for k, n in ((640, 640), (512, 2048), (2560, 640))),
    *((m, 512, 30000) for m in (1, 6)),
    *((m, 640, 640) for m in (384, 1536, 3000)),
    *((m, k, n) for m in (224, 896, 3500) for k, n in ((512, 2048), (2560, 640))),
    (320, 384, 1536),
    (1280, 1280, 384),
    (700, 1600, 1600),
    (5000, 640, 2560),
    (400, 512, 30000),
)
# Heads, rows, size of a head.
_HEADS = (
    *((8, n, 64) for n in (48, 96, 192, 384, 640, 768, 1536)),
    *((10, n, 96) for n in (80, 320, 850, 1280)),
    *((16, n, 32) for n in (160, 448, 1100)),
    *((6, n, 128) for n in (200, 700, 1400)),
    (6, 2304, 64),
    (6, 3328, 64),
    (4, 4500, 64),
)
# Rows × numbers of each, for passes over activations: none of 30 to 70 MB, for which the allocator
# may or may not find a gap.
_ROWS = (
    (1, 64),
    *((n, 512) for n in (3, 16, 96, 384, 1536, 6000, 12000)),
    *((n, 2048) for n in (64, 224, 896, 3000, 9000, 12000)),
    *((n, 640) for n in (200, 800, 3000)),
)
_IMAGES = ((3, 128, 16, 512), (3, 192, 16, 640), (3, 256, 32, 512), (3, 320, 16, 384))
# Seconds for a FLOP and for a byte, to guess what a measurement costs.
_GUESS = (1.2e-11, 4e-10)


def standard_cases(dtype: str) -> list[Case]:
    """Return the cases of all kinds that need nothing but torch.

    No size is one of BERT-base, BERT-large or a LLaMA: what is predicted for these was not
    fitted on them.

    Args:
        dtype: Name of the dtype.
    """
    kind = getattr(torch, dtype)
    return [*_linear(kind), *_attention(kind), *_passes(kind), *_others(kind)]


def _case(
    operation: Operation,
    size: str,
    build: Callable[[], Call],
    besides: tuple[Operation, ...] = (),
) -> Case:
    guess = operation.flops * _GUESS[0] + operation.bytes * _GUESS[1]
    return Case(operation, size, build, 3 * guess + 0.015, besides)


def _filled(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.full(shape, 0.01, dtype=dtype)


def _linear(dtype: torch.dtype) -> Iterator[Case]:
    item = dtype.itemsize
    for m, k, n in _LINEAR:
        kind = "thin linear" if m < 32 else "linear"
        work = Operation(kind, 2 * m * k * n, item * (m * k + k * n + m * n), 1, item * m * n)

        def build(m: int = m, k: int = k, n: int = n) -> Call:
            layer, x = nn.Linear(k, n, dtype=dtype), _filled(1, m, k, dtype=dtype)
            return lambda: layer(x)

        yield _case(work, f"{m}", build)


def _attention(dtype: torch.dtype) -> Iterator[Case]:
    item = dtype.itemsize
    for h, n, d in _HEADS:
        size, pairs, out = f"{n}", h * n * n, h * n * d

        def three(h: int = h, n: int = n, d: int = d) -> tuple[Tensor, Tensor, Tensor]:
            # As projections leave them: the heads of a token side by side.
            found = [_filled(1, n, h, d, dtype=dtype).transpose(1, 2) for _ in range(3)]
            return found[0], found[1], found[2]

        def scores(three: Any = three) -> Call:
            q, k, _ = three()
            return lambda: q @ k.transpose(-1, -2)

        def context(three: Any = three, h: int = h, n: int = n) -> Call:
            weights, value = _filled(1, h, n, n, dtype=dtype), three()[2]
            return lambda: weights @ value

        def softmax(h: int = h, n: int = n) -> Call:
            x = _filled(1, h, n, n, dtype=dtype)
            return lambda: functional.softmax(x, dim=-1)

        def scale(h: int = h, n: int = n) -> Call:
            x = _filled(1, h, n, n, dtype=dtype)
            return lambda: x * 0.125

        def fused(three: Any = three, *, causal: bool = False) -> Call:
            q, k, v = three()
            return lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

        def fused_causal(fused: Any = fused) -> Call:
            return fused(causal=True)

        moved = item * (pairs + 2 * out)
        wide = "wide product" if pairs > 2 * out else "product"
        yield _case(Operation(wide, 2 * pairs * d, moved, 1, item * pairs), size, scores)
        yield _case(Operation("product", 2 * pairs * d, moved, 1, item * out), size, context)
        yield _case(Operation("softmax", 0, 2 * item * pairs, 1, item * pairs), size, softmax)
        if d == 64 and n > 150:
            yield _case(Operation("pass", 0, 2 * item * pairs, 1, item * pairs), size, scale)
        whole = (4 * pairs * d, 4 * item * out, 1, item * out)
        inside = Operation("softmax", 0, 2 * item * pairs, 1)
        yield _case(Operation("attention", *whole), size, fused, (inside,))
        # About half of the pairs are left out.
        inside = Operation("softmax", 0, item * pairs, 1)
        yield _case(Operation("causal attention", *whole), size, fused_causal, (inside,))


def _passes(dtype: torch.dtype) -> Iterator[Case]:
    item = dtype.itemsize
    for n, width in _ROWS:
        size, bytes_ = f"{n}", item * n * width

        def one(act: Any, n: int = n, width: int = width) -> Call:
            x = _filled(1, n, width, dtype=dtype)
            return lambda: act(x)

        def add(n: int = n, width: int = width) -> Call:
            x, y = (_filled(1, n, width, dtype=dtype) for _ in range(2))
            return lambda: x + y

        def norm(n: int = n, width: int = width) -> Call:
            layer, x = nn.LayerNorm(width, dtype=dtype), _filled(1, n, width, dtype=dtype)
            return lambda: layer(x)

        def gather(n: int = n, width: int = width) -> Call:
            table = _filled(4000, width, dtype=dtype)
            ids = torch.arange(n).mul(1009).remainder(4000)[None]
            return lambda: functional.embedding(ids, table)

        twice = (0, 2 * bytes_, 1, bytes_)
        yield _case(Operation("pass", 0, 3 * bytes_, 1, bytes_), size, add)
        for act in (functional.gelu, functional.silu):
            yield _case(Operation("activation", *twice), size, partial(one, act))
        yield _case(Operation("norm", *twice), size, norm)
        yield _case(Operation("gather", *twice), size, gather)


def _others(dtype: torch.dtype) -> Iterator[Case]:
    item = dtype.itemsize
    for channels, side, patch, filters in _IMAGES:
        places, fold = (side // patch) ** 2, channels * patch**2
        moved = item * (channels * side**2 + places * filters + fold * filters)
        work = Operation(
            "convolution", 2 * places * fold * filters, moved, 1, item * places * filters
        )

        def conv(a: int = channels, b: int = side, p: int = patch, f: int = filters) -> Call:
            layer = nn.Conv2d(a, f, p, stride=p, dtype=dtype)
            x = _filled(1, a, b, b, dtype=dtype)
            return lambda: layer(x)

        yield _case(work, f"{side}", conv)
    for i, tiny in enumerate((8, 64)):

        def call(tiny: int = tiny) -> Call:
            x = _filled(tiny, dtype=dtype)
            return lambda: x + 1

        yield _case(Operation("call"), f"{i}", call)
