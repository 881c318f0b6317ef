"""The one way a benchmark here runs: cells, each measured once, kept in a JSON file.

A cell is one case of one contestant: its quality, CPU seconds (`time.process_time`, one
thread), wall seconds and, where asked, peak memory growth in a process of its own. Cases are
walked in the outer loop and contestants in the inner one, so ours and peers are interleaved in
one process (A B A B ...). After every cell the file is written whole (a temporary file, then a
rename), so an interrupted benchmark goes on where it was. Our cells carry a fingerprint of our
sources and are measured again when the code has changed.
"""

import argparse
import ctypes
import gc
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

RESULTS = Path(__file__).resolve().parent / "results"
ROOT = RESULTS.parent.parent
PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "cleanlab",
    "pyHSICLasso",
    "skrub",
    "transformers",
    "evotorch",
    "pyro-ppl",
    "reinmax",
    "storchastic",
    "torcheggroll",
    "pytorch-fast-transformers",
    "flash-linear-attention",
    "performer-pytorch",
    "linear-attention-transformer",
    "x-transformers",
    "rotary-embedding-torch",
    "astropy",
)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


VERSIONS = _versions()  # at the start: an upgrade while a benchmark runs is not what it runs on


def one_thread() -> None:
    """Hold torch and every BLAS of this process to one thread."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def machine() -> dict[str, Any]:
    """Describe the processor, the packages and the commit."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].split(":", 1)[1].strip() if models else cpu
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads used": 1,
        "python": platform.python_version(),
        "packages": VERSIONS,
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def fingerprint(*rooms: str) -> str:
    """Hash the sources of the named rooms of trivium."""
    digest = hashlib.sha256()
    for room in rooms:
        for path in sorted((ROOT / "src" / "trivium" / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def measure(task: Callable[[], Any], repeats: int = 1) -> tuple[Any, dict[str, float]]:
    """Run a task; return its result and the least CPU and wall seconds of `repeats` runs."""
    cpu, wall, result = [], [], None
    for _ in range(repeats):
        result = None
        gc.collect()
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        result = task()
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    return result, {"cpu": min(cpu), "wall": min(wall), "repeats": repeats}


def in_a_loop(task: Callable[[], Any], repeats: int = 7, warm: int = 2) -> dict[str, float]:
    """Run a task over and over, as a training loop does; return the median seconds of a call.

    Nothing else runs between the calls: caches and the allocator are as the task leaves them.
    """
    for _ in range(warm):
        task()
    gc.collect()
    cpu, wall = [], []
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        task()
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    middle = statistics.median
    return {"cpu": middle(cpu), "wall": middle(wall), "least": min(cpu), "repeats": repeats}


def _status(field_name: str) -> int:
    """Return a figure of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field_name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field_name)


def _watch(pipe: Any, setup: Callable, task: Callable, arguments: tuple) -> None:
    try:
        one_thread()
        inputs = setup(*arguments)
        warm = getattr(task, "warm", None)
        if warm is not None:
            warm(inputs)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # freed memory goes back before the watch starts
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before = _status("VmRSS")
        cpu = time.process_time()
        task(inputs)
        cpu = time.process_time() - cpu
        peak = _status("VmHWM")
        pipe.send({"cpu": cpu, "bytes": peak - before, "peak": peak})
    except Exception as error:
        pipe.send({"failed": f"{type(error).__name__}: {str(error)[:200]}"})


def peak_memory(setup: Callable, task: Callable, *arguments: Any) -> dict[str, Any]:
    """Run `task(setup(*arguments))` in a fresh process; return the growth of its peak memory.

    What `setup` builds is not counted. Linux only (the peak is reset through /proc).
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_watch, args=(there, setup, task, arguments))
    process.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError:
        answer = {"failed": "the process ended without an answer"}
    process.join()
    return answer


@dataclass
class Board:
    """The cells of one benchmark, kept in `results/NAME.json`."""

    name: str
    path: Path
    cells: dict[str, dict] = field(default_factory=dict)
    quick: bool = False
    n_done: int = 0
    n_planned: int = 0

    @classmethod
    def open(cls, name: str, *, quick: bool = False, fresh: Iterable[str] = ()) -> "Board":
        """Read what an earlier run left; forget cells whose key begins with one of `fresh`."""
        path = RESULTS / f"{name}{'-quick' if quick else ''}.json"
        cells = json.loads(path.read_text())["cells"] if path.exists() else {}
        fresh = tuple(fresh)
        cells = {key: cell for key, cell in cells.items() if not (fresh and key.startswith(fresh))}
        return cls(name, path, cells, quick)

    def known(self) -> dict[str, dict]:
        """Return the cells as they are on disk, in the order of their keys."""
        return json.loads(self.path.read_text())["cells"]

    def cell(self, key: str, task: Callable[[], dict], code: str = "") -> dict:
        """Return the cell, measured now unless an earlier run with the same code has it."""
        known = self.cells.get(key)
        if known is None or known.get("code", "") != code or "failed" in known:
            begun = time.perf_counter()
            try:
                known = task()
            except Exception as error:  # a peer's failure is a result
                known = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
            known |= {"code": code} if code else {}
            known["took"] = time.perf_counter() - begun
            self.cells[key] = known
            self.write()
        self.n_done += 1
        self._progress(key)
        return known

    def _progress(self, key: str) -> None:
        total = f"/{self.n_planned}" if self.n_planned else ""
        end = "" if sys.stderr.isatty() else "\n"
        print(f"\r\x1b[K{self.name} {self.n_done}{total} {key}"[:120], end=end, file=sys.stderr)

    def write(self) -> None:
        """Write the file whole: a temporary neighbor, then a rename."""
        document = {"benchmark": self.name, "machine": machine(), "cells": self.cells}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        temporary.replace(self.path)


def options(description: str | None) -> argparse.ArgumentParser:
    """Return the flags every benchmark has."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print Markdown from the JSON only")
    parser.add_argument("--quick", action="store_true", help="a small version, own result file")
    parser.add_argument("--cache", type=Path, default=RESULTS.parent / "data", help="downloads")
    parser.add_argument(
        "--fresh", nargs="*", default=[], metavar="KEY", help="forget cells whose key begins so"
    )
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="SECTION", help="only these sections"
    )
    return parser


def markdown(header: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a Markdown table; numbers right."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    lines += ["| " + " | ".join(str(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def provenance(path: Path) -> str:
    """Return the machine line under a table."""
    about = json.loads(path.read_text())["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    return (
        f"{about['cpu']}, {about['cores']} cores, one thread used; Python {about['python']}, "
        f"{packages}; commit {about['commit']}, {about['date']}.\n"
    )


def publish(name: str, text: str, *, quick: bool) -> None:
    """Print the table and keep it beside the JSON."""
    print(text)
    if not quick:
        temporary = RESULTS / f"{name}.md.{os.getpid()}.tmp"
        temporary.write_text(text)
        temporary.replace(RESULTS / f"{name}.md")


Task = Callable[[argparse.Namespace, Board], None]


def run_benchmark(
    name: str,
    description: str | None,
    task: Task | Mapping[str, Task],
    table: Callable[[Board], str],
) -> None:
    """Read the command line, measure what is missing, publish the table: a benchmark's main.

    Args:
        name: Of the benchmark and its results.
        description: Its docstring.
        task: Measures, given the arguments and the board; or such tasks by section, for `--only`.
        table: Returns Markdown from what is known.
    """
    parser = options(description)
    arguments = parser.parse_args()
    one_thread()
    board = Board.open(name, quick=arguments.quick, fresh=arguments.fresh)
    if not arguments.table:
        for one in _chosen(parser, arguments.only, task):
            one(arguments, board)
    publish(name, table(board), quick=arguments.quick)


def _chosen(
    parser: argparse.ArgumentParser, only: list[str], task: Task | Mapping[str, Task]
) -> list[Task]:
    """Return the tasks of the sections asked for; a single task reads `--only` by itself."""
    if not isinstance(task, Mapping):
        return [task]
    unknown = [section for section in only if section not in task]
    if unknown:
        parser.error(f"--only must name sections among {', '.join(task)}; got {unknown[0]}")
    return [task[section] for section in only or task]
