"""Small-sample accuracy, log-loss and fit time on sentence vectors: ours against scikit-learn.

50 to 1,000 training rows drawn from the train pool, ten seeds, the whole fixed test part. The
rows of a smaller size are the first rows of the larger one. Log-loss is over test rows whose
class the training rows contain (every contestant gives the others probability nought), accuracy
over all of them. One result file a set, so that sets may run side by side.
"""

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from harness import RESULTS, Board, fingerprint, markdown, measure, provenance, run_benchmark
from text_sets import NAMES, Vectors, load_vectors

SIZES = (50, 100, 200, 500, 1000)
SEEDS = 10
TIMED_SEEDS = 3
TIMED_SIZES = (200, 1000)
TITLES = {"20ng": "20 Newsgroups", "r52": "Reuters R52", "zh": "Chinese reviews"}
PEERS = ("lrcv", "lrcv_loss", "lda_svd", "lda_lsqr", "lda_eigen")
LABELS = {
    "ours": "ours",
    "lrcv": "LogisticRegressionCV, 5 Cs × 5 folds",
    "lrcv_loss": "the same, Cs .01 to 100, scored by log-loss",
    "lda_svd": "LDA svd",
    "lda_lsqr": "LDA lsqr, shrinkage auto",
    "lda_eigen": "LDA eigen, shrinkage auto",
}


def contestants() -> dict[str, Callable]:
    """Return name -> a function that makes an unfitted estimator."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegressionCV

    from trivium.closedform import ClosedFormClassifier

    return {
        "ours": ClosedFormClassifier,
        "lrcv": partial(
            LogisticRegressionCV,
            Cs=5,
            cv=5,
            max_iter=1000,
            scoring="accuracy",
            use_legacy_attributes=False,
        ),
        "lrcv_loss": partial(
            LogisticRegressionCV,
            Cs=[0.01, 0.1, 1, 10, 100],
            cv=5,
            max_iter=1000,
            scoring="neg_log_loss",
            use_legacy_attributes=False,
        ),
        "lda_svd": LinearDiscriminantAnalysis,
        "lda_lsqr": partial(LinearDiscriminantAnalysis, solver="lsqr", shrinkage="auto"),
        "lda_eigen": partial(LinearDiscriminantAnalysis, solver="eigen", shrinkage="auto"),
    }


def quality(model, v: Vectors) -> dict[str, float]:
    """Accuracy over all test rows, log-loss over those of classes seen in training."""
    proba = np.asarray(model.predict_proba(v.x_test), dtype=np.float64)
    right = model.classes_[proba.argmax(1)] == v.y_test
    seen = np.isin(v.y_test, model.classes_)
    own = proba[seen, np.searchsorted(model.classes_, v.y_test[seen])]
    return {
        "accuracy": float(right.mean()),
        "log_loss": float(-np.log(own.clip(1e-15)).mean()),
        "seen": float(seen.mean()),
        "classes": len(model.classes_),
    }


def draw(v: Vectors, seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `size` rows of the train pool."""
    rows = np.random.default_rng(seed).permutation(len(v.y_train))[:size]
    return v.x_train[rows], v.y_train[rows]


def fit_cell(make: Callable, v: Vectors, seed: int, size: int) -> dict:
    """Fit once under the clock, then score."""
    x, y = draw(v, seed, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, cost = measure(lambda: make().fit(x, y))
        return cost | quality(model, v)


def run_set(name: str, arguments: argparse.Namespace) -> None:
    """Fill one set's file; seeds outermost, so a part of the run is a whole small one."""
    seeds, sizes = (2, (50, 100)) if arguments.quick else (SEEDS, SIZES)
    board = Board.open(f"closedform-{name}", quick=arguments.quick, fresh=arguments.fresh)
    makers = contestants()
    board.n_planned = len(makers) * seeds * len(sizes)
    v = load_vectors(name, arguments.cache)
    ours = fingerprint("closedform")
    for seed in range(seeds):
        for size in sizes:
            for who, make in makers.items():
                code = ours if who == "ours" else ""
                board.cell(f"{who}/{size}/{seed}", partial(fit_cell, make, v, seed, size), code)


def run_times(name: str, arguments: argparse.Namespace) -> None:
    """Fit times again, all contestants of a case measured by one run of the present code."""
    board = Board.open(f"closedform-times-{name}", quick=arguments.quick, fresh=arguments.fresh)
    makers, v, ours = contestants(), load_vectors(name, arguments.cache), fingerprint("closedform")
    board.n_planned = len(makers) * TIMED_SEEDS * len(TIMED_SIZES)
    for seed in range(1 if arguments.quick else TIMED_SEEDS):
        for size in TIMED_SIZES:
            for who, make in makers.items():
                board.cell(f"{who}/{size}/{seed}", partial(fit_cell, make, v, seed, size), ours)


def cells(path: Path, field: str) -> dict[tuple[str, int], dict[int, float]]:
    """Read (contestant, size) -> seed -> value."""
    out: dict[tuple[str, int], dict[int, float]] = {}
    for key, cell in json.loads(path.read_text())["cells"].items():
        who, size, seed = key.split("/")
        if field in cell:
            out.setdefault((who, int(size)), {})[int(seed)] = cell[field]
    return out


def _paired(values: dict, who: str, other: str, size: int) -> np.ndarray:
    a, b = values.get((who, size), {}), values.get((other, size), {})
    return np.array([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])


def _rows(values: dict, scale: float, digits: int) -> Iterator[list[str]]:
    for who, label in LABELS.items():
        means = [list(values.get((who, size), {}).values()) for size in SIZES]
        yield [label] + [f"{scale * np.mean(m):.{digits}f}" if m else "–" for m in means]


def set_table(name: str, path: Path) -> tuple[str, list[float]]:
    """Return one set's tables and its paired accuracy differences to LogisticRegressionCV."""
    accuracy, loss = cells(path, "accuracy"), cells(path, "log_loss")
    seeds = {len(accuracy.get(("lrcv", size), {})) for size in SIZES}
    header = [f"{TITLES[name]}, rows"] + [str(size) for size in SIZES]
    difference = [100 * _paired(accuracy, "ours", "lrcv", size) for size in SIZES]
    rows = list(_rows(accuracy, 100, 1))
    rows.append(
        ["ours − LogisticRegressionCV (± standard error)"]
        + [f"{d.mean():+.2f} ± {d.std(ddof=1) / len(d) ** 0.5:.2f}" for d in difference]
    )
    losses = list(_rows(loss, 1, 3))
    for who, label in (("lrcv", "LogisticRegressionCV"), ("lrcv_loss", "the same by log-loss")):
        gap = [_paired(loss, "ours", who, size).mean() for size in SIZES]
        losses.append([f"ours − {label}"] + [f"{value:+.3f}" for value in gap])
    counts = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    known = json.loads(path.read_text())["cells"].items()
    failed = [f"{key}: {cell['failed']}" for key, cell in known if "failed" in cell]
    text = f"Accuracy, %, {counts} seeds:\n\n{markdown(header, rows)}\n"
    if failed:
        text += "Raised, and left out of the pairs: " + "; ".join(failed) + "\n\n"
    text += f"Log-loss:\n\n{markdown(header, losses)}\n"
    return text, [float(d.mean()) for d in difference]


def time_table(quick: bool) -> str:
    """Return fit times as CPU seconds and as multiples of ours."""
    rows = []
    for name in NAMES:
        tail = f"{name}{'-quick' if quick else ''}.json"
        found = [RESULTS / f"closedform-{kind}{tail}" for kind in ("times-", "")]
        found = [path for path in found if path.exists()]
        if not found:
            continue
        cpu = cells(found[0], "cpu")
        for size in TIMED_SIZES:
            median = {
                who: float(np.median(list(cpu[who, size].values())))
                for who in LABELS
                if (who, size) in cpu
            }
            ours = median.get("ours", float("nan"))
            shown = [f"{median[w]:.3f} ({median[w] / ours:.1f}×)" for w in PEERS if w in median]
            rows.append([f"{TITLES[name]}, {size} rows", f"{ours:.3f}", *shown])
    head = ["CPU seconds of a fit, median", "ours"] + [LABELS[who] for who in PEERS]
    return markdown(head, rows) if rows else ""


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    text, differences = "# Closed form on sentence vectors\n\n", []
    path = None
    for name in NAMES:
        one = RESULTS / f"closedform-{name}{'-quick' if board.quick else ''}.json"
        if one.exists():
            path = one
            if board.quick:
                continue
            part, difference = set_table(name, one)
            text, differences = text + part, differences + difference
    if differences:
        text += (
            f"Paired mean over {len(differences)} cells: **{np.mean(differences):+.2f} points** "
            f"(asked: at least +1.5); worst cell {min(differences):+.2f} (asked: ≥ −0.2), "
            f"{sum(d < -0.2 for d in differences)} cells below −0.2.\n\n"
        )
    text += time_table(board.quick) + "\n"
    return text + (provenance(path) if path else "Nothing measured yet.\n")


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Measure the sections asked for, by default all sets and then the times, on their boards."""
    for section in arguments.only or [*NAMES, *(f"times-{name}" for name in NAMES)]:
        if section.startswith("times-"):
            run_times(section.removeprefix("times-"), arguments)
        else:
            run_set(section, arguments)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("closedform", __doc__, run, table)


if __name__ == "__main__":
    main()
