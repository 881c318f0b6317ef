"""Executors: what a block costs beside bare joblib and Dask, two workers, 100 machines.

CPU seconds are those of this process and of the workers that have ended together, so each cell
starts and ends workers of its own and says what an empty piece of work costs. The cost model of
many machines is arithmetic on the rates named in it; it measures nothing.
"""

import argparse
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from harness import Board, fingerprint, markdown, provenance, run_benchmark

from trivium.moment import Moments
from trivium.parallel import EXECUTORS, open_executor

N_BLOCKS = 1_000
SHARED_MB, N_SHARED = 200, 50
ROWS, D, N_ROW_BLOCKS = 1_000_000, 64, 40
NAMES = tuple(name for name in EXECUTORS if name != "ray")
MACHINES = (1, 10, 100, 1_000)
# Stated rates: of a core, of a machine's disk, into the caller, of adding parts, of a message.
FLOPS, DISK, NETWORK, ADDING, LATENCY = 50e9, 1e9, 1.25e9, 2e9, 1e-3
N_CORES, N_FILE_ROWS, BLOCK_ROWS = 8, 10_000_000_000, 1_000_000


def nothing(number: int) -> None:
    """Do nothing."""


def total_of(number: int, shared: torch.Tensor) -> float:
    """Return a sum over a hundredth of what is shared."""
    return float(shared[number::100].sum())


def moments_of(number: int) -> Moments:
    """Return the moments of rows made on the spot."""
    rows = ROWS // N_ROW_BLOCKS
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(rows, D, generator=generator)
    moments = Moments(D)
    for _ in range(4):  # so that the pass, not the draw, is what is measured
        moments.update(x)
    return moments


def clocked(task: Callable[[], Any]) -> dict[str, float]:
    """Return wall and CPU seconds of a task."""
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def children_cpu() -> float:
    """Return CPU seconds of child processes that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def joblib_bare(backend: str, function: Callable[..., Any], blocks: range, *more: Any) -> None:
    """Run blocks with joblib alone."""
    import joblib

    calls = (joblib.delayed(function)(number, *more) for number in blocks)
    list(joblib.Parallel(2, backend, return_as="generator_unordered")(calls))


def dask_bare(client: Any, function: Callable[..., Any], blocks: range, *more: Any) -> None:
    """Run blocks with Dask alone."""
    given = [client.scatter(one, hash=False) for one in more]
    client.gather([client.submit(function, number, *given, pure=False) for number in blocks])


def runner(who: str) -> AbstractContextManager[Any]:
    """Return what runs blocks: ours by its name, or a library alone."""
    if who == "dask alone":
        from distributed import Client

        return Client(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=60)
    if who.endswith(" alone"):
        return nullcontext()
    return open_executor(who, n_workers=None if who == "serial" else 2)


def run_on(who: str, opened: Any, function: Callable[..., Any], n: int, *more: Any) -> None:
    """Run n blocks."""
    if who == "dask alone":
        dask_bare(opened, function, range(n), *more)
    elif who.endswith(" alone"):
        backend = {"joblib threads": "threading", "joblib processes": "loky"}[who[:-6]]
        joblib_bare(backend, function, range(n), *more)
    elif more:
        opened.map(function, range(n), shared=more[0])
    else:
        opened.map(function, range(n))


WHO = ("serial", "threads", "joblib threads alone", "processes", "joblib processes alone", "dask")
ALL = (*WHO, "dask alone")


def overhead_cell(who: str, n: int) -> dict[str, float]:
    """Time empty blocks, workers warm."""
    with runner(who) as opened:
        run_on(who, opened, nothing, 20)
        runs = [clocked(partial(run_on, who, opened, nothing, n)) for _ in range(3)]
    return min(runs, key=lambda run: run["wall"]) | {"blocks": n}


def shared_cell(who: str, megabytes: int) -> dict[str, float]:
    """Time blocks that read a large matrix."""
    shared = torch.randn(megabytes * 250_000, generator=torch.Generator().manual_seed(0))
    with runner(who) as opened:
        run_on(who, opened, nothing, 20)
        return clocked(partial(run_on, who, opened, total_of, N_SHARED, shared))


def scaling_cell(who: str, n_workers: int) -> dict[str, float]:
    """Time moments of a million rows, four times over; CPU of the workers too."""
    started = children_cpu()
    with open_executor(who, n_workers=n_workers) as executor:
        executor.map(nothing, range(2 * n_workers))
        cell = clocked(lambda: executor.merge(moments_of, range(N_ROW_BLOCKS)))
    return cell | {"children": children_cpu() - started}


def run_overhead(arguments: argparse.Namespace, board: Board) -> None:
    """Measure empty blocks."""
    n = 200 if arguments.quick else N_BLOCKS
    for who in ALL:
        board.cell(f"overhead/{who}", partial(overhead_cell, who, n), fingerprint("parallel"))


def run_shared(arguments: argparse.Namespace, board: Board) -> None:
    """Measure shared data."""
    size = 20 if arguments.quick else SHARED_MB
    for who in ALL:
        board.cell(f"shared/{who}", partial(shared_cell, who, size), fingerprint("parallel"))


def run_scaling(arguments: argparse.Namespace, board: Board) -> None:
    """Measure one and two workers."""
    for who in ("threads", "processes", "dask"):
        for n_workers in (1, 2):
            key = f"scaling/{who}/{n_workers}"
            code = fingerprint("parallel", "moment")
            board.cell(key, partial(scaling_cell, who, n_workers), code)


@dataclass(frozen=True)
class Work:
    """One piece of work: operations, bytes read, bytes of a block's result and shared, blocks."""

    name: str
    flops: float
    disk: float
    part: float
    shared: float
    blocks: float


def passed(name: str, d: int, flops_a_row: float, part: float) -> Work:
    """Return one pass over float32 rows of d numbers in files."""
    n = N_FILE_ROWS
    return Work(name, n * flops_a_row, 4.0 * n * d, part, 0.0, n / BLOCK_ROWS)


def work() -> list[Work]:
    """Return what is put on paper."""
    d, r, c = 384, 512, 10
    shifts, n, p, members, tokens = 10_000, 20_000, 100_000_000, 256, 1_000
    return [
        passed("moments, d = 64", 64, 64 * 64, 8 * 64 * 65),
        passed("moments, d = 384", d, d * d, 8 * d * (d + 1)),
        passed("closed form, d = 384, 10 classes", d, d * d + d, 8 * d * (d + c)),
        passed("HSIC, 512 features a side of 32 columns", 64, 4 * 32 * r + 2 * r * r, 8 * r * r),
        Work("10,000 shifts of 20,000 rows", 2.0 * shifts * n * n, 0, 8 * 100, 8.0 * n * 64, 100),
        Work(
            "256 members of 1e8 parameters, 1,000 tokens",
            2.0 * p * tokens * members,
            0,
            16,
            16,
            256,
        ),
    ]


def model(one: Work, machines: int) -> list[str]:
    """Return a line of the cost model.

    A block's result goes to the caller (`blocks`), or parts are merged on each machine first and
    one goes to the caller (`machines`); merging in the caller and work on the machines overlap.
    """
    busy = min(machines * N_CORES, one.blocks)
    compute = one.flops / (FLOPS * busy)
    disk = one.disk / (DISK * machines)
    share = one.shared * machines / NETWORK
    merged = [
        count * (one.part / NETWORK + one.part / ADDING + LATENCY)
        for count in (one.blocks, min(machines, one.blocks))
    ]
    whole = [share + max(compute, disk, merge) for merge in merged]
    crossed = one.blocks * one.part + machines * one.shared
    figures = (compute, disk, share, *merged, *whole)
    return [
        one.name,
        f"{machines:,}",
        f"{one.part / 1e6:.2g}",
        f"{crossed / 1e9:.2g}",
        *(f"{figure:.2g}" for figure in figures),
    ]


def table(board: Board) -> str:
    """Return the tables."""
    known = board.known() if board.path.exists() else {}
    text = "Blocks of an empty function, two workers, ms a block (wall; CPU of the caller):\n\n"
    cells = {who: known.get(f"overhead/{who}", {}) for who in ALL}
    rows = [
        [who, *(f"{1e3 * cell[clock] / cell['blocks']:.3f}" for clock in ("wall", "cpu"))]
        for who, cell in cells.items()
        if "wall" in cell
    ]
    text += markdown(["", "wall", "CPU"], rows)
    text += f"\nA matrix of {SHARED_MB} MB shared by {N_SHARED} blocks, seconds:\n\n"
    rows = [
        [who, f"{cell['wall']:.2f}", f"{cell['cpu']:.2f}"]
        for who in ALL
        if "wall" in (cell := known.get(f"shared/{who}", {}))
    ]
    text += markdown(["", "wall", "CPU of the caller"], rows)
    text += "\nMoments of 1e6 x 64 float32 rows, four passes, 40 blocks, from 1 to 2 workers:\n\n"
    rows = []
    for who in ("threads", "processes", "dask"):
        pair = [known.get(f"scaling/{who}/{n}", {}) for n in (1, 2)]
        if all("wall" in cell for cell in pair):
            one, two = pair
            spent = [f"{cell['cpu'] + cell['children']:.1f}" for cell in pair]
            gain = f"{one['wall'] / two['wall']:.2f}"
            rows.append([who, f"{one['wall']:.2f}", f"{two['wall']:.2f}", gain, *spent])
    head = ["", "wall, 1", "wall, 2", "gain", "CPU with start, 1", "CPU with start, 2"]
    text += markdown(head, rows)
    text += (
        f"\nOn paper: files of {N_FILE_ROWS:.0e} rows in blocks of {BLOCK_ROWS:.0e}; "
        f"{N_CORES} cores a machine at {FLOPS / 1e9:g} GFLOP/s, a disk of {DISK / 1e9:g} GB/s "
        f"each, {NETWORK / 1e9:g} GB/s into the caller, parts added at {ADDING / 1e9:g} GB/s, "
        f"{LATENCY * 1e3:g} ms a message. Seconds:\n\n"
    )
    lines = [model(one, machines) for one in work() for machines in MACHINES]
    head = ["", "machines", "MB a part", "GB to and fro", "compute", "disk", "shared"]
    head += ["merge of blocks", "merge of machines", "all, blocks", "all, machines"]
    text += markdown(head, lines)
    return text + ("\n" + provenance(board.path) if known else "")


SECTIONS = {"overhead": run_overhead, "shared": run_shared, "scaling": run_scaling}


if __name__ == "__main__":
    run_benchmark("parallel", __doc__, SECTIONS, table)
