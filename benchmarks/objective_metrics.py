"""Gradients of F1 and of accuracy: their noise by estimator; the exact mean of F1 and its time.

Noise is the sum over numbers of the variance of one gradient, from 16 draws, about its mean over
repeats; the cosine is of one gradient with the exact one. "logits" takes the gradient in the 256
logits, "weights" in the weights of a linear model of 10 features behind them.
"""

import argparse
from functools import partial

import numpy as np
from harness import Board, fingerprint, markdown, measure, peak_memory, provenance, run_benchmark

ROWS, POSITIVES, SAMPLES = 256, 28, 16
# How far apart the classes lie, and the offset of the logits.
MODELS = {"untrained": (0.0, 0.0), "half trained": (1.5, -2.0), "trained": (4.0, -3.0)}
ESTIMATORS = ("counterfactual", "leave-one-out", "optimal", "mean", "none")
CASES = ("digits, training rows", "digits, held out", "even")
BASELINES = ("none", "mean", "optimal")
SIZES = ((1024, 0.1), (4096, 0.1), (4096, 0.5), (16_384, 0.1), (16_384, 0.5))


def classifier(model: str, seed: int) -> tuple:
    """Return features, weights and labels; the features of positives are shifted."""
    import torch

    shift, offset = MODELS[model]
    rng = torch.Generator().manual_seed(seed)
    target = (torch.arange(ROWS) < POSITIVES).long()
    x = torch.randn(ROWS, 10, dtype=torch.float64, generator=rng)
    x[:, 0] = 1.0
    x[:, 1] += shift * target
    weights = torch.zeros(10, dtype=torch.float64)
    weights[0], weights[1] = offset, 1.0 if shift else 0.0
    return x, weights, target


def noise_of_f1(model: str, estimator: str, repeats: int) -> dict:
    """Return noise and cosine of one estimator, in logits and in weights."""
    import torch

    from trivium.expectation import Score
    from trivium.objective import FBeta, expected_metric

    x, weights, target = classifier(model, 0)
    logits = (x @ weights).requires_grad_()
    chosen = estimator if estimator == "counterfactual" else Score(estimator)

    def slope(kind: object) -> torch.Tensor:
        return torch.autograd.grad(expected_metric(logits, target, FBeta(), kind, SAMPLES), logits)[
            0
        ]

    exact = slope("exact")
    torch.manual_seed(0)
    found, cost = measure(lambda: torch.stack([slope(chosen) for _ in range(repeats)]))
    out = {
        "cpu_per_call": cost["cpu"] / repeats,
        "f1": float(FBeta().expected(logits.detach().sigmoid(), target)),
    }
    for name, each, truth in (("logits", found, exact), ("weights", found @ x, exact @ x)):
        bias = (each.mean(0) - truth).square().sum() / (each.var(0).sum() / repeats)
        out[name] = {
            "noise": float(each.var(0).sum()),
            "cosine": float(torch.cosine_similarity(each, truth[None]).mean()),
            "bias_ratio": float(bias),
        }
    return out


def digits_logits(held_out: bool) -> tuple:
    """Return logits of 899 digits from a linear softmax, their labels, and how often it is right.

    Its penalty is set so that labels drawn from it are right 97.7 % of the time on training rows.
    """
    import torch
    from scipy.optimize import brentq
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, held, y, right = train_test_split(x / 16, y, test_size=0.5, random_state=0, stratify=y)

    def model(log_c: float) -> LogisticRegression:
        return LogisticRegression(C=float(np.exp(log_c)), max_iter=2000).fit(x, y)

    def share(p: np.ndarray, labels: np.ndarray) -> float:
        return float(p[np.arange(len(labels)), labels].mean())

    place = brentq(lambda c: share(model(c).predict_proba(x), y) - 0.977, -3, 6, xtol=1e-3)
    found, (x, y) = model(place), (held, right) if held_out else (x, y)
    logits = torch.tensor(found.decision_function(x))
    return logits, torch.tensor(y), share(found.predict_proba(x), y)


def noise_of_accuracy(case: str, baseline: str, repeats: int) -> dict:
    """Return the noise of the gradient of accuracy, from one draw for each row.

    "even": 500 rows of 10 classes, all about as sure. Others: a linear softmax on real digits.
    """
    import torch
    from torch.distributions import Categorical

    from trivium.expectation import Score, expect

    if case == "even":
        rng = torch.Generator().manual_seed(1)
        right = torch.randint(0, 10, (500,), generator=rng)
        logits = torch.randn(500, 10, generator=rng, dtype=torch.float64) * 0.5
        logits[torch.arange(500), right] += 6.15
        share = float(logits.softmax(1)[torch.arange(500), right].mean())
    else:
        logits, right, share = digits_logits(case == "digits, held out")
    leaf = logits.requires_grad_()

    def slope() -> torch.Tensor:
        value = expect(
            lambda z: (z == right).double(), Categorical(logits=leaf), Score(baseline), samples=1
        )
        return torch.autograd.grad(value.mean(), leaf)[0]

    torch.manual_seed(0)
    found = torch.stack([slope() for _ in range(repeats)])
    return {"noise": float(found.var(0).sum()), "accuracy": share}


def rows_of(n: int, share: float) -> tuple:
    """Return logits and labels."""
    import torch

    target = (torch.arange(n) < share * n).long()
    rng = torch.Generator().manual_seed(0)
    return 2.0 * target - 1.5 + torch.randn(n, dtype=torch.float64, generator=rng), target


def exact_f1(data: tuple) -> float:
    """Return the exact mean of F1, and make its gradient."""
    from trivium.objective import FBeta, expected_metric

    logits = data[0].clone().requires_grad_()
    value = expected_metric(logits, data[1], FBeta(), "exact")
    value.backward()
    return float(value.detach())


def value_only(data: tuple) -> float:
    """Return the exact mean of F1."""
    from trivium.objective import FBeta, expected_metric

    return float(expected_metric(data[0], data[1], FBeta(), "exact"))


def warm(data: tuple) -> None:
    """Import and start everything on few rows."""
    exact_f1((data[0][:8], data[1][:8]))


exact_f1.warm = warm


def textbook_f1(data: tuple) -> float:
    """The mean as by hand in numpy, one row after the other, without a gradient."""
    p, target = data[0].sigmoid().numpy(), data[1].numpy()
    parts = []
    for rows in (p[target == 1], p[target == 0]):
        found = np.ones(1)
        for value in rows:
            found = np.append(found * (1 - value), 0) + np.append(0, found * value)
        parts.append(found)
    tp, fp = np.arange(len(parts[0]))[:, None], np.arange(len(parts[1]))
    return float(parts[0] @ (2 * tp / (tp + fp + target.sum())) @ parts[1])


def time_of(n: int, share: float) -> dict:
    """Return seconds, memory and the distance to the textbook's value."""
    data = rows_of(n, share)
    exact_f1(data)
    value, cost = measure(partial(exact_f1, data), repeats=3)
    _, plain = measure(partial(value_only, data), repeats=3)
    theirs, textbook = measure(partial(textbook_f1, data), repeats=1)
    memory = peak_memory(rows_of, exact_f1, n, share)
    return (
        cost
        | {
            "f1": value,
            "gap": abs(value - theirs),
            "textbook": textbook["cpu"],
            "value_cpu": plain["cpu"],
        }
        | {"bytes": memory.get("bytes")}
    )


def tables(board: Board) -> str:
    """Return the Markdown of all cells."""
    cells, out = board.cells, []
    for where in ("logits", "weights"):
        rows = []
        for model in MODELS:
            found = {name: cells.get(f"f1 {model} {name}") for name in ESTIMATORS}
            if any(cell is None for cell in found.values()):
                continue
            least = found["counterfactual"][where]["noise"]
            ratios = [f"{found[name][where]['noise'] / least:,.0f}" for name in ESTIMATORS[1:]]
            cosines = [f"{found[name][where]['cosine']:.4f}" for name in ESTIMATORS[:2]]
            rows.append([model, f"{found['optimal']['f1']:.3f}", *ratios, *cosines])
        header = ["classifier", "E[F1]", *(f"{name} / ours" for name in ESTIMATORS[1:])]
        out.append(
            f"**Noise of the gradient of F1 in the {where}**, {ROWS} rows, {POSITIVES} positive, "
            f"{SAMPLES} draws: variance over that of the counterfactual; cosine to the exact.\n\n"
            + markdown([*header, "cosine, ours", "cosine, leave-one-out"], rows)
        )
    rows = [
        [
            f"{n:,}",
            f"{share:.0%}",
            f"{cell['cpu']:.3f}",
            f"{cell['value_cpu']:.3f}",
            f"{cell['textbook']:.3f}",
            f"{cell['bytes'] / 2**20:.0f}",
            f"{cell['gap']:.1e}",
        ]
        for n, share in SIZES
        if (cell := cells.get(f"exact {n} {share}"))
    ]
    header = [
        "rows",
        "positive",
        "ours, with gradient, CPU s",
        "ours, value only",
        "row by row in numpy, value only",
        "memory, MiB",
        "difference of values",
    ]
    out.append("**Exact E[F1]**\n\n" + markdown(header, rows))
    rows = []
    for case in CASES:
        found = {name: cells[f"accuracy {case} {name}"] for name in BASELINES}
        noise = {name: cell["noise"] for name, cell in found.items()}
        ratios = [f"{noise[name] / noise['none']:.2f}" for name in BASELINES[1:]]
        share = f"{found['none']['accuracy']:.1%}"
        rows.append([case, share, *ratios, f"{noise['mean'] / noise['optimal']:.1f}"])
    header = ["classifier", "right", "mean / none", "optimal / none", "mean / optimal"]
    title = "**Variance of the gradient of accuracy by baseline**, one draw for each row"
    out.append(title + "\n\n" + markdown(header, rows))
    return "\n".join(out) + "\n" + provenance(board.path)


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Every model, case and size."""
    code = fingerprint("objective", "expectation")
    repeats = 50 if arguments.quick else 400
    for model in MODELS:
        for name in ESTIMATORS:
            board.cell(f"f1 {model} {name}", partial(noise_of_f1, model, name, repeats), code)
    for case in CASES:
        for name in BASELINES:
            task = partial(noise_of_accuracy, case, name, repeats)
            board.cell(f"accuracy {case} {name}", task, code)
    for n, share in SIZES[:2] if arguments.quick else SIZES:
        board.cell(f"exact {n} {share}", partial(time_of, n, share), code)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("objective_metrics", __doc__, run, tables)


if __name__ == "__main__":
    main()
