"""The audit's plan beside what happened: three tables, seconds and bytes of every stage.

Each audit runs in a process of its own, after an audit of a small table, by the datasheet and by a
calibration of this machine (the file that TRIVIUM_MACHINE names) where one is given. The usual
values of the counts were set on the first three tables; the last two were looked at afterwards.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from audit import digits_csv
from harness import Board, fingerprint, markdown, peak_memory, provenance, run_benchmark

TABLES = ("penguins", "numbers", "texts", "demo", "digits")
LABELS = {"demo": "recommends", "digits": "digit"}
MACHINE = "TRIVIUM_MACHINE"


def numbers_csv(path: Path, rows: int = 10_000, columns: int = 20) -> None:
    """Write normal numbers and a label that needs three of them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns))
    high = x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=rows) > 0
    lines = [
        ",".join(f"{v:.5f}" for v in row) + f",{'ab'[int(label)]}"
        for row, label in zip(x, high, strict=True)
    ]
    names = ",".join(f"x{i}" for i in range(columns))
    path.write_text(f"{names},y\n" + "\n".join(lines) + "\n")


def texts_csv(path: Path, rows: int = 5000, words: int = 3000) -> None:
    """Write texts of 8 to 79 words of Zipf frequency, half of them with a word of the label."""
    rng = np.random.default_rng(0)
    names = np.array([f"word{i}" for i in range(words)])
    chance = 1 / np.arange(1, words + 1)
    lines = []
    for _ in range(rows):
        text = list(rng.choice(names, rng.integers(8, 80), p=chance / chance.sum()))
        label = int(rng.integers(2))
        if rng.random() < 0.5:
            text[int(rng.integers(len(text)))] = ("good", "bad")[label]
        lines.append(" ".join(text) + f",{'ab'[label]}")
    path.write_text("text,y\n" + "\n".join(lines) + "\n")


def demo_csv(path: Path) -> None:
    """Write the demonstration's mixed table."""
    from trivium.table import demo_table

    path.write_text(demo_table(1000, seed=1).csv, encoding="utf-8")


def prepared(name: str, folder: str) -> tuple[str, str, str]:
    """Return the table's name, its file and the folder."""
    path = Path(folder) / f"{name}.csv"
    if name == "digits":
        path = digits_csv(Path(folder))
    elif name != "penguins":
        {"numbers": numbers_csv, "texts": texts_csv, "demo": demo_csv}[name](path)
    return name, str(path), folder


def audit_table(data: tuple[str, str, str]) -> None:
    """Audit the table."""
    from trivium.audit import AuditOptions, audit

    name, path, folder = data
    machine = os.environ.get(MACHINE)
    chosen = {} if name == "penguins" else {"data": Path(path), "label": LABELS.get(name, "y")}
    options = AuditOptions(machine=Path(machine) if machine else None, **chosen)
    audit(options, Path(folder) / "run")


def _warm(data: tuple[str, str, str]) -> None:
    from trivium.audit import AuditOptions, audit

    audit(AuditOptions(permutations=99), Path(data[2]) / "warm")


audit_table.warm = _warm


def cell(name: str) -> dict:
    """Return what an audit cost, with its plan."""
    with tempfile.TemporaryDirectory() as folder:
        answer = peak_memory(prepared, audit_table, name, folder)
        if "failed" not in answer:
            report = json.loads((Path(folder) / "run" / "report.json").read_text())
            answer["plan"] = {key: report["plan"][key] for key in report["plan"] if key != "choice"}
            planned = next(stage for stage in report["stages"] if stage["name"] == "plan")
            answer["planning"] = planned["seconds"]
    return answer


def run(arguments: argparse.Namespace, board: Board) -> None:
    """One cell for each table and clock."""
    code = fingerprint(".")
    asked = os.environ.pop(MACHINE, None)
    for name in TABLES:
        board.cell(f"datasheet/{name}", lambda name=name: cell(name), code)
        if asked:
            os.environ[MACHINE] = asked
            board.cell(f"calibrated/{name}", lambda name=name: cell(name), code)
            del os.environ[MACHINE]


def _rows(known: dict, clock: str) -> list[list[str]]:
    found = []
    for name in TABLES:
        plan = known.get(f"{clock}/{name}", {}).get("plan")
        if plan is None:
            continue
        for stage in (*plan["stages"], plan | {"name": "all"}):
            ratio = stage["predicted_seconds"] / max(stage["seconds"], 1e-9)
            inside = stage["predicted_low"] <= stage["seconds"] <= stage["predicted_high"]
            found.append(
                [
                    name,
                    stage["name"],
                    f"{stage['count']:.1e}",
                    f"{stage['predicted_seconds']:.3f}",
                    f"{stage['seconds']:.3f}",
                    f"{ratio:.2f}",
                    "yes" if inside else "no",
                    f"{stage['predicted_bytes'] / 1e6:.0f}",
                    f"{stage['bytes'] / 1e6:.0f}",
                ]
            )
    return found


def _whole(known: dict) -> list[list[str]]:
    found = []
    for clock in ("datasheet", "calibrated"):
        for name in TABLES:
            cell = known.get(f"{clock}/{name}", {})
            if "plan" not in cell:
                continue
            plan = cell["plan"]
            inside = plan["predicted_low"] <= cell["cpu"] <= plan["predicted_high"]
            found.append(
                [
                    clock,
                    name,
                    f"{plan['predicted_seconds']:.2f}",
                    f"{plan['predicted_low']:.2f} to {plan['predicted_high']:.2f}",
                    f"{cell['cpu']:.2f}",
                    f"{plan['predicted_seconds'] / cell['cpu']:.2f}",
                    "yes" if inside else "no",
                    f"{plan['seconds']:.2f}",
                ]
            )
    return found


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    text = (
        "# The plan of the audit\n\n"
        "All stages, beside the CPU seconds of the process (reading and writing files included). "
        "Where the wall took longer, other processes had the cores.\n\n"
    )
    whole = ["clock", "table", "planned, s", "interval", "CPU, s", "planned / CPU", "inside"]
    text += markdown([*whole, "wall, s"], _whole(known)) + "\n"
    head = ["table", "stage", "count", "planned, s", "wall, s", "ratio", "inside", "planned, MB"]
    for clock in ("datasheet", "calibrated"):
        rows = _rows(known, clock)
        if rows:
            by = "a datasheet" if clock == "datasheet" else "a calibration of this machine"
            text += f"Stage by stage, by {by}, beside the wall.\n\n"
            text += markdown([*head, "taken, MB"], rows) + "\n"
    made = [name for name in TABLES if "planning" in known.get(f"datasheet/{name}", {})]
    spent = [f"{name} {known[f'datasheet/{name}']['planning'] * 1e3:.0f} ms" for name in made]
    return text + f"Planning took: {', '.join(spent)}.\n\n" + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("audit_plan", __doc__, run, table)


if __name__ == "__main__":
    main()
