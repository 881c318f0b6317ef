"""Wrong labels from one recorded training, beside cleanlab's five retrainings.

Digits with 10 % of the labels flipped at random to another class; an MLP of about 99,000 parameters
trained as usual (regular) or until it has memorised the flips (memorised). cleanlab ranks by its
label quality on out-of-fold probabilities of the same network, trained five times with the same
settings.
"""

import argparse
from functools import partial

import numpy as np
from harness import (
    Board,
    fingerprint,
    markdown,
    measure,
    provenance,
    run_benchmark,
)

SEEDS = 3
FLIPPED = 0.10
SCORES = ("margin", "support", "self")
# Epochs and rate; the second is the first setting tried that fits the flips, by a rate that falls.
REGIMES = {"regular": (12, 0.1), "memorised": (300, 0.2)}
BATCH = 64


def flipped_digits(seed: int):
    """Return rows, noisy labels and which are wrong."""
    import torch
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(y), round(FLIPPED * len(y)), replace=False)
    noisy = y.copy()
    noisy[wrong] = (y[wrong] + rng.integers(1, 10, len(wrong))) % 10
    return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(noisy), noisy != y


def train(x, y, regime: str, seed: int, recorded: bool = False):
    """Train the network; return it and its recording."""
    import torch
    from torch import nn
    from torch.nn import functional

    from trivium.pathkernel import record

    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(64, 280), nn.ReLU(), nn.Linear(280, 280), nn.ReLU(), nn.Linear(280, 10)
    )
    epochs, rate = REGIMES[regime]
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    steps = epochs * -(-len(y) // BATCH) if regime == "memorised" else 10**9
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def loop(recording):
        for _ in range(epochs):
            for ids in torch.randperm(len(y)).split(BATCH):
                if recording is not None:
                    recording.batch(ids)
                optimizer.zero_grad()
                functional.cross_entropy(model(x[ids]), y[ids]).backward()
                optimizer.step()
                schedule.step()

    if not recorded:
        loop(None)
        return model, None
    with record(model, optimizer, functional.cross_entropy) as recording:
        loop(recording)
    return model, recording


def auc(wrong, suspicion) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(wrong, suspicion))


def ours_cell(regime: str, seed: int) -> dict:
    """Train once, recorded; rank by each score."""
    import torch
    from torch.nn import functional

    from trivium.pathkernel import label_issues

    x, y, wrong = flipped_digits(seed)
    plain = measure(lambda: train(x, y, regime, seed))[1]["cpu"]
    (model, recording), cost = measure(lambda: train(x, y, regime, seed, recorded=True))
    with torch.no_grad():
        out = model(x)
    cell = {
        "train": plain,
        "recorded": cost["cpu"],
        "accuracy": float((out.argmax(1) == y).double().mean()),
        "auc_final_loss": auc(wrong, functional.cross_entropy(out, y, reduction="none").numpy()),
    }
    for score in SCORES:
        found, cost = measure(partial(label_issues, recording, score))
        place = np.array(found.ids)
        cell[f"auc_{score}"] = auc(wrong[place], found.scores.numpy())
        cell[f"cpu_{score}"] = cost["cpu"]
        if score == "margin":
            first = found.order[: int(wrong.sum())].numpy()
            hit = wrong[place][first]
            from sklearn.datasets import load_digits

            true = load_digits(return_X_y=True)[1][place][first]
            cell["suggested_right"] = float((found.suggested.numpy()[first] == true)[hit].mean())
    return cell


def cleanlab_cell(regime: str, seed: int) -> dict:
    """Out-of-fold probabilities of five trainings, ranked by cleanlab."""
    import torch
    from cleanlab.rank import get_label_quality_scores
    from sklearn.model_selection import StratifiedKFold

    x, y, wrong = flipped_digits(seed)

    def rank():
        proba = np.zeros((len(y), 10))
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        for there, here in folds.split(x, y):
            model, _ = train(x[there], y[there], regime, seed)
            with torch.no_grad():
                proba[here] = model(x[here]).softmax(1).numpy()
        return get_label_quality_scores(y.numpy(), proba)

    quality, cost = measure(rank)
    return {"auc": auc(wrong, -quality), "cpu": cost["cpu"]}


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Fill the file; contestants interleaved within a seed."""
    code = fingerprint("pathkernel", "kernel")
    seeds = 1 if arguments.quick else SEEDS
    board.n_planned = 2 * 2 * seeds
    for seed in range(seeds):
        for regime in REGIMES:
            board.cell(f"ours/{regime}/{seed}", partial(ours_cell, regime, seed), code)
            board.cell(f"cleanlab/{regime}/{seed}", partial(cleanlab_cell, regime, seed))


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    rows = []
    for regime in REGIMES:
        mine = [c for k, c in known.items() if k.startswith(f"ours/{regime}/") and "train" in c]
        peer = [c for k, c in known.items() if k.startswith(f"cleanlab/{regime}/") and "auc" in c]

        def cells(found, field):
            values = [one[field] for one in found]
            return f"{np.mean(values):.4f} ({min(values):.4f})" if values else "not measured"

        def seconds(found, field):
            return f"{np.median([one[field] for one in found]):.2f}" if found else ""

        rows += [
            [f"{regime}: `{score}`", cells(mine, f"auc_{score}"), seconds(mine, f"cpu_{score}")]
            for score in SCORES
        ]
        label = f"{regime}: final loss of the same training"
        rows.append([label, cells(mine, "auc_final_loss"), "0.00"])
        rows.append(
            [f"{regime}: cleanlab, 5 retrainings", cells(peer, "auc"), seconds(peer, "cpu")]
        )
        both = f"{seconds(mine, 'train')}; {seconds(mine, 'recorded')}"
        rows.append([f"{regime}: one training; recorded", "", both])
    n_seeds = sum(key.startswith("ours/regular/") for key in known)
    text = f"# Wrong labels without retraining: digits, 10 % flipped, {n_seeds} seeds\n\n"
    text += markdown(["", "AUC, mean (least)", "CPU s, median"], rows)
    text += "\nAsked: ≥ .997 regular, ≥ .999 memorised.\n\n"
    for regime, (epochs, _) in REGIMES.items():
        mine = [c for k, c in known.items() if k.startswith(f"ours/{regime}/") and "train" in c]
        if mine:
            text += (
                f"{regime.capitalize()}: {epochs} epochs, noisy labels fitted "
                f"{np.mean([c['accuracy'] for c in mine]):.1%}; among the flagged tenth the "
                f"suggested label is right for {np.mean([c['suggested_right'] for c in mine]):.0%} "
                "of the flips.\n"
            )
    return text + "\n" + provenance(board.path)


if __name__ == "__main__":
    run_benchmark("path_label_issues", __doc__, run, table)
