"""The gradient of HSIC at 20,000 × 64: CPU seconds and memory, by hand, by checkpoints, plainly.

Three ways to the gradient of the unbiased estimate of two variables of 64 columns, Gaussian
kernels, float32: ours (tiles, their gradient written by hand), the same tiles under torch's
checkpoint (the earlier way, which still serves kernels with parameters of their own), and plain
autograd on complete Gram matrices. How far apart their gradients are is measured in float64.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import Board, fingerprint, markdown, measure, peak_memory, provenance, run_benchmark

COLUMNS = 64
SIZES = (5_000, 20_000)
PLAIN_ROWS = 10_000  # complete matrices of 20,000 rows need more than the machine has to spare
LENGTHSCALES = (11.2, 15.8)
NAMES = {
    "tiled": "ours: tiles, gradient by hand",
    "checkpointed": "the same tiles under torch's checkpoint",
    "plain": "plain autograd on complete matrices",
}

Rows = tuple[torch.Tensor, torch.Tensor]


def rows_of(n_rows: int, dtype: torch.dtype = torch.float32) -> Rows:
    """Return x of 64 normal columns and y = x + noise."""
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(n_rows, COLUMNS, generator=generator, dtype=dtype) for _ in range(2))
    return x.requires_grad_(), (x.detach() + noise).requires_grad_()


def _kernels() -> tuple[Any, Any]:
    from trivium.kernel import Gaussian

    return Gaussian(LENGTHSCALES[0]), Gaussian(LENGTHSCALES[1])


def tiled(rows: Rows) -> Rows:
    """Ours."""
    from trivium.dependence import hsic

    return torch.autograd.grad(hsic(*rows, *_kernels()), rows)


def checkpointed(rows: Rows) -> Rows:
    """Tiles that autograd computes again on the way back."""
    from trivium.dependence.sums import GramSums
    from trivium.dependence.tiled import checkpointed_sums
    from trivium.dependence.tiling import Tiling

    n = len(rows[0])
    tiling = Tiling(_kernels(), rows[0].dtype, n, min(n, 1024), own=False)
    inner, by_row = checkpointed_sums(tiling, *rows)
    ones = torch.ones(n, dtype=torch.float64)
    value = GramSums(inner[0], by_row[0], by_row[1], ones, ones).estimate("unbiased")
    return torch.autograd.grad(value, rows)


def plain(rows: Rows) -> Rows:
    """Automatic differentiation of the same formula on complete Gram matrices."""
    from trivium.dependence.sums import gram_sums

    first, second = (kernel.gram(each) for kernel, each in zip(_kernels(), rows, strict=True))
    return torch.autograd.grad(gram_sums(first, second).estimate("unbiased"), rows)


TASKS: dict[str, Callable[[Rows], Rows]] = {
    task.__name__: task for task in (tiled, checkpointed, plain)
}
for _task in TASKS.values():
    _task.warm = lambda rows, task=_task: task(tuple(each[:600] for each in rows))  # type: ignore


def time_cell(task: Callable[[Rows], Rows], n_rows: int) -> dict:
    """CPU seconds of value and gradient."""
    rows = rows_of(n_rows)
    task.warm(rows)  # type: ignore[attr-defined]
    return measure(lambda: task(rows))[1]


def agreement_cell(n_rows: int) -> dict:
    """Largest difference of the gradients in float64, relative to the largest entry."""
    rows = rows_of(n_rows, torch.float64)
    found = {name: task(rows) for name, task in TASKS.items()}

    def gap(name: str) -> float:
        pairs = zip(found[name], found["plain"], strict=True)
        return max(float((f - p).abs().max() / p.abs().max()) for f, p in pairs)

    return {name: gap(name) for name in ("tiled", "checkpointed")}


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Interleave the contestants, then the memory of each, then their agreement."""
    code = fingerprint("dependence", "kernel")
    sizes = (1_000, 2_000) if arguments.quick else SIZES
    for n_rows in sizes:
        for name, task in TASKS.items():
            rows = min(n_rows, PLAIN_ROWS) if name == "plain" else n_rows
            board.cell(f"time/{name}/{rows}", partial(time_cell, task, rows), code)
            board.cell(f"memory/{name}/{rows}", partial(peak_memory, rows_of, task, rows), code)
    board.cell("agreement/1500", partial(agreement_cell, 1_500), code)


def table(board: Board) -> str:
    """Markdown from the cells."""
    cells = board.known()
    sizes = (1_000, 2_000) if board.quick else SIZES
    lines = []
    for name, label in NAMES.items():
        for n_rows in sizes:
            measured = min(n_rows, PLAIN_ROWS) if name == "plain" else n_rows
            cpu = cells[f"time/{name}/{measured}"]["cpu"]
            grown = cells[f"memory/{name}/{measured}"]["bytes"] / 1e6
            scale = (n_rows / measured) ** 2
            note = "" if scale == 1 else f" (extrapolated from {measured:,} rows)"
            lines.append(
                (label + note, f"{n_rows:,}", f"{cpu * scale:.2f}", f"{grown * scale:,.0f}")
            )
    agreement = cells["agreement/1500"]
    return (
        "Gradient of HSIC of two variables of 64 columns, float32\n\n"
        + markdown(["way", "rows", "CPU s", "growth of peak memory, MB"], lines)
        + f"\nLargest difference from plain autograd at 1,500 rows in float64, relative to the "
        f"largest entry: ours {agreement['tiled']:.1e}, checkpoint "
        f"{agreement['checkpointed']:.1e}.\n\n" + provenance(board.path)
    )


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("dependence_gradient", __doc__, run, table)


if __name__ == "__main__":
    main()
