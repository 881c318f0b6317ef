"""Linear attention as cases of a calibration: its law is fitted to what a user runs."""

from collections.abc import Callable
from typing import Any

import torch

from trivium.attention.linear import linear_attention
from trivium.cost import Operation
from trivium.cost.calibrate import Case

__all__ = ["linear_attention_cases"]

# Heads, rows, size of a head.
_SIZES = (
    *((8, n, 64) for n in (48, 192, 640, 1536, 3000, 6000)),
    *((2, n, 256) for n in (96, 384, 1300, 4500)),
    *((10, n, 96) for n in (320, 1280)),
)


def linear_attention_cases(dtype: str = "float32") -> list[Case]:
    """Return cases of `linear_attention`, causal and not, for `Machine.calibrate`.

    Args:
        dtype: Name of the dtype.

    Example:
        >>> {case.operation.kind for case in linear_attention_cases()} == {
        ...     "linear attention",
        ...     "causal linear attention",
        ... }
        True
    """
    item = getattr(torch, dtype).itemsize
    found = []
    for h, n, d in _SIZES:
        # The state is built from keys and values, then read by queries.
        moved = item * (4 * h * n * d + 2 * h * d * d)
        fresh = item * (h * n * d + h * d * d)
        for causal in (False, True):
            kind = "causal linear attention" if causal else "linear attention"
            work = Operation(kind, 4 * h * n * d * d, moved, 1, fresh)
            cost = 4 * h * n * d * d * 2e-10 + 0.02
            found.append(Case(work, f"{n}", _build(dtype, (1, n, h, d), causal), cost))
    return found


def _build(dtype: str, shape: tuple[int, ...], causal: bool) -> Callable[[], Callable[[], Any]]:
    def build() -> Callable[[], Any]:
        q, k, v = (
            torch.full(shape, 0.01, dtype=getattr(torch, dtype)).transpose(1, 2) for _ in range(3)
        )
        return lambda: linear_attention(q, k, v, causal=causal)

    return build
