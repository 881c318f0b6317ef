"""Files larger than one wants to hold: one pass of moments, the closed form and HSIC.

Each task runs in a process of its own (`scale_task.py`), so that its peak memory is its own;
workers are processes. Beside ours stand the limits (reading the files, decoding them, the bare
matrix product) and peers on the same files. The data are drawn block by block from a seed and
kept in the cache folder until the section `clean`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import Board, fingerprint, markdown, provenance, run_benchmark

ROOMS = ("table", "moment", "closedform", "dependence", "parallel", "kernel", "_core")
SETS = {
    "10M x 64": {"kind": "parquet", "n": 10_000_000, "d": 64, "n_files": 10},
    "1M x 384": {"kind": "parquet", "n": 1_000_000, "d": 384, "n_files": 4},
    "1M x 64 csv": {"kind": "csv", "n": 1_000_000, "d": 64, "n_files": 4},
    "1M x 64 jsonl": {"kind": "jsonl", "n": 1_000_000, "d": 64, "n_files": 4},
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ALONE = {**os.environ, **dict.fromkeys(THREADS, "1")}
QUICK = 50  # times fewer rows
LABELS = {
    "disk cold": "the files read, pages dropped before",
    "disk warm": "the files read again, from memory",
    "decode": "Parquet decoded by Arrow alone",
    "decode csv": "CSV parsed by Arrow alone",
    "product float32": "bare product XᵀX, float32",
    "product float64": "bare product XᵀX, float64",
    "fit 1": "ours: moments and closed form, one process",
    "fit 2": "ours: moments and closed form, 2 workers",
    "hsic 1": "ours: HSIC by features with p-value, one process",
    "hsic 2": "ours: HSIC by features with p-value, 2 workers",
    "dask 1": "Dask array's XᵀX, one thread",
    "dask 2": "Dask array's XᵀX, 2 threads",
    "sgd": "scikit-learn `SGDClassifier.partial_fit`",
    "pca": "scikit-learn `IncrementalPCA`, 64 components",
}


def folder_of(arguments: argparse.Namespace, name: str) -> Path:
    """Return where a data set lies."""
    return arguments.cache / "scale" / ("quick-" * arguments.quick + name.replace(" ", "-"))


def sizes(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return the size of a data set."""
    found = dict(SETS[name])
    if arguments.quick:
        found["n"] //= QUICK
    return found


def run(task: str, **given: Any) -> dict[str, Any]:
    """Run a task in a process of its own."""
    asked = json.dumps(
        {"task": task, **{k: str(v) if k == "folder" else v for k, v in given.items()}}
    )
    script = Path(__file__).with_name("scale_task.py")
    done = subprocess.run(
        [sys.executable, str(script), asked], capture_output=True, text=True, check=False, env=ALONE
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-300:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def data(arguments: argparse.Namespace, board: Board) -> None:
    """Write the files."""
    for name in SETS:
        run("generate", folder=folder_of(arguments, name), **sizes(arguments, name))


def _cells(arguments: argparse.Namespace, board: Board, wanted: dict[str, list[str]]) -> None:
    code = fingerprint(*ROOMS)
    for name, tasks in wanted.items():
        folder, size = folder_of(arguments, name), sizes(arguments, name)
        n, d = size["n"], size["d"]
        for label in tasks:
            kind, _, more = label.partition(" ")
            given: dict[str, Any] = {"task": kind, "folder": folder, "d": d}
            if kind == "disk":
                given = {"task": kind, "folder": folder, "cold": more == "cold"}
            elif kind == "product":
                given = {"task": kind, "n": n, "d": d, "dtype": more}
            elif label == "decode csv":
                given["task"] = "decode_csv"
            elif kind in ("fit", "hsic"):
                given["workers"] = int(more)
            elif kind == "dask":
                given |= {"task": "dask_product", "workers": int(more)}
            elif kind == "pca":
                given["task"] = "incremental_pca"
            elif kind == "truth":
                given = {"task": kind, "d": d}
            ours = code if kind in ("fit", "hsic") else ""
            board.cell(f"{name}/{label}", lambda given=given: run(**given), ours)


def limits(arguments: argparse.Namespace, board: Board) -> None:
    """Measure what no program can beat."""
    bare = ["disk cold", "disk warm", "product float32", "product float64", "truth"]
    _cells(arguments, board, {name: [*bare, "decode"] for name in ("10M x 64", "1M x 384")})
    text = ["disk cold", "disk warm", "truth"]
    _cells(arguments, board, {"1M x 64 csv": [*text, "decode csv"], "1M x 64 jsonl": text})


def narrow(arguments: argparse.Namespace, board: Board) -> None:
    """Fit 10,000,000 × 64."""
    _cells(arguments, board, {"10M x 64": ["fit 1", "fit 2"]})


def wide(arguments: argparse.Namespace, board: Board) -> None:
    """Fit 1,000,000 × 384."""
    _cells(arguments, board, {"1M x 384": ["fit 1", "fit 2"]})


def hsic1(arguments: argparse.Namespace, board: Board) -> None:
    """Test dependence over 10,000,000 rows, in one process."""
    _cells(arguments, board, {"10M x 64": ["hsic 1"]})


def hsic2(arguments: argparse.Namespace, board: Board) -> None:
    """Test dependence over 10,000,000 rows, with two workers."""
    _cells(arguments, board, {"10M x 64": ["hsic 2"]})


def text(arguments: argparse.Namespace, board: Board) -> None:
    """Fit from text."""
    both = ["fit 1", "fit 2"]
    _cells(arguments, board, {"1M x 64 csv": both, "1M x 64 jsonl": both})


def peers(arguments: argparse.Namespace, board: Board) -> None:
    """Measure what others do with the same Parquet."""
    _cells(arguments, board, {"10M x 64": ["dask 1", "dask 2", "sgd"]})


def peers_wide(arguments: argparse.Namespace, board: Board) -> None:
    """Measure what others do with the wide Parquet."""
    _cells(arguments, board, {"1M x 384": ["dask 1", "dask 2", "sgd", "pca"]})


def clean(arguments: argparse.Namespace, board: Board) -> None:
    """Delete the files."""
    shutil.rmtree(arguments.cache / "scale", ignore_errors=True)


def table(board: Board) -> str:
    """Return the tables."""
    cells, text = board.cells, ""
    for name in SETS:
        known = {
            key.split("/")[1]: cell for key, cell in cells.items() if key.startswith(name + "/")
        }
        if not known:
            continue
        text += f"# {name.replace(' x ', ' × ')}\n\n" + _one(known) + "\n"
        if "truth" in known:
            text += f"Accuracy of the planted rule: {known['truth']['accuracy']:.3f}. "
        bits = {
            kind: [known[f"{kind} {w}"].get("bits") for w in (1, 2) if f"{kind} {w}" in known]
            for kind in ("fit", "hsic")
        }
        same = [
            kind for kind, found in bits.items() if len(found) == 2 and len({None, *found}) == 2
        ]
        if same:
            text += f"Same bits with one process and with 2 workers: {', '.join(same)}."
        text += "\n\n"
    return text + provenance(board.path)


def _one(known: dict[str, dict]) -> str:
    limit = known.get("product float32", {}).get("cpu")
    rows = []
    for label, said in LABELS.items():
        cell = known.get(label)
        if cell is None:
            continue
        if "failed" in cell:
            rows.append([said, "failed", *"–" * 7])
            continue
        n = cell.get("rows")
        rows.append(
            [
                said,
                f"{cell['wall']:.1f}",
                f"{cell['cpu']:.1f}",
                f"{n / cell['cpu']:,.0f}" if n else "–",
                f"{cell['bytes'] / cell['wall'] / 1e6:,.0f}" if "bytes" in cell else "–",
                f"{limit / cell['cpu']:.2f}" if limit and n else "–",
                f"{cell['memory'] / 1e6:,.0f}",
                f"{cell['worker'] / 1e6:,.0f}" if cell["worker"] else "–",
                f"{cell['accuracy']:.3f}" if "accuracy" in cell else "–",
            ]
        )
    head = ["", "wall s", "CPU s", "rows a CPU s", "MB/s", "product's CPU over it"]
    return markdown([*head, "peak MB", "largest worker MB", "accuracy"], rows)


if __name__ == "__main__":
    sections = {
        "data": data,
        "limits": limits,
        "narrow": narrow,
        "wide": wide,
        "hsic1": hsic1,
        "hsic2": hsic2,
        "text": text,
        "peers": peers,
        "peers-wide": peers_wide,
        "clean": clean,
    }
    run_benchmark("scale", __doc__, sections, table)
