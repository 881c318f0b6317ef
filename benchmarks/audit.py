"""The command: start-up, an audit of a table of digits' size, its report; skrub beside it.

The audit is run in a fresh process after imports and an audit of a small table; CPU seconds are
of the whole process, peak memory is its high-water mark.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import ROOT, Board, fingerprint, markdown, peak_memory, provenance, run_benchmark

FORBIDDEN = ("torch", "sklearn", "pandas")


def digits_csv(folder: Path, rows: int | None = None) -> Path:
    """Write digits as a CSV file."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = x[:rows], y[:rows]
    names = ",".join([*(f"pixel{i}" for i in range(x.shape[1])), "digit"])
    path = folder / f"digits{rows or ''}.csv"
    table = np.column_stack([x, y])
    np.savetxt(path, table, fmt="%g", delimiter=",", header=names, comments="")
    return path


def with_frame(folder: str) -> tuple[str, object]:
    """Return the folder, and digits as a data frame."""
    import pandas as pd

    return folder, pd.read_csv(digits_csv(Path(folder)))


def with_file(folder: str) -> tuple[str, Path]:
    """Return the folder, and digits as a file."""
    return folder, digits_csv(Path(folder))


def audit_table(data: tuple[str, Path]) -> None:
    """Audit digits."""
    from trivium.audit import AuditOptions, audit

    folder, path = data
    audit(AuditOptions(data=path, label="digit"), Path(folder) / "run")


def _warm_audit(data: tuple[str, Path]) -> None:
    from trivium.audit import AuditOptions, audit

    folder = Path(data[0])
    audit(AuditOptions(data=digits_csv(folder, 100), label="digit"), folder / "warm")


audit_table.warm = _warm_audit


def skrub_report(data: tuple[str, object]) -> None:
    """Write skrub's TableReport of digits."""
    from skrub import TableReport

    folder, frame = data
    (Path(folder) / "skrub.html").write_text(TableReport(frame, verbose=0).html())


def _warm_skrub(data: tuple) -> None:
    from skrub import TableReport

    TableReport(data[1].iloc[:100, :3], verbose=0).html()


skrub_report.warm = _warm_skrub


def _child_cpu(command: list[str], repeats: int) -> float:
    """Return the least CPU seconds of a command's process."""
    spent = []
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def help_cell() -> dict:
    """CPU seconds of `trivium --help`, and whether it imports what it must not."""
    code = (
        "import sys; sys.argv = ['trivium', '--help']\n"
        "from trivium.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {FORBIDDEN} if name in sys.modules], file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {
        "cpu": _child_cpu([sys.executable, "-m", "trivium", "--help"], 7),
        "torch_import_cpu": _child_cpu([sys.executable, "-c", "import torch"], 3),
        "bare_python_cpu": _child_cpu([sys.executable, "-c", ""], 7),
        "imported": run.stderr.strip().splitlines()[-1],
    }


def audit_cell() -> dict:
    """Cost of an audit of digits, and the size of its report."""
    with tempfile.TemporaryDirectory() as folder:
        answer = peak_memory(with_file, audit_table, folder)
        report = Path(folder) / "run" / "report.html"
        if "failed" not in answer:
            stages = json.loads((report.parent / "report.json").read_text())["stages"]
            answer["stages"] = {stage["name"]: stage["seconds"] for stage in stages}
            answer["report_bytes"] = report.stat().st_size
    return answer


def skrub_cell() -> dict:
    """Cost of skrub's report on the same table."""
    with tempfile.TemporaryDirectory() as folder:
        answer = peak_memory(with_frame, skrub_report, folder)
        if "failed" not in answer:
            answer["report_bytes"] = (Path(folder) / "skrub.html").stat().st_size
    return answer


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Three turns of each, interleaved."""
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    code = fingerprint(".")
    board.cell("help", help_cell, code)
    for turn in range(1 if arguments.quick else 2):
        board.cell(f"audit/{turn}", audit_cell, code)
        board.cell(f"skrub/{turn}", skrub_cell)


def _cost_row(label: str, known: dict, prefix: str) -> list[str]:
    found = [cell for key, cell in known.items() if key.startswith(prefix) and "cpu" in cell]
    if not found:
        return [label, "failed", "", "", ""]
    best = min(found, key=lambda cell: cell["cpu"])
    return [
        label,
        f"{best['cpu']:.2f}",
        f"{best['bytes'] / 1e6:.0f}",
        f"{best['peak'] / 1e6:.0f}",
        f"{best['report_bytes'] / 1e3:.0f}",
    ]


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    start = known["help"]
    text = (
        f"# The command\n\n`trivium --help`: **{start['cpu']:.2f} CPU s** (asked: 0.25), of which "
        f"Python alone {start['bare_python_cpu']:.2f}; `import torch` alone "
        f"{start['torch_import_cpu']:.2f}. Imported of {', '.join(FORBIDDEN)}: "
        f"{start['imported']}.\n\n"
    )
    head = ["digits, 1,797 × 64, 10 classes", "CPU s", "memory growth, MB", "peak, MB", "page, KB"]
    rows = [
        _cost_row("trivium audit", known, "audit/"),
        _cost_row("skrub TableReport", known, "skrub/"),
    ]
    text += markdown(head, rows) + "\nAsked: at most 3 CPU s, 500 MB, 500 KB.\n\n"
    stages = known["audit/0"].get("stages", {})
    if stages:
        text += "Wall seconds by stage: "
        text += ", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items()) + ".\n\n"
    return text + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("audit", __doc__, run, table)


if __name__ == "__main__":
    main()
