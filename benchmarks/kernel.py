"""The kernel primitive: factors, tiles, shifts, texts, and Gram matrices beside scikit-learn's.

Quality is beside time where there is one: what a factor leaves out, how far a Gram matrix is from
scikit-learn's, how far float32 is from float64. One thread, CPU seconds, contestants interleaved.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from harness import Board, fingerprint, markdown, measure, provenance, run_benchmark

from trivium.dependence import independence_test
from trivium.kernel import Distance, Gaussian, Kernel, String

TURNS = 3


def rows(n: int, d: int, dtype: torch.dtype) -> torch.Tensor:
    """Return standard normal rows, the same ones for both types."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype)


def factor(n: int, dtype: str) -> dict:
    """Incomplete Cholesky of one column to 1e-6 of the trace."""
    x = rows(n, 1, getattr(torch, dtype))
    kernel = Gaussian().resolve(x[:1000])
    found, timing = measure(lambda: kernel.factor(x, 200, tol=1e-6))
    return timing | {"rank": found.values.shape[1], "residual": found.relative_residual}


def tiles(n: int, d: int, dtype: str) -> dict:
    """Every tile of a Gram matrix of n rows, 4 MiB at a time."""
    x = rows(n, d, getattr(torch, dtype))
    kernel = Gaussian(float(d) ** 0.5)

    def task() -> float:
        return sum(float(tile[0, 0]) for *_, tile in kernel.tiles(x, budget=2**22))

    return measure(task)[1]


def shifts(n: int, kernel: Kernel) -> dict:
    """The test by all shifts of complete Gram matrices, at one lengthscale."""
    x, y = rows(n, 2, torch.float64).T
    task = partial(independence_test, x, y, kernel_x=kernel, kernel_y=kernel, aggregate=False)
    found, timing = measure(task)
    return timing | {"method": found.method}


def sentences(n: int) -> list[str]:
    """Return texts of 20 to 106 characters."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 9))) for _ in range(400)]
    return [" ".join(rng.choice(words, rng.integers(5, 17))) for _ in range(n)]


def texts(n: int, who: str) -> dict:
    """Cosines of counts of 1- to 3-grams, ours or scikit-learn's."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    given = sentences(n)

    def peer() -> np.ndarray:
        counts = CountVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False)
        return cosine_similarity(counts.fit_transform(given))

    def ours() -> np.ndarray:
        return String(ngram=(1, 3)).gram(String.encode(given)).numpy()

    matrix, timing = measure(ours if who == "ours" else peer)
    other = peer() if who == "ours" else ours()
    return timing | {
        "difference": float(np.abs(matrix - other).max()),
        "characters": float(np.mean([len(text) for text in given])),
    }


def gram(n: int, d: int, who: str) -> dict:
    """A complete Gaussian Gram matrix in float64."""
    from sklearn.metrics.pairwise import rbf_kernel

    x = rows(n, d, torch.float64)
    kernel = Gaussian.from_gamma(1.0 / d)
    task = partial(kernel.gram, x) if who == "ours" else partial(rbf_kernel, x.numpy())
    matrix, timing = measure(task)
    other = kernel.gram(x).numpy() if who != "ours" else rbf_kernel(x.numpy())
    return timing | {"difference": float(np.abs(np.asarray(matrix) - other).max())}


def cases(quick: bool) -> dict[str, Callable[[], dict]]:
    """Every cell, by what the table says of it."""
    small = 20 if quick else 1
    million, many, some = 1_000_000 // small, 20_000 // small, 5_000 // small
    found: dict[str, Callable[[], dict]] = {}
    for dtype in ("float64", "float32"):
        what = f"factor of {million:,} rows, one column, to 1e-6 of the trace, {dtype}"
        found[what] = partial(factor, million, dtype)
        for d, columns in ((64, "64 columns"), (1, "one column")):
            what = f"all tiles of a Gaussian, {many:,} × {many:,}, {columns}, 4 MiB, {dtype}"
            found[what] = partial(tiles, many, d, dtype)
    for name, kernel in (("Distance", Distance()), ("Gaussian", Gaussian())):
        what = f"all shifts of {many:,} rows, one column a side, `{name}` on both"
        found[what] = partial(shifts, many, kernel)
    for who in ("ours", "scikit-learn"):
        for n in (2_000 // small, some):
            found[f"Gram matrix of {n:,} texts, 1- to 3-grams, {who}"] = partial(texts, n, who)
        what = f"Gaussian Gram matrix of {some:,} rows, 64 columns, float64, {who}"
        found[what] = partial(gram, some, 64, who)
    return found


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Every cell in each turn."""
    code = fingerprint("kernel", "_core", "dependence")
    for turn in range(1 if arguments.quick else TURNS):
        for what, task in cases(arguments.quick).items():
            board.cell(f"{what}/{turn}", task, "" if what.endswith("learn") else code)


def table(board: Board) -> str:
    """Return the least of the turns, and the quality beside it."""
    lines = []
    for what in cases(board.quick):
        turns = [cell for key, cell in board.known().items() if key.rpartition("/")[0] == what]
        said = []
        if "rank" in turns[0]:
            said.append(f"rank {turns[0]['rank']}, leaves {turns[0]['residual']:.1e} of the trace")
        if "difference" in turns[0]:
            said.append(f"the two differ by {turns[0]['difference']:.1e}")
        if "characters" in turns[0]:
            said.append(f"{turns[0]['characters']:.0f} characters a text")
        lines.append([what, f"{min(cell['cpu'] for cell in turns):.2f}", "; ".join(said)])
    shown = markdown(["what", "CPU s", ""], lines)
    return f"# The kernel\n\nLeast of the turns.\n\n{shown}\n\n{provenance(board.path)}"


if __name__ == "__main__":
    run_benchmark("kernel", __doc__, run, table)
