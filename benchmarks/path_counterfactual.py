"""Linear datamodeling score on digits, and real leave-one-out, beside TRAK and EK-FAC.

A small network (64, 96, 64, 10) on 1,437 rows of scikit-learn's digits, SGD with momentum. The
score: 10 % of the rows are dropped at random, the network is trained again from the same start
through the same batches with these rows' loss terms at zero, and the margins of held-out rows are
ranked over the subsets beside what each method predicts (Spearman, mean over the held-out rows).
Training again is plain torch, all subsets side by side as batched matrices.
"""

import argparse
import functools
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from harness import (
    Board,
    fingerprint,
    markdown,
    provenance,
    run_benchmark,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

WIDTHS = (64, 96, 64, 10)
ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}
SEEDS = 3
EPOCHS = 15
BATCH = 64
RATE, MOMENTUM = 0.1, 0.0
SUBSETS = 80
QUERIES = 60
DROPPED = 0.1
TRAK_MODELS, TRAK_DIMENSIONS = 20, 512
TRAK_RIDGE = 100.0  # the best of 0.01, 1, 10, 100, 1000; its default, none, scores 0.01
TRACIN_EVERY = 23
LEFT_OUT = 20
ASKED = 15  # held-out rows for it
CONTESTANTS = {
    "made": "`made`, exact",
    "index_made": '`index(128, kind="made")`',
    "tracin": "TracIn by `from_checkpoints`, one checkpoint an epoch",
    "ekfac": "EK-FAC (kronfluence)",
    "trak": "TRAK, 20 models (traker, 512 dimensions)",
    "without": "`without`, exact",
    "index": "`index(128)`",
}


@functools.cache
def digits(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training rows and classes, then held-out rows and classes."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    rows, classes = torch.tensor(x / 16, dtype=dtype)[order], torch.tensor(y)[order]
    return rows[:1437], classes[:1437], rows[1437 : 1437 + QUERIES], classes[1437 : 1437 + QUERIES]


def network(activation: str, seed: int, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Return the untrained network."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in pairwise(WIDTHS):
        layers += [nn.Linear(a, b), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1]).to(dtype)


def batches(seed: int, n: int) -> list[Tensor]:
    """Return the row numbers of every batch of the training."""
    generator = torch.Generator().manual_seed(1000 + seed)
    orders = [torch.randperm(n, generator=generator) for _ in range(EPOCHS)]
    return [order[a : a + BATCH] for order in orders for a in range(0, n, BATCH)]


def train(activation: str, seed: int, recorded: bool = False, dtype: torch.dtype = torch.float32):
    """Train by an ordinary loop; return the network and the recording."""
    from contextlib import nullcontext

    from trivium.pathkernel import record

    x, y, *_ = digits(dtype)
    net = network(activation, seed, dtype)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
    context = record(net, optimizer, cross_entropy) if recorded else nullcontext()
    kept = []
    with context as recording:
        for step, ids in enumerate(batches(seed, len(x))):
            if step % TRACIN_EVERY == 0:
                kept.append({name: p.detach().clone() for name, p in net.state_dict().items()})
            if recorded:
                recording.batch(ids)
            optimizer.zero_grad()
            cross_entropy(net(x[ids]), y[ids]).backward()
            optimizer.step()
    kept.append({name: p.detach().clone() for name, p in net.state_dict().items()})
    return net, recording, kept


def retrain(activation: str, seed: int, weights: Tensor) -> Tensor:
    """Train one network for each row of weights `(m, n)`; return held-out margins `(m, q)`."""
    dtype = weights.dtype
    x, y, xq, yq = digits(dtype)
    net, act = network(activation, seed, dtype), ACTIVATIONS[activation]()
    m = len(weights)
    held = [p.detach().expand(m, *p.shape).clone().requires_grad_() for p in net.parameters()]
    speed = [torch.zeros_like(p) for p in held]

    def forward(rows: Tensor) -> Tensor:
        out = rows.expand(m, *rows.shape)
        for number in range(0, len(held), 2):
            out = torch.baddbmm(held[number + 1][:, None], out, held[number].mT)
            out = act(out) if number + 2 < len(held) else out
        return out

    for ids in batches(seed, len(x)):
        out = forward(x[ids])
        target = y[ids].expand(m, -1)
        losses = cross_entropy(out.flatten(0, 1), target.flatten(), reduction="none")
        total = (losses.reshape(m, -1) * weights[:, ids]).sum() / len(ids)
        grads = torch.autograd.grad(total, held)
        with torch.no_grad():
            for p, v, g in zip(held, speed, grads, strict=True):
                v.mul_(MOMENTUM).add_(g)
                p.sub_(RATE * v)
    with torch.no_grad():
        return torch.stack([margin(out, yq) for out in forward(xq)])


def margin(out: Tensor, y: Tensor) -> Tensor:
    """Return the log-odds of each row's class."""
    own = out.gather(1, y[:, None])
    return own[:, 0] - out.scatter(1, y[:, None], -torch.inf).logsumexp(1)


@functools.cache
def truth(activation: str, seed: int) -> tuple[Tensor, Tensor, float]:
    """Return which rows each subset keeps, the margins after training on it, and the seconds."""
    n = len(digits()[0])
    generator = torch.Generator().manual_seed(77 + seed)
    keep = torch.ones(SUBSETS, n)
    for row in keep:
        row[torch.randperm(n, generator=generator)[: round(DROPPED * n)]] = 0
    begun = time.process_time()
    found = retrain(activation, seed, keep)
    return keep, found, time.process_time() - begun


def score(contributions: Tensor, keep: Tensor, found: Tensor) -> float:
    """Return the linear datamodeling score of contributions `(q, n)`."""
    from scipy.stats import spearmanr

    predicted = keep.double() @ contributions.double().T
    pairs = zip(predicted.T, found.double().T, strict=True)
    return float(sum(spearmanr(a, b).statistic for a, b in pairs) / found.shape[1])


def ours(how: str, activation: str, seed: int) -> dict:
    """Ask our recording; the training itself is not counted, what recording adds is."""
    begun = time.process_time()
    _, recording, kept = train(activation, seed, recorded=True)
    recorded = time.process_time() - begun
    begun = time.process_time()
    train(activation, seed)
    plain = time.process_time() - begun
    x, y, xq, yq = digits()
    begun = time.process_time()
    if how == "tracin":
        from trivium.pathkernel import from_checkpoints

        found = from_checkpoints(
            network(activation, seed),
            [(state, RATE / (1 - MOMENTUM)) for state in kept],  # left end points
            cross_entropy,
            (x, y),
            xq,
            of="margin",
            y=yq,
            steps=TRACIN_EVERY,
        ).contributions
    elif how.startswith("index"):
        kind = "made" if how == "index_made" else "counterfactual"
        index = recording.index(128, kind)
        built = time.process_time() - begun
        found = index.contributions(xq, "margin", yq)
    else:
        found = getattr(recording, how)(xq, "margin", yq).contributions
    seconds = time.process_time() - begun
    ids = list(range(len(x))) if how == "tracin" else recording.ids
    placed = torch.zeros_like(found)
    placed[:, torch.tensor(ids)] = found
    keep, margins, _ = truth(activation, seed)
    cell = {
        "score": score(placed, keep, margins),
        "cpu": seconds,
        "recording": recorded - plain,
        "training": plain,
    }
    if how.startswith("index"):
        cell |= {"build": built, "query": seconds - built, "bytes": index.n_bytes}
    return cell


def trak(activation: str, seed: int) -> dict:
    """TRAK as its authors' package does it, on the CPU."""
    import tempfile

    from torch.utils.data import DataLoader, TensorDataset
    from trak import TRAKer
    from trak.projectors import BasicProjector, ProjectionType

    x, y, xq, yq = digits()
    begun = time.process_time()
    models = [train(activation, 100 * seed + 500 + one)[0] for one in range(TRAK_MODELS)]
    trained = time.process_time() - begun
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        size = sum(p.numel() for p in models[0].parameters())
        projector = BasicProjector(
            size, TRAK_DIMENSIONS, seed, ProjectionType.rademacher, torch.device("cpu"), 512
        )
        traker = TRAKer(
            model=models[0],
            task="image_classification",
            train_set_size=len(x),
            save_dir=folder,
            device="cpu",
            projector=projector,
            proj_dim=TRAK_DIMENSIONS,
            use_half_precision=False,
            lambda_reg=TRAK_RIDGE,
            logging_level=50,
        )
        rows = DataLoader(TensorDataset(x, y), batch_size=500)
        asked = DataLoader(TensorDataset(xq, yq), batch_size=500)
        for number, model in enumerate(models):
            traker.load_checkpoint(model.state_dict(), model_id=number)
            for batch in rows:
                traker.featurize(batch=batch, num_samples=len(batch[0]))
        traker.finalize_features()
        for number, model in enumerate(models):
            traker.start_scoring_checkpoint("q", model.state_dict(), number, len(xq))
            for batch in asked:
                traker.score(batch=batch, num_samples=len(batch[0]))
        found = torch.tensor(traker.finalize_scores("q")).T
    seconds = time.process_time() - begun
    keep, margins, _ = truth(activation, seed)
    return {"score": score(found, keep, margins), "cpu": trained + seconds, "training": trained}


def ekfac(activation: str, seed: int) -> dict:
    """EK-FAC influence by kronfluence."""
    import os
    import tempfile

    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task
    from torch.utils.data import TensorDataset

    class Digits(Task):
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            out = model(batch[0])
            if sample:
                with torch.no_grad():
                    label = torch.multinomial(out.softmax(-1), 1).flatten()
                return cross_entropy(out, label, reduction="sum")
            return cross_entropy(out, batch[1], reduction="sum")

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return margin(model(batch[0]), batch[1]).sum()

    net = train(activation, seed)[0]
    x, y, xq, yq = digits()
    begun = time.process_time()
    task, here = Digits(), os.getcwd()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analyzer = Analyzer(
            "digits",
            prepare_model(net, task),
            task,
            cpu=True,
            output_dir=folder,
            disable_tqdm=True,
            log_level=50,
        )
        analyzer.fit_all_factors(
            "f",
            TensorDataset(x, y),
            per_device_batch_size=512,
            factor_args=FactorArguments(strategy="ekfac"),
        )
        analyzer.compute_pairwise_scores(
            "s",
            "f",
            TensorDataset(xq, yq),
            TensorDataset(x, y),
            per_device_query_batch_size=100,
            per_device_train_batch_size=512,
            score_args=ScoreArguments(damping_factor=None),
        )
        found = -analyzer.load_pairwise_scores("s")[
            "all_modules"
        ]  # its loss falls where ours rises
    os.chdir(here)
    seconds = time.process_time() - begun
    keep, margins, _ = truth(activation, seed)
    return {"score": score(found, keep, margins), "cpu": seconds}


def left_out(activation: str, seed: int) -> dict:
    """Leave one row out and train again; beside `without` and finite differences, in float64."""
    double = torch.float64
    _, recording, _ = train(activation, seed, recorded=True, dtype=double)
    _, _, xq, yq = digits(double)
    found = recording.without(xq[:ASKED], "margin", yq[:ASKED]).contributions
    n = len(recording.ids)
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:LEFT_OUT]
    weights = torch.ones(3 * LEFT_OUT + 1, n, dtype=double)
    numbers = torch.arange(LEFT_OUT)
    step = 1e-4
    weights[numbers, rows] = 0
    weights[LEFT_OUT + numbers, rows] += step
    weights[2 * LEFT_OUT + numbers, rows] -= step
    margins = retrain(activation, seed, weights)[:, :ASKED]
    whole = margins[-1]
    place = {one: number for number, one in enumerate(recording.ids)}
    ours = found[:, torch.tensor([place[int(one)] for one in rows])].T
    real = whole - margins[:LEFT_OUT]
    slopes = (margins[LEFT_OUT : 2 * LEFT_OUT] - margins[2 * LEFT_OUT : -1]) / (2 * step)
    both = torch.stack([ours.flatten(), real.flatten()])
    by_row = [
        float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(ours, real, strict=True)
    ]
    return {
        "correlation": float(torch.corrcoef(both)[0, 1]),
        "median_by_row": float(torch.tensor(by_row).median()),
        "finite_difference": float((ours - slopes).norm() / slopes.norm()),
    }


def measure_all(arguments: argparse.Namespace, board: Board) -> None:
    """Measure what is not known yet."""
    code = fingerprint("pathkernel", "kernel")
    makers: dict[str, Callable[[str, int], dict]] = {"trak": trak, "ekfac": ekfac}
    for seed in range(1 if arguments.quick else SEEDS):
        for activation in ACTIVATIONS:
            for how in CONTESTANTS:
                if arguments.only and how not in arguments.only:
                    continue
                maker = makers.get(how, functools.partial(ours, how))
                own = "" if how in makers else code
                board.cell(
                    f"{how}/{activation}/{seed}",
                    functools.partial(maker, activation, seed),
                    own,
                )
            if seed == 0 and (not arguments.only or "left_out" in arguments.only):
                board.cell(
                    f"left_out/{activation}/{seed}",
                    functools.partial(left_out, activation, seed),
                    code,
                )


def table(board: Board) -> str:
    """Return the Markdown of both tables."""

    def over_seeds(key: str, name: str) -> list[float]:
        return [
            cell[name]
            for at, cell in sorted(board.cells.items())
            if at.startswith(f"{key}/") and name in cell
        ]

    lines = []
    for how, label in CONTESTANTS.items():
        row = [label]
        for activation in ACTIVATIONS:
            values = over_seeds(f"{how}/{activation}", "score")
            row.append(f"{sum(values) / len(values):.3f}" if values else "failed")
            row.append(f"{min(values):.3f} to {max(values):.3f}" if values else "")
        cpu = over_seeds(how, "cpu")
        row.append(f"{sum(cpu) / len(cpu):.2f}" if cpu else "")
        lines.append(row)
    head = ["", "GELU", "seeds", "ReLU", "seeds", "CPU s"]
    text = "Linear datamodeling score, 10 % of the rows dropped; mean and range over the seeds.\n\n"
    text += markdown(head, lines)
    lines = []
    for activation in ACTIVATIONS:
        key = f"left_out/{activation}"
        values = [over_seeds(key, n) for n in ("correlation", "median_by_row", "finite_difference")]
        if values[0]:
            lines.append(
                [
                    activation,
                    f"{min(values[0]):.4f}",
                    f"{min(values[1]):.4f}",
                    f"{max(values[2]):.1e}",
                ]
            )
    text += "\nReal leave-one-out and finite differences, float64, the first seed.\n\n"
    head = ["", "correlation, all", "correlation, median row", "finite differences, relative"]
    text += markdown(head, lines)
    return text + "\n" + provenance(board.path)


if __name__ == "__main__":
    run_benchmark("path_counterfactual", __doc__, measure_all, table)
