"""The article's own experiment: softmax regression by descent against the closed form.

All rows of the train pool and 1,000 of them, on sentence vectors: Adam on the softmax loss, the
formula as the article has it (no ridge, plug-in intercept), the formula after whitening on the
raw second moment as it advises, and ours with its options.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from closedform import TITLES, quality
from harness import Board, fingerprint, markdown, measure, provenance, run_benchmark
from text_sets import NAMES, Vectors, load_vectors

SIZES = (500, 1000, 0)
SEEDS = 1


class Linear:
    """A softmax layer with scikit-learn's two answers."""

    def __init__(self, classes: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> None:
        self.classes_, self.weight, self.bias = classes, weight, bias

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Softmax of the logits."""
        logits = x.astype(np.float64) @ self.weight.T + self.bias
        logits = np.exp(logits - logits.max(1, keepdims=True))
        return logits / logits.sum(1, keepdims=True)


def adam(x: np.ndarray, y: np.ndarray, steps: int = 2000) -> Linear:
    """Softmax regression by Adam, 2,000 steps of 128 rows at 0.005, no weight decay."""
    import torch

    classes, codes = np.unique(y, return_inverse=True)
    generator = torch.Generator().manual_seed(0)
    rows, target = torch.from_numpy(x), torch.from_numpy(codes)
    layer = torch.nn.Linear(x.shape[1], len(classes))
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.005)
    for _ in range(steps):
        batch = torch.randint(len(rows), (128,), generator=generator)
        loss = torch.nn.functional.cross_entropy(layer(rows[batch]), target[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Linear(classes, layer.weight.detach().double().numpy(), layer.bias.detach().numpy())


def textbook(x: np.ndarray, y: np.ndarray, *, whiten: bool = False) -> Linear:
    """The formula as the article has it; `whiten` first divides by the total covariance's root."""
    x = x.astype(np.float64)
    classes, codes = np.unique(y, return_inverse=True)
    share = np.bincount(codes) / len(codes)
    center = x.mean(0)
    root = np.eye(x.shape[1])
    if whiten:
        values, vectors = np.linalg.eigh(x.T @ x / len(x) - np.outer(center, center))
        root = vectors / np.sqrt(values.clip(1e-12))
    z = x @ root
    means = np.stack([z[codes == k].mean(0) for k in range(len(classes))])
    within = z.T @ z / len(z) - (means * share[:, None]).T @ means
    weight = np.linalg.lstsq(within, means.T, rcond=None)[0].T
    bias = np.log(share) - 0.5 * (means * weight).sum(1)
    return Linear(classes, weight @ root.T, bias)


def ours(x: np.ndarray, y: np.ndarray, **chosen: object):
    """Our classifier."""
    from trivium.closedform import ClosedFormClassifier

    return ClosedFormClassifier(**chosen).fit(x, y)


WAYS: dict[str, Callable] = {
    "Adam": adam,
    "the formula as written": textbook,
    "the formula after whitening": partial(textbook, whiten=True),
    "ours": ours,
    "ours, covariance blend": partial(ours, covariance="blend"),
    "ours, plug-in intercept": partial(ours, intercept="plugin"),
    "ours, Ledoit-Wolf": partial(ours, ridge="lw"),
}


def cell(way: Callable, v: Vectors, size: int, seed: int) -> dict:
    """Fit on `size` rows (0: all) and score."""
    rows = np.random.default_rng(seed).permutation(len(v.y_train))[: size or None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, cost = measure(lambda: way(v.x_train[rows], v.y_train[rows]))
        return cost | quality(model, v)


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Every way on every set and size."""
    code = fingerprint("closedform")
    for name in arguments.only or (NAMES[:1] if arguments.quick else NAMES):
        v = load_vectors(name, arguments.cache)
        for size in SIZES:
            for seed in range(SEEDS if size and not arguments.quick else 1):
                for who, way in WAYS.items():
                    if who.endswith("blend") and name != "zh":
                        continue  # dozens of small classes: no covariance each
                    mine = code if who.startswith("ours") else ""
                    task = partial(cell, way, v, size, seed)
                    board.cell(f"{name}/{size}/{who}/{seed}", task, mine)


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    text = f"# The article's experiment\n\nDraws of the rows: {SEEDS}.\n\n"
    for name in NAMES:
        rows = []
        for who in WAYS:
            row = [who]
            for size in SIZES:
                keys = [f"{name}/{size}/{who}/{seed}" for seed in range(SEEDS)]
                found = [known[key] for key in keys if key in known]
                good = [c for c in found if "accuracy" in c]
                if not good:
                    row.append("failed" if found else "–")
                    continue
                mean = {f: np.mean([c[f] for c in good]) for f in ("accuracy", "log_loss", "cpu")}
                row.append(
                    f"{100 * mean['accuracy']:.1f} / {mean['log_loss']:.3f} / {mean['cpu']:.2f}"
                )
            rows.append(row)
        head = [f"{TITLES[name]}: accuracy % / log-loss / CPU s"]
        text += markdown([*head, *(f"{s:,} rows" if s else "all rows" for s in SIZES)], rows) + "\n"
    return text + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("article", __doc__, run, table)


if __name__ == "__main__":
    main()
