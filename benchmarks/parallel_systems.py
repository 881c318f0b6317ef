"""The systems' long work without an executor and in one and two processes: wall and CPU seconds.

Each piece of work is done in this process, then by one worker process, then by two, warm (the
workers have imported what they need); CPU seconds are those of this process and of its workers
together, read from /proc. The results of all three are compared to the last bit. The bytes of a
step of `Replicas` are those of its blocks as they cross to another process.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Board, fingerprint, markdown, provenance, run_benchmark

ROOMS = ("dependence", "objective", "parallel", "pathkernel")
PLACES = ("no executor", "1 process", "2 processes")


def screen_work(quick: bool) -> Callable[[Any], Any]:
    from trivium.dependence import DependenceColumn, screen

    n, k = (500, 6) if quick else (8000, 48)
    rng = np.random.default_rng(0)
    target = DependenceColumn("y", "number", rng.normal(size=n))
    columns = [DependenceColumn(f"x{i}", "number", rng.normal(size=n)) for i in range(k)]

    def work(executor: Any) -> Any:
        found = screen(columns, target, executor=executor)
        return [[row.statistic, row.p_value] for row in found.rows]

    return work


def shifts_work(quick: bool) -> Callable[[Any], Any]:
    from trivium.dependence import independence_test

    x, y = np.random.default_rng(0).normal(size=(2, 2500 if quick else 8000))
    return lambda executor: independence_test(x, y, executor=executor).null.tolist()


def permutations_work(quick: bool) -> Callable[[Any], Any]:
    from trivium.dependence import independence_test

    x, y = np.random.default_rng(0).normal(size=(2, 1500 if quick else 4000, 3))
    count = 50 if quick else 600
    return lambda executor: independence_test(
        x, y, null="permutation", n_permutations=count, aggregate=False, executor=executor
    ).null.tolist()


def wrong(x: torch.Tensor, y: torch.Tensor, module: torch.nn.Module) -> torch.Tensor:
    """Share of labels that are wrong."""
    return (module(x).argmax(1) != y).float().mean()


def network(width: int) -> torch.nn.Module:
    """Return a perceptron of about 2 width² weights."""
    torch.manual_seed(0)
    nn = torch.nn
    first, second = nn.Linear(64, width), nn.Linear(width, width)
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(width, 10))


def replicas_work(quick: bool) -> Callable[[Any], Any]:
    from trivium.objective import Replicas, ZerothOrderStep

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 64, generator=generator)
    y = torch.randint(10, (256,), generator=generator)

    def work(executor: Any) -> Any:
        zeroth = ZerothOrderStep(network(64 if quick else 1024), 1e-2, 1e-2, 16, seed=0)
        replicas = Replicas(zeroth, partial(wrong, x, y), executor)
        return [zeroth.step(evaluate=replicas) for _ in range(2 if quick else 8)]

    return work


def recording_work(quick: bool) -> Callable[[Any], Any]:
    from torch.nn.functional import cross_entropy

    from trivium.pathkernel import record

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 64, generator=generator)
    y = torch.randint(10, (512,), generator=generator)
    net = network(32 if quick else 128)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    with record(net, optimizer, cross_entropy, stride=20) as recording:
        for step in range(10 if quick else 60):
            ids = torch.arange(32) + 32 * (step % 16)
            recording.batch(ids)
            optimizer.zero_grad()
            cross_entropy(net(x[ids]), y[ids]).backward()
            optimizer.step()
    eight = 8 * 5 * 4 * sum(p.numel() for p in net.parameters())  # bytes of eight queries
    return lambda executor: recording.without(
        x[:64], y=y[:64], budget=eight, progress=lambda *_: None, executor=executor
    ).contributions.tolist()


WORKS = {
    "`screen`, 8,000 × 48 numbers": screen_work,
    "`independence_test`, 8,000 rows, shifts, 5 × 5 kernels": shifts_work,
    "`independence_test`, 4,000 × 3, 600 permutations": permutations_work,
    "`Replicas`, 1.1 million weights, 8 steps of 16 directions": replicas_work,
    "`Recording.without`, 64 queries in 8 blocks, 60 steps of Adam": recording_work,
}


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of all below it that still run."""
    found, ticks = time.process_time(), os.sysconf("SC_CLK_TCK")
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
        pid = int(path.parent.name)
        parents.setdefault(int(fields[1]), []).append(pid)
        used[pid] = (int(fields[11]) + int(fields[12])) / ticks
    below = parents.get(os.getpid(), [])
    while below:
        found += sum(used[pid] for pid in below)
        below = [child for pid in below for child in parents.get(pid, [])]
    return found


def warm_up(number: int) -> int:
    """Make a worker import what it needs."""
    import trivium.dependence
    import trivium.objective
    import trivium.pathkernel  # noqa: F401 - imported for the time that it takes

    time.sleep(0.5)  # so that the other worker gets one too
    return number


def one_work(make: Callable[[bool], Callable[[Any], Any]], quick: bool) -> dict:
    """Measure one piece of work in all places."""
    from trivium.parallel import open_executor

    work = make(quick)
    found: dict[str, Any] = {}
    results = []
    for place in PLACES:
        workers = 0 if place == PLACES[0] else int(place[0])
        name = "processes" if workers else "serial"
        with open_executor(name, n_workers=workers or None) as executor:
            if workers:
                executor.map(warm_up, range(2 * workers))
            cpu, wall = cpu_seconds(), time.perf_counter()
            results.append(work(executor if workers else None))
            found[place] = {"wall": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}
    found["same bits"] = all(each == results[0] for each in results)
    return found


def step_bytes(quick: bool) -> dict:
    """Measure what crosses in a step of `Replicas`, in bytes."""
    from trivium.objective import Replicas, ZerothOrderStep
    from trivium.parallel import SerialExecutor
    from trivium.parallel.wire import to_bytes

    class Weighed(SerialExecutor):
        def each(self, function: Any, blocks: Any, *, shared: Any = None, **rest: Any) -> Any:
            sent.append([sum(len(to_bytes(one, "benchmark", "block")) for one in blocks), 0])
            if shared is not None:
                sent[-1][1] = len(to_bytes(shared, "benchmark", "shared"))
            return super().each(function, blocks, shared=shared, **rest)

    sent: list[list[int]] = []
    x, y = torch.randn(256, 64), torch.randint(10, (256,))
    zeroth = ZerothOrderStep(network(64 if quick else 1024), 1e-2, 1e-2, 16, seed=0)
    replicas = Replicas(zeroth, partial(wrong, x, y), Weighed())
    for _ in range(4):
        zeroth.step(evaluate=replicas)
    weights = sum(p.numel() for p in zeroth.module.parameters())
    return {"weights": weights, "once": sent[1][1], "a step": sent[-1][0], "directions": 16}


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Measure what is missing."""
    code = fingerprint(*ROOMS)
    board.n_planned = len(WORKS) + 1
    for name, make in WORKS.items():
        board.cell(f"work/{name}", partial(one_work, make, arguments.quick), code)
    board.cell("bytes", partial(step_bytes, arguments.quick), code)


def table(board: Board) -> str:
    """Return what is known as Markdown."""
    known = board.known()
    rows = []
    for name in WORKS:
        cell = known.get(f"work/{name}", {})
        if "same bits" in cell:
            times = [f"{cell[p]['wall']:.2f} s / {cell[p]['cpu']:.2f} s" for p in PLACES]
            gain = cell[PLACES[1]]["wall"] / cell[PLACES[2]]["wall"]
            rows.append([name, *times, f"{gain:.2f}", "yes" if cell["same bits"] else "NO"])
    header = ["wall / CPU seconds", *PLACES, "1 → 2", "same bits"]
    text = "# The systems on executors\n\n" + markdown(header, rows) + "\n"
    if "once" in (sent := known.get("bytes", {})):
        text += (
            f"`Replicas` with {sent['weights']:,} weights in float32: {sent['once']:,} bytes once "
            f"to each worker, then {sent['a step']:,} bytes for a step of {sent['directions']} "
            "directions, and two numbers back for each of them.\n\n"
        )
    return text + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("parallel_systems", __doc__, run, table)


if __name__ == "__main__":
    main()
