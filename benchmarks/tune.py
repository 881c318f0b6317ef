"""Stage tune on 20 tables: gain over the folds, and what it is worth on fresh rows.

Each table is split into rows to audit and fresh rows that no stage sees. The stages are those of
`trivium audit --metric`: offsets (or the rule of a cost matrix), head, network.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from harness import Board, fingerprint, markdown, measure, provenance, run_benchmark

SPLITS = (0, 1)
ROOMS = ("audit", "objective", "expectation", "closedform")
Rows = tuple[np.ndarray, np.ndarray]


def _bundled(name: str, **share: float) -> Callable[[], Rows]:
    """One of scikit-learn's bundled tables; `share` thins out classes, by code."""

    def load() -> Rows:
        from sklearn import datasets

        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        kept = np.ones(len(y), dtype=bool)
        for code, part in share.items():
            rows = np.flatnonzero(y == int(code[1:]))
            kept[np.random.default_rng(0).permutation(rows)[int(part * len(rows)) :]] = False
        return X[kept], y[kept]

    return load


def _one_against_rest(digit: int) -> Callable[[], Rows]:
    def load() -> Rows:
        X, y = _bundled("digits")()
        return X, (y == digit).astype(int)

    return load


def _high_diabetes() -> Rows:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return X, (y > np.quantile(y, 0.8)).astype(int)


def _generated(maker: str, **arguments: object) -> Callable[[], Rows]:
    def load() -> Rows:
        from sklearn import datasets

        return getattr(datasets, f"make_{maker}")(random_state=0, **arguments)

    return load


def _mixture(n: int, **arguments: object) -> Callable[[], Rows]:
    return _generated(
        "classification", n_samples=n, n_features=10, n_informative=4, n_redundant=2, **arguments
    )


# Name: the table, and how many of its rows are audited.
TABLES: dict[str, tuple[Callable[[], Rows], int]] = {
    "iris": (_bundled("iris"), 90),
    "iris, few virginica": (_bundled("iris", c2=0.4), 75),
    "wine": (_bundled("wine"), 100),
    "wine, few of class 2": (_bundled("wine", c2=0.4), 85),
    "breast cancer": (_bundled("breast_cancer"), 300),
    "breast cancer, few malignant": (_bundled("breast_cancer", c0=0.25), 220),
    "digits, 500": (_bundled("digits"), 500),
    "digits, few 8 and 9": (_bundled("digits", c8=0.2, c9=0.2), 500),
    "digits, 8 or not": (_one_against_rest(8), 400),
    "diabetes, upper fifth": (_high_diabetes, 260),
    "mixture, balanced": (_mixture(4400, class_sep=0.8), 400),
    "mixture, 10 %": (_mixture(4400, weights=[0.9], class_sep=0.8), 400),
    "mixture, 5 %": (_mixture(4600, weights=[0.95], class_sep=1.0), 600),
    "mixture, 20 %, 10 % flipped": (_mixture(4400, weights=[0.8], flip_y=0.2), 400),
    "mixture, 3 classes": (
        _mixture(4400, weights=[0.7, 0.22], n_classes=3, n_clusters_per_class=1),
        400,
    ),
    "mixture, 5 classes": (
        _mixture(4500, weights=[0.5, 0.2, 0.15, 0.1], n_classes=5, n_clusters_per_class=1),
        500,
    ),
    "moons": (_generated("moons", n_samples=4300, noise=0.25), 300),
    "circles": (_generated("circles", n_samples=4300, noise=0.15, factor=0.5), 300),
    "quantiles of a normal": (
        _generated("gaussian_quantiles", n_samples=4400, n_features=4, n_classes=3),
        400,
    ),
    "noise, 20 %": (
        _mixture(4400, weights=[0.8], class_sep=0.01, n_clusters_per_class=1, flip_y=1.0),
        400,
    ),
}
METRICS = ("macro_f1", "f1 or cost")


def _metric(kind: str, n_classes: int) -> dict:
    """F1 of the rarer of two classes; with more, missing a class costs more the rarer it is."""
    from trivium.audit import Costs

    if kind == "macro_f1":
        return {"metric": "macro_f1"}
    if n_classes == 2:
        return {"metric": "f1"}
    names = tuple(map(str, range(n_classes)))
    table = tuple(
        tuple(0.0 if i == j else 1.0 + i for j in range(n_classes)) for i in range(n_classes)
    )
    return {"costs": Costs(names, table)}


def _split(load: Callable[[], Rows], n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Audited and fresh rows with all classes in both, standardized by the audited ones."""
    from sklearn.model_selection import train_test_split

    X, y = load()
    y = np.unique(y, return_inverse=True)[1].astype(np.int64)
    a, b, ya, yb = train_test_split(X, y, train_size=n, random_state=seed, stratify=y)
    center, spread = a.mean(0), a.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    return (a - center) / spread, ya, (b - center) / spread, yb


def case(name: str, kind: str, seed: int) -> dict:
    """Tune one table; value before and after over the folds and on fresh rows."""
    from trivium.audit import AuditOptions
    from trivium.audit.folds import make_folds
    from trivium.audit.tune_metric import tune_metric
    from trivium.audit.tune_search import Search
    from trivium.audit.tune_training import Sample
    from trivium.closedform import ClosedFormClassifier
    from trivium.table import Label

    load, n = TABLES[name]
    X, codes, fresh, truth = _split(load, n, seed)
    n_classes = int(codes.max()) + 1
    label = Label("y", codes, tuple(map(str, range(n_classes))), np.arange(n))
    metric = tune_metric(AuditOptions(**_metric(kind, n_classes)), label)
    groups = np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)
    model = ClosedFormClassifier().fit(X, codes)

    def task() -> Search:
        folds = make_folds(codes, groups, 5, seed)
        search = Search(Sample(X, codes, groups, model.loo_proba_), folds, metric, seed)
        first = "offsets" if metric.costs is None else "decision rule"
        for stage in (first, "head", "network"):
            search.run(stage, 0)
        return search

    search, took = measure(task)
    proba = model.predict_proba(fresh)
    plain, tuned = proba.argmax(1), search.kept.decide(proba, fresh)
    return {
        "rows": n,
        "fresh_rows": len(truth),
        "classes": n_classes,
        "metric": metric.name,
        "kept": search.kept_name,
        "tried": search.tried,
        "folds": metric.paired(codes, search.plain_guess, search.guess, seed, search.folds),
        "fresh": metric.paired(truth, plain, tuned, seed),
        "cpu": took["cpu"],
    }


def summary(cells: dict[str, dict]) -> str:
    """Return what the table adds up to."""
    good = [cell for cell in cells.values() if "failed" not in cell]
    kept = [cell for cell in good if cell["kept"] != "closed form"]
    lost = [c for c in kept if c["fresh"]["gain"] < -c["fresh"]["standard_error"]]
    below = [c for c in good if c["folds"]["gain"] < -c["folds"]["standard_error"]]
    won = [c for c in kept if c["fresh"]["gain"] > c["fresh"]["standard_error"]]
    shares = [c for c in kept if c["metric"] != "cost"]
    middle = [float(np.median([c[w]["gain"] for c in shares] or [0])) for w in ("folds", "fresh")]
    return (
        f"{len(good)} runs; something kept in {len(kept)}. Over the folds the metric is lower by "
        f"more than one standard error in {len(below)}. On fresh rows, of the {len(kept)}: higher "
        f"by more than one standard error in {len(won)}, lower by more than one in {len(lost)}. "
        f"Median gain of F1 and macro F1 where something was kept: {middle[0]:+.3f} over the "
        f"folds, {middle[1]:+.3f} on fresh rows.\n"
    )


def table(board: Board) -> str:
    """Return the results as Markdown."""
    rows = []
    for key, cell in board.cells.items():
        if "failed" in cell:
            rows.append([key, cell["failed"], *[""] * 8])
            continue
        folds, fresh = cell["folds"], cell["fresh"]
        rows.append(
            [
                key.rpartition(", split ")[0].partition(" | ")[0],
                cell["metric"],
                key.rpartition(", split ")[2],
                cell["rows"],
                cell["kept"],
                f"{folds['before']:.3f}",
                f"{folds['gain']:+.3f} ± {folds['standard_error']:.3f}",
                f"{fresh['before']:.3f}",
                f"{fresh['gain']:+.3f} ± {fresh['standard_error']:.3f}",
                f"{cell['cpu']:.1f}",
            ]
        )
    header = [
        "table", "metric", "split", "rows", "kept", "folds: closed form", "gain",
        "fresh rows: closed form", "gain", "CPU s",
    ]  # fmt: skip
    head = "# Stage tune on 20 tables\n\n" + summary(board.cells)
    note = (
        "\nCost is minus the mean cost. Fresh rows were seen by no stage; `±` is one standard "
        "error, by a paired bootstrap over the rows scored; over the folds by their jackknife "
        "where that is larger.\n\n"
    )
    return f"{head}\n{markdown(header, rows)}{note}{provenance(board.path)}"


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Every table, metric and split."""
    code = fingerprint(*ROOMS)
    splits = SPLITS[:1] if arguments.quick else SPLITS
    keys = [(name, kind, s) for s in splits for name in TABLES for kind in METRICS]
    board.n_planned = len(keys)
    for name, kind, seed in keys:
        board.cell(f"{name} | {kind}, split {seed}", partial(case, name, kind, seed), code)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("tune", __doc__, run, table)


if __name__ == "__main__":
    main()
