"""One pass over the rows: its cost over the bare product, its memory, and how it bears bad data.

The yardstick of a pass is the symmetric product XᵀX alone (`xᵀx` by BLAS syrk, half the work of
a full product) in the data's dtype. Peers are scikit-learn's LDA solvers, which fit the same
moments. Stability: a known linear model's accuracy under offsets, bad conditioning, duplicate
and constant columns.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from harness import Board, fingerprint, markdown, measure, peak_memory, provenance, run_benchmark

N_FEATURES = 384
SEEDS = 5
ROWS = (100_000,)
PEERS = ("lda_lsqr", "lda_eigen", "lda_svd")
LABELS = {
    "product": "symmetric product alone (float32 syrk)",
    "full_product": "full product XᵀX (float32 gemm)",
    "moments": "ours: `Moments.update`",
    "fit_moments": "ours: `Moments` + `fit_moments`",
    "lda_lsqr": "LDA lsqr",
    "lda_eigen": "LDA eigen",
    "lda_svd": "LDA svd",
}
CASES = (
    "plain float32",
    "offset 1e3 float32",
    "offset 1e4 float32",
    "offset 1e8 float64",
    "condition 1e12 float64",
    "duplicate columns float32",
    "constant columns float32",
)


def table_of(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 rows of two classes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_rows, N_FEATURES), dtype=np.float32)
    y = rng.integers(0, 2, n_rows)
    x[y == 1, :8] += 0.3
    return x, y


def product(data: tuple) -> None:
    """The symmetric rank-k product alone."""
    from scipy.linalg.blas import ssyrk

    ssyrk(1.0, data[0].T)  # a view in Fortran order: no copy


def full_product(data: tuple) -> None:
    """The full product, as most code has it."""
    data[0].T @ data[0]


def moments(data: tuple) -> object:
    """Our pass."""
    from trivium.moment import Moments

    return Moments(N_FEATURES).update(*data)


def fit_moments(data: tuple) -> None:
    """Our pass and the classifier from it, with a reservoir for leave-one-out."""
    from trivium.closedform import ClosedFormClassifier

    ClosedFormClassifier().fit_moments(moments(data), rows=(data[0][:4000], data[1][:4000]))


def lda(data: tuple, solver: str) -> None:
    """Scikit-learn's LDA."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    LinearDiscriminantAnalysis(solver=solver).fit(*data)


def lda_lsqr(data: tuple) -> None:
    """LDA by least squares."""
    lda(data, "lsqr")


def lda_eigen(data: tuple) -> None:
    """LDA by eigenvectors."""
    lda(data, "eigen")


def lda_svd(data: tuple) -> None:
    """LDA by singular values (scikit-learn's default)."""
    lda(data, "svd")


TASKS = {
    task.__name__: task
    for task in (product, full_product, moments, fit_moments, lda_lsqr, lda_eigen, lda_svd)
}


def _warm(task: Callable) -> None:
    """Imports and first calls happen before the clock and the memory watch start."""
    task.warm = lambda data: task((data[0][:1000], data[1][:1000]))


for _task in TASKS.values():
    _warm(_task)


def pass_cell(task: Callable, data: tuple, repeats: int) -> dict:
    """Time one pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return measure(lambda: task(data), repeats)[1]


def run_pass(arguments: argparse.Namespace, board: Board) -> None:
    """One pass at 384 columns and two classes, contestants interleaved over repetitions."""
    ours = fingerprint("moment", "_core")
    sizes = (20_000,) if arguments.quick else ROWS
    for n_rows in sizes:
        data = table_of(n_rows)
        for task in TASKS.values():
            task.warm(data)
        for turn in range(1 if arguments.quick else 2):
            for who, task in TASKS.items():
                cell = partial(pass_cell, task, data, 1)
                board.cell(f"pass/{who}/{n_rows}/{turn}", cell, ours)
        del data
        for who, task in TASKS.items():
            board.cell(f"memory/{who}/{n_rows}", partial(peak_memory, table_of, task, n_rows), ours)


def run_million(arguments: argparse.Namespace, board: Board) -> None:
    """A million rows of float32, made and given block by block: memory stays at a block."""
    from trivium.moment import Moments

    n_blocks = 2 if arguments.quick else 50

    def task() -> dict:
        made = Moments(N_FEATURES)
        total = 0.0
        for _ in range(n_blocks):
            block = table_of(20_000)
            total += measure(lambda block=block: made.update(*block))[1]["cpu"]
        return {"cpu": total, "rows": 20_000 * n_blocks}

    board.cell("million/moments", task, fingerprint("moment", "_core"))


def hard_case(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return train rows and labels and test rows and labels; the true rule is about .866 right."""
    rng = np.random.default_rng(seed)
    n, d = 24_000, 20
    y = rng.integers(0, 2, n)
    shift = np.full(d, 2 * 1.1077 / np.sqrt(d))  # Φ(1.1077) = .866
    x = rng.standard_normal((n, d)) + y[:, None] * shift
    if name.startswith("offset"):
        x += float(name.split()[1])
    elif name.startswith("condition"):
        turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
        x = (x * np.geomspace(1, 1e-6, d)) @ turn
    elif name.startswith("duplicate"):
        x = np.hstack([x, x, x[:, :5]])
    elif name.startswith("constant"):
        x = np.hstack([x, np.full((n, 3), 1e6), np.zeros((n, 2))])
    x = x.astype(name.rsplit(maxsplit=1)[-1])
    return x[:4000], y[:4000], x[4000:], y[4000:]


def textbook(x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """The formula as the article has it: raw second moments in the data's dtype."""
    n = len(y)
    means = np.stack([x[y == k].mean(0) for k in (0, 1)])
    share = np.array([(y == k).mean() for k in (0, 1)], dtype=x.dtype)
    within = x.T @ x / x.dtype.type(n) - (means * share[:, None]).T @ means
    weights = np.linalg.solve(within, means.T).T
    bias = np.log(share) - 0.5 * (means * weights).sum(1)
    return (x_test @ weights.T + bias).argmax(1)


def predict(who: str, x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Fit one contestant and predict."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    from trivium.closedform import ClosedFormClassifier
    from trivium.moment import Moments

    if who == "textbook":
        return textbook(x, y, x_test)
    if who == "ours":
        return ClosedFormClassifier().fit(x, y).predict(x_test)
    if who == "ours, moments only":
        rule = ClosedFormClassifier()
        rule.fit_moments(Moments(x.shape[1]).update(x, y), rows=(x[:1000], y[:1000]))
        return rule.predict(x_test)
    return LinearDiscriminantAnalysis(solver=who.split()[1]).fit(x, y).predict(x_test)


CONTESTANTS = ("ours", "ours, moments only", "textbook", "LDA lsqr", "LDA eigen", "LDA svd")


def hard_cell(who: str, case: str, seed: int) -> dict:
    """Accuracy on 20,000 test rows."""
    x, y, x_test, y_test = hard_case(case, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"accuracy": float((predict(who, x, y, x_test) == y_test).mean())}


def run_stability(arguments: argparse.Namespace, board: Board) -> None:
    """Every case, every contestant."""
    code = fingerprint("moment", "closedform", "_core")
    for case in CASES:
        for seed in range(1 if arguments.quick else SEEDS):
            for who in CONTESTANTS:
                mine = code if who.startswith("ours") else ""
                board.cell(f"hard/{case}/{who}/{seed}", partial(hard_cell, who, case, seed), mine)


def pass_table(known: dict) -> str:
    """Return the table of one pass."""
    rows = []
    sizes = sorted({int(key.split("/")[2]) for key in known if key.startswith("pass/")})
    for n_rows in sizes:
        cpu = {
            who: min(
                cell.get("cpu", np.inf)
                for key, cell in known.items()
                if key.startswith(f"pass/{who}/{n_rows}/")
            )
            for who in TASKS
        }
        for who, label in LABELS.items():
            memory = known[f"memory/{who}/{n_rows}"]
            grown = f"{memory['bytes'] / 1e6:.0f}" if "bytes" in memory else memory["failed"][:40]
            ratios = [f"{cpu[who] / cpu[base]:.2f}×" for base in ("product", "moments")]
            rows.append([f"{n_rows:,} rows: {label}", f"{cpu[who]:.3f}", *ratios, grown])
    head = ["d = 384, K = 2, float32", "CPU s", "of the product", "of ours", "memory, MB"]
    text = markdown(head, rows)
    data = ", ".join(f"{n * N_FEATURES * 4 / 1e6:.0f} MB at {n:,} rows" for n in sizes)
    text += f"\nThe data itself: {data}. Asked: at most 2× of the product, at most 20 MB.\n\n"
    million = known.get("million/moments")
    if million:
        text += f"{million['rows']:,} × 384 in float32 blocks: {million['cpu']:.1f} CPU s.\n\n"
    return text


def hard_table(known: dict) -> str:
    """Return the stability table."""
    rows = []
    for case in CASES:
        row = [case]
        for who in CONTESTANTS:
            all_cells = [c for k, c in known.items() if k.startswith(f"hard/{case}/{who}/")]
            values = [cell["accuracy"] for cell in all_cells if "accuracy" in cell]
            failed = sum("failed" in cell for cell in all_cells)
            shown = f"{np.mean(values):.3f}" if values else "–"
            row.append(shown + (f" ({failed} raised)" if failed else ""))
        rows.append(row)
    head = ["accuracy (the true rule: .866)", *CONTESTANTS]
    return markdown(head, rows) + "\nAsked: at least .86, no exception.\n\n"


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    text = "# One pass\n\n" + pass_table(known) + "# Bad data\n\n" + hard_table(known)
    return text + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    sections = {"pass": run_pass, "million": run_million, "hard": run_stability}
    run_benchmark("moment", __doc__, sections, table)


if __name__ == "__main__":
    main()
