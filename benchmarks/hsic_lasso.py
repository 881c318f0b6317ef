"""Column selectors: HSIC Lasso beside pyHSICLasso, a wide table, and digits from a few columns.

Planted: y depends on five of 100 columns, two of them only together. pyHSICLasso runs its vanilla
form (one block of all rows, `B=0`), whose kernels ours match with `lengthscale=1.0`; both are
asked for the same number of columns, one thread, in one process. Digits: accuracy of the same
classifier on the columns that each selector picks from the training rows, on the same folds.
"""

import argparse
import contextlib
import io
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from harness import Board, fingerprint, markdown, measure, peak_memory, provenance, run_benchmark

ROWS, COLUMNS, PLANTED = 1_000, 100, 5
SEEDS = 5
WIDE = ((10_000, 100), (1_000, 1_000), (10_000, 1_000))
COUNTS = (10, 20)
FOLDS = 5
TARGETS = ("regression", "classification")


def planted(n_rows: int, n_columns: int, seed: int, target: str = "regression") -> tuple:
    """Return columns and a target that depends on the first five."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_rows, n_columns))
    y = np.sin(2 * x[:, 0]) + x[:, 1] ** 2 + x[:, 2] * x[:, 3] + x[:, 4]
    y += 0.3 * rng.standard_normal(n_rows)
    if target == "classification":
        y = np.digitize(y, np.quantile(y, (0.5, 0.8)))
    return x, y


def ours(data: tuple, n_features: int = PLANTED) -> list[int]:
    """Our path, with the kernels of the peer."""
    from trivium.dependence import HSICLasso

    return HSICLasso(n_features, lengthscale=1.0).fit(*data).get_support(indices=True).tolist()


def ours_median(data: tuple, n_features: int = PLANTED) -> list[int]:
    """Our path as it comes."""
    from trivium.dependence import HSICLasso

    return HSICLasso(n_features).fit(*data).get_support(indices=True).tolist()


def ours_mrmr(data: tuple, n_features: int = PLANTED) -> list[int]:
    """Our greedy selector as it comes."""
    from trivium.dependence import HSICmRMR

    return HSICmRMR(n_features).fit(*data).get_support(indices=True).tolist()


def py_hsic_lasso(data: tuple, n_features: int = PLANTED) -> list[int]:
    """The peer in its vanilla form."""
    from pyHSICLasso import HSICLasso

    x, y = data
    peer = HSICLasso()
    with contextlib.redirect_stdout(io.StringIO()):
        peer.input(x, y)
        fit = peer.classification if y.dtype.kind in "iu" else peer.regression
        fit(n_features, B=0, M=1, n_jobs=1)
    return sorted(int(k) for k in peer.get_index())


TASKS = {
    "ours": ours,
    "ours, as it comes": ours_median,
    "ours, mRMR": ours_mrmr,
    "pyHSICLasso": py_hsic_lasso,
}
for _task in TASKS.values():
    _task.warm = lambda data, task=_task: task((data[0][:80, :20], data[1][:80]))


def planted_cell(task: Callable, data: tuple, repeats: int) -> dict:
    """Time one selector; keep what it chose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen, times = measure(lambda: task(data), repeats)
    return times | {"chosen": chosen}


def run_planted(arguments: argparse.Namespace, board: Board) -> None:
    """Seeds outside, contestants inside; memory in a process of its own."""
    code = fingerprint("dependence", "_core")
    for target in TARGETS:
        for seed in range(1 if arguments.quick else SEEDS):
            data = planted(ROWS // (4 if arguments.quick else 1), COLUMNS, seed, target)
            for who, task in TASKS.items():
                task.warm(data)
                mine = code if who.startswith("ours") else ""
                cell = partial(planted_cell, task, data, 3 if mine else 1)
                board.cell(f"planted/{target}/{who}/{seed}", cell, mine)
    for who, task in TASKS.items():
        mine = code if who.startswith("ours") else ""
        cell = partial(peak_memory, planted, task, ROWS, COLUMNS, 0)
        board.cell(f"memory/{who}", cell, mine)


def run_wide(arguments: argparse.Namespace, board: Board) -> None:
    """Ours alone where n² × d does not fit."""
    code = fingerprint("dependence", "_core")
    for n, d in WIDE[:1] if arguments.quick else WIDE:
        for who in ("ours, as it comes", "ours, mRMR"):

            def cell(task: Callable = TASKS[who], n: int = n, d: int = d) -> dict:
                data = planted(n, d, 0)
                task.warm(data)
                found = planted_cell(task, data, 1)
                return found | {"memory": peak_memory(planted, task, n, d, 0)}

            board.cell(f"wide/{n}/{d}/{who}", cell, code)


def selectors(k: int) -> dict:
    """Return the selectors of the digits table."""
    from sklearn.feature_selection import SelectKBest, f_classif, mutual_info_classif

    from trivium.dependence import HSICLasso, HSICmRMR, HSICScreen

    return {
        "ours: `HSICScreen`": HSICScreen(k),
        "ours: `HSICLasso`": HSICLasso(k),
        "ours: `HSICmRMR`": HSICmRMR(k),
        "SelectKBest(mutual_info_classif)": SelectKBest(
            partial(mutual_info_classif, random_state=0), k=k
        ),
        "SelectKBest(f_classif)": SelectKBest(f_classif, k=k),
        "all 64 columns": "passthrough",
    }


def digits_cell(who: str, k: int, fold: int) -> dict:
    """Choose on the training rows, fit there, score on the others."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedKFold

    from trivium.closedform import ClosedFormClassifier

    x, y = load_digits(return_X_y=True)
    split = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y)
    train, test = list(split)[fold]
    selector = selectors(k)[who]
    kept, times = np.arange(64), {"cpu": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if selector != "passthrough":
            fitted, times = measure(lambda: selector.fit(x[train], y[train]), 1)
            kept = fitted.get_support(indices=True)
        rule = ClosedFormClassifier().fit(x[train][:, kept], y[train])
        accuracy = float((rule.predict(x[test][:, kept]) == y[test]).mean())
    return times | {"accuracy": accuracy, "chosen": kept.tolist()}


def run_digits(arguments: argparse.Namespace, board: Board) -> None:
    """Every selector on the same folds."""
    code = fingerprint("dependence", "closedform", "moment", "_core")
    for k in COUNTS:
        for fold in range(1 if arguments.quick else FOLDS):
            for who in selectors(k):
                board.cell(f"digits/{k}/{who}/{fold}", partial(digits_cell, who, k, fold), code)


def cells(known: dict, start: str) -> list[dict]:
    """Return the cells whose key begins so."""
    return [known[key] for key in sorted(known) if key.startswith(start)]


def planted_table(known: dict) -> str:
    """Return the table beside the peer."""
    rows = []
    for target in TARGETS:
        base = cells(known, f"planted/{target}/pyHSICLasso/")
        peer = np.mean([cell["cpu"] for cell in base])
        for who in TASKS:
            found = cells(known, f"planted/{target}/{who}/")
            cpu = np.mean([cell["cpu"] for cell in found])
            same = sum(a["chosen"] == b["chosen"] for a, b in zip(found, base, strict=True))
            hits = np.mean([len({*cell["chosen"]} & {*range(PLANTED)}) for cell in found])
            memory = known[f"memory/{who}"]
            grown = [f"{memory['bytes'] / 1e6:.0f}"] if target == "regression" else ["–"]
            row = [f"{target}: {who}", f"{cpu:.3f}", f"{peer / cpu:.0f}×", *grown]
            rows.append([*row, f"{same} of {len(found)}", f"{hits:.1f} of {PLANTED}"])
    head = [f"{ROWS:,} × {COLUMNS}, {PLANTED} wanted", "CPU s", "less than the peer's"]
    text = markdown([*head, "memory, MB", "same set as the peer", "planted found"], rows)
    ratio = known["memory/pyHSICLasso"]["bytes"] / known["memory/ours"]["bytes"]
    text += "\nMean of the seeds; ours the least of three runs, the peer one run. "
    text += f"Memory: {ratio:.0f}× less than the peer's. "
    return text + "Asked: the same set, at least 50× less CPU, at least 20× less memory.\n"


def wide_table(known: dict) -> str:
    """Return the table of larger sizes."""
    rows = []
    for key in sorted(key for key in known if key.startswith("wide/")):
        _, n, d, who = key.split("/")
        cell, gram = known[key], int(n) ** 2 * int(d) * 4 / 1e9
        grown = f"{cell['memory']['bytes'] / 1e6:.0f}"
        hits = len({*cell["chosen"]} & {*range(PLANTED)})
        row = [f"{int(n):,} × {int(d):,}: {who}", f"{cell['cpu']:.2f}", grown]
        rows.append([*row, f"{gram:.0f} GB", f"{hits} of {PLANTED}"])
    head = ["rows × columns, 5 wanted", "CPU s", "memory, MB", "float32 Gram matrices alone"]
    return markdown([*head, "planted found"], rows)


def digits_table(known: dict) -> str:
    """Return the table of accuracies."""
    rows = []
    for k in COUNTS:
        for who in selectors(k):
            found = cells(known, f"digits/{k}/{who}/")
            right = np.array([cell["accuracy"] for cell in found])
            cpu = np.mean([cell["cpu"] for cell in found])
            if who.startswith("all") and k != COUNTS[-1]:
                continue
            label = who if who.startswith("all") else f"{k} columns: {who}"
            rows.append([label, f"{right.mean():.3f}", f"{right.std():.3f}", f"{cpu:.3f}"])
    head = [f"digits, {FOLDS} folds, `ClosedFormClassifier`", "accuracy", "sd of folds"]
    return markdown([*head, "CPU s of the choice"], rows)


SECTIONS = {"planted": run_planted, "wide": run_wide, "digits": run_digits}
TABLES = {
    "planted": ("HSIC Lasso", planted_table),
    "wide": ("Larger tables", wide_table),
    "digits": ("Digits from a few columns", digits_table),
}


def report(board: Board) -> str:
    """Return the tables of the sections that were measured."""
    known = board.known()
    parts = [
        f"# {title}\n\n{table(known)}"
        for name, (title, table) in TABLES.items()
        if any(key.startswith(f"{name}/") for key in known)
    ]
    return "\n".join(parts) + "\n" + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("hsic_lasso", __doc__, SECTIONS, report)


if __name__ == "__main__":
    main()
