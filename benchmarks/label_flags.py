"""Label flags on digits with flipped labels, exact leave-one-out against refits, what-if.

5 % of the labels of scikit-learn's digits (1,797 × 64, ten classes) are flipped at random to
another class; precision in the first 90 rows of each ranking, and the area under its curve.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from harness import Board, fingerprint, markdown, measure, provenance, run_benchmark

SEEDS = 10
FLIPPED = 0.05
FIRST = 90
LABELS = {
    "ours": "`label_flags`",
    "cleanlab_logistic": "cleanlab, 5-fold logistic regression",
    "cleanlab_forest": "cleanlab, 5-fold forest of 200",
}


def flipped_digits(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, labels with 5 % flipped, and which."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(y), round(FLIPPED * len(y)), replace=False)
    noisy = y.copy()
    noisy[wrong] = (y[wrong] + rng.integers(1, 10, len(wrong))) % 10
    return x, noisy, noisy != y


def ours(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Suspicion of each label by exact leave-one-out: rows, most suspicious first."""
    from trivium.closedform import label_flags

    return np.asarray(label_flags(x, y).rank)


def cleanlab(x: np.ndarray, y: np.ndarray, *, forest: bool) -> np.ndarray:
    """Rank by cleanlab's label quality on out-of-fold probabilities."""
    from cleanlab.rank import get_label_quality_scores
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = (
        RandomForestClassifier(200, random_state=0)
        if forest
        else make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    )
    proba = cross_val_predict(model, x, y, cv=5, method="predict_proba")
    return np.argsort(get_label_quality_scores(y, proba), kind="stable")


def flag_cell(rank: Callable, seed: int, repeats: int) -> dict:
    """Rank under the clock, then grade the ranking."""
    from sklearn.metrics import roc_auc_score

    x, y, wrong = flipped_digits(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        order, cost = measure(lambda: rank(x, y), repeats)
    place = np.empty(len(order))
    place[order] = np.arange(len(order))
    return cost | {
        "precision": float(wrong[order[:FIRST]].mean()),
        "auc": float(roc_auc_score(wrong, -place)),
    }


def loo_cell(n_refits: int) -> dict:
    """Exact leave-one-out of 1,797 rows at one fixed rule against refitting without a row."""
    from trivium.closedform import ClosedFormClassifier

    x, y, _ = flipped_digits(0)
    chosen = ClosedFormClassifier().fit(x, y)
    rule = ClosedFormClassifier(
        ridge=float(chosen.ridge_), temperature=float(chosen.temperature_), average=False
    )
    fitted, cost = measure(lambda: rule.fit(x, y), 5)
    rows = np.random.default_rng(0).choice(len(y), n_refits, replace=False)

    def refit() -> np.ndarray:
        logits = []
        for row in rows:
            keep = np.arange(len(y)) != row
            logits.append(rule.fit(x[keep], y[keep]).decision_function(x[row : row + 1])[0])
        return np.array(logits)

    exact = np.asarray(fitted.loo_decision_function_)[rows].copy()

    def lean() -> None:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
        for row in rows:
            keep = np.arange(len(y)) != row
            peer.fit(x[keep], y[keep]).decision_function(x[row : row + 1])

    brute, brute_cost = measure(refit)
    lean_all = measure(lean)[1]["cpu"] / n_refits * len(y)
    brute_all = brute_cost["cpu"] / n_refits * len(y)
    centred = brute - brute.mean(1, keepdims=True)
    return {
        "fit_with_loo": cost["cpu"],
        "refits_measured": n_refits,
        "brute_all_rows": brute_all,
        "ratio": brute_all / cost["cpu"],
        "lean_all_rows": lean_all,
        "lean_ratio": lean_all / cost["cpu"],
        "largest_difference": float(np.abs(exact - exact.mean(1, keepdims=True) - centred).max()),
        "largest_logit": float(np.abs(centred).max()),
    }


def what_if_cell(n_rows: int) -> dict:
    """Latency of `what_if` for `n_rows` fixes, and its distance from a refit."""
    from trivium.closedform import ClosedFormClassifier

    x, y, wrong = flipped_digits(0)
    model = ClosedFormClassifier().fit(x, y)
    rows = np.flatnonzero(wrong)
    rows = np.concatenate([rows, np.setdiff1d(np.arange(len(y)), rows)])[:n_rows]
    new = (y[rows] + 1) % 10
    changed, cost = measure(lambda: model.what_if(rows, new), 9)
    fixed = y.copy()
    fixed[rows] = new
    refit, refit_cost = measure(lambda: model.refit(x, fixed), 3)
    a, b = changed.decision_function(x[:200]), refit.decision_function(x[:200])
    return cost | {
        "fixes": n_rows,
        "refit_cpu": refit_cost["cpu"],
        "largest_difference": float(np.abs(a - b).max()),
        "largest_logit": float(np.abs(b).max()),
    }


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Fill the file; contestants interleaved within a seed."""
    rankers = {
        "ours": ours,
        "cleanlab_logistic": partial(cleanlab, forest=False),
        "cleanlab_forest": partial(cleanlab, forest=True),
    }
    code, seeds = fingerprint("closedform"), 2 if arguments.quick else SEEDS
    ours(*flipped_digits(99)[:2])  # imports and first calls are not timed
    board.n_planned = len(rankers) * seeds + 4
    for seed in range(seeds):
        for who, rank in rankers.items():
            mine = who == "ours"
            task = partial(flag_cell, rank, seed, 3 if mine else 1)
            board.cell(f"{who}/{seed}", task, code if mine else "")
    board.cell("leave_one_out", partial(loo_cell, 20 if arguments.quick else 100), code)
    for n_rows in (1, 20, 100):
        board.cell(f"what_if/{n_rows}", partial(what_if_cell, n_rows), code)


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    rows = []
    for who, label in LABELS.items():
        mine = [cell for key, cell in known.items() if key.startswith(f"{who}/")]
        values = {f: [c[f] for c in mine if f in c] for f in ("precision", "auc", "cpu")}
        spread = (min(values["precision"]), max(values["precision"]))
        rows.append(
            [
                label,
                f"{np.mean(values['precision']):.3f} ({spread[0]:.3f} to {spread[1]:.3f})",
                f"{np.mean(values['auc']):.4f}",
                f"{np.median(values['cpu']):.3f}",
            ]
        )
    n_seeds = sum(key.startswith("ours/") for key in known)
    text = f"# Flipped labels on digits, {n_seeds} seeds\n\n"
    head = ["", f"precision in the first {FIRST} (range)", "AUC", "CPU s, median"]
    text += markdown(head, rows) + "\nAsked: at least .90 in at most 0.1 CPU s.\n\n"
    loo = known["leave_one_out"]
    text += (
        f"Exact leave-one-out of all 1,797 rows with the fit: {loo['fit_with_loo']:.3f} CPU s; by "
        f"refitting {loo['brute_all_rows']:.1f} CPU s (from {loo['refits_measured']} refits): "
        f"**{loo['ratio']:.0f}×** (asked: 200×); largest difference of a logit "
        f"{loo['largest_difference']:.1e} on logits up to {loo['largest_logit']:.0f}. Against "
        f"refits by scikit-learn's LDA lsqr at a fixed shrinkage, which compute no leave-one-out "
        f"of their own ({loo['lean_all_rows']:.1f} CPU s): **{loo['lean_ratio']:.0f}×**.\n\n"
    )
    latency = [
        [
            cell["fixes"],
            f"{1e3 * cell['cpu']:.1f}",
            f"{1e3 * cell['wall']:.1f}",
            f"{1e3 * cell['refit_cpu']:.1f}",
            f"{cell['largest_difference']:.1e}",
        ]
        for _, cell in sorted(known.items())
        if "fixes" in cell
    ]
    latency.sort(key=lambda row: row[0])
    head = ["`what_if`, fixes", "CPU ms", "wall ms", "refit, CPU ms", "largest logit difference"]
    text += markdown(head, latency) + "\nAsked: at most 50 ms for up to 100 fixes.\n\n"
    return text + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("label_flags", __doc__, run, table)


if __name__ == "__main__":
    main()
