"""HSIC from moments: rows per second beside the matrix product alone, memory, and the level.

`pass`: float32 rows of one dimension a side, made block by block, into `HSICMoments`; beside it the
product ZᵀZ of as many rows and columns alone (a general product, in blocks that fit the cache), and
at a million rows the two-pass route that keeps n × r factors. `file`: the same from a
memory-mapped .npy. `level`: 2,000 independent data sets of 200 rows, landmarks or frequencies fixed
from the same rows.
"""

import argparse
import tempfile
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from harness import Board, fingerprint, markdown, measure, peak_memory, provenance, run_benchmark

BLOCK = 50_000
SIZES = (1_000_000, 10_000_000)
FEATURES = {
    "landmarks": {},
    "50 frequencies": {"features": "fourier", "n_features": 100},
}
LEVELS = (0.05, 0.01, 0.001)
SIMULATIONS, ROWS = 2000, 200
KINDS = ("normal", "cauchy", "ties", "codes", "10 dimensions")


def block(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with a weak dependence, float32."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(BLOCK, dtype=np.float32)
    return x, np.cos(3 * x) * np.float32(0.1) + rng.standard_normal(BLOCK, dtype=np.float32)


def empty(kind: str) -> object:
    """Return moments of no rows, features fixed from 2,000 rows."""
    from trivium.dependence import HSICMoments

    x, y = block(10**6)
    return HSICMoments.like(x[:2000], y[:2000], **FEATURES[kind])


def width(made: object) -> int:
    """Return the columns of the product: both features and their squared lengths."""
    return made.features_x.n_features + made.features_y.n_features + 2


def pass_cell(kind: str, n_rows: int) -> dict:
    """Time the updates alone, and the test at the end."""
    made, cpu = empty(kind), 0.0
    made.copy().update(*block(0))
    for seed in range(n_rows // BLOCK):
        rows = block(seed)
        cpu += measure(lambda rows=rows: made.update(*rows))[1]["cpu"]
    result, cost = measure(made.test)
    return {
        "cpu": cpu,
        "test": cost["cpu"],
        "width": width(made),
        "p": result.p_value,
        "statistic": result.statistic_unbiased,
        "residual": result.residual,
    }


def product_cell(kind: str, n_rows: int) -> dict:
    """Time the general product of the same size alone, in float32."""
    columns, rows = width(empty(kind)), 8192
    z = np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)
    z.T @ z
    times = -(-n_rows // rows)
    return measure(lambda: [z.T @ z for _ in range(times)])[1]


def start(kind: str, n_rows: int) -> tuple[object, Iterator]:
    """Return moments that have seen a block, and a generator of the others."""
    return empty(kind).update(*block(0)), (block(seed) for seed in range(n_rows // BLOCK))


def run_through(inputs: tuple) -> None:
    """One call, an iterator of blocks."""
    inputs[0].update(inputs[1])


def factors(inputs: tuple) -> object:
    """The route that keeps factors of all rows."""
    from trivium.dependence import independence_test

    return independence_test(*inputs, null="saddlepoint", aggregate=False)


def all_rows(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same rows in memory."""
    parts = [block(seed) for seed in range(n_rows // BLOCK)]
    return tuple(np.concatenate(side) for side in zip(*parts, strict=True))


def file_cell(kind: str, n_rows: int) -> dict:
    """Time one pass over a memory-mapped file of float32."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "rows.npy"
        rows = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, 2))
        for seed in range(n_rows // BLOCK):
            rows[seed * BLOCK : (seed + 1) * BLOCK] = np.stack(block(seed), 1)
        rows.flush()
        made = empty(kind)
        mapped = np.load(path, mmap_mode="r")
        return measure(lambda: made.update(mapped[:, 0], mapped[:, 1]))[1]


def run_pass(arguments: argparse.Namespace, board: Board) -> None:
    """Product and moments, interleaved, then memory in processes of their own."""
    code = fingerprint("dependence", "kernel", "moment", "_core")
    for n_rows in (200_000,) if arguments.quick else SIZES:
        for kind in FEATURES:
            for turn in range(1 if arguments.quick or n_rows > SIZES[0] else 3):
                key = f"{kind}/{n_rows}/{turn}"
                board.cell(f"pass/{key}", partial(pass_cell, kind, n_rows), code)
                board.cell(f"product/{key}", partial(product_cell, kind, n_rows), code)
            watch = partial(peak_memory, start, run_through, kind, n_rows)
            board.cell(f"memory/{kind}/{n_rows}", watch, code)
    n_rows = 200_000 if arguments.quick else SIZES[0]
    board.cell(f"factors/{n_rows}", partial(peak_memory, all_rows, factors, n_rows), code)


def run_file(arguments: argparse.Namespace, board: Board) -> None:
    """The same from a file."""
    code = fingerprint("dependence", "kernel", "moment", "_core")
    for n_rows in (200_000,) if arguments.quick else SIZES:
        for kind in FEATURES:
            board.cell(f"file/{kind}/{n_rows}", partial(file_cell, kind, n_rows), code)


def independent(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return two independent variables."""
    if kind == "cauchy":
        return rng.standard_cauchy(ROWS), rng.standard_cauchy(ROWS)
    if kind == "ties":
        return rng.poisson(0.7, ROWS).astype(float), rng.poisson(0.7, ROWS).astype(float)
    if kind == "codes":
        return rng.integers(0, 5, ROWS), rng.choice(3, ROWS, p=[0.6, 0.3, 0.1])
    shape = (ROWS, 10) if kind == "10 dimensions" else (ROWS,)
    return rng.standard_normal(shape), rng.standard_normal(shape)


def level_cell(kind: str, features: str, simulations: int) -> dict:
    """Return the share of rejections at each level."""
    from trivium.dependence import HSICMoments

    rng, found = np.random.default_rng(5), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(simulations):
            x, y = independent(kind, rng)
            made = HSICMoments.like(x, y, n_features=40, features=features, random_state=seed)
            found.append(made.update(x, y).test().p_value)
    p_values = np.array(found)
    return {str(level): float((p_values <= level).mean()) for level in LEVELS} | {
        "simulations": simulations
    }


def run_level(arguments: argparse.Namespace, board: Board) -> None:
    """Every kind."""
    code = fingerprint("dependence", "kernel", "moment", "_core")
    simulations = 50 if arguments.quick else SIMULATIONS
    for features in ("auto", "fourier"):
        for kind in KINDS:
            if features == "auto" or kind != "codes":
                cell = partial(level_cell, kind, features, simulations)
                board.cell(f"level/{features}/{kind}", cell, code)


def pass_table(known: dict) -> str:
    """Return the table of one pass."""
    rows = []
    for n_rows in sorted({int(key.split("/")[2]) for key in known if key.startswith("pass/")}):
        for kind in FEATURES:
            cells = {
                who: min(
                    (c for k, c in known.items() if k.startswith(f"{who}/{kind}/{n_rows}/")),
                    key=lambda cell: cell["cpu"],
                )
                for who in ("pass", "product")
            }
            ours, product = cells["pass"], cells["product"]
            file = known.get(f"file/{kind}/{n_rows}", {}).get("cpu", float("nan"))
            memory = known[f"memory/{kind}/{n_rows}"]["bytes"] / 1e6
            rows.append(
                [
                    f"{n_rows:,} rows, {kind}, {ours['width']} columns",
                    f"{ours['cpu']:.2f}",
                    f"{n_rows / ours['cpu'] / 1e6:.1f}",
                    f"{product['cpu']:.2f}",
                    f"{ours['cpu'] / product['cpu']:.1f}×",
                    f"{file:.2f}",
                    f"{memory:.0f}",
                    f"{1e3 * ours['test']:.0f}",
                ]
            )
    head = [
        "float32, one dimension a side",
        "CPU s",
        "million rows/s",
        "product alone, s",
        "of the product",
        "from a file, s",
        "memory, MB",
        "test, ms",
    ]
    text = markdown(head, rows)
    for key in (key for key in known if key.startswith("factors/")):
        cell = known[key]
        text += (
            f'\nWith n × r factors kept (`independence_test(null="saddlepoint")`), '
            f"{int(key.split('/')[1]):,} rows: {cell['cpu']:.1f} CPU s, "
            f"{cell['bytes'] / 1e6:.0f} MB.\n"
        )
    return text + "\n"


def level_table(known: dict) -> str:
    """Return the levels, with the bounds of a test of exact level."""
    words = {"auto": "landmarks or levels", "fourier": "frequencies"}
    rows, count = [], 0
    for key, cell in known.items():
        if key.startswith("level/"):
            _, features, kind = key.split("/")
            count = cell["simulations"]
            rates = [f"{cell[str(level)]:.4f}" for level in LEVELS]
            rows.append([f"{kind}, at most 40 {words[features]}", *rates])
    head = [f"rejections, {count:,} data sets, n = {ROWS}", *(f"at {level}" for level in LEVELS)]
    return markdown(head, rows) + "\nAsked of exact tests: .0596 at .05, .0144 at .01.\n\n"


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    text = "# HSIC from moments, one pass\n\n" + pass_table(known)
    if any(key.startswith("level/") for key in known):
        text += "# Level\n\n" + level_table(known)
    return text + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    sections = {"pass": run_pass, "file": run_file, "level": run_level}
    run_benchmark("dependence_moments", __doc__, sections, table)


if __name__ == "__main__":
    main()
