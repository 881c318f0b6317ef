"""Recording a training and asking it: what it costs beside the training, and whether it adds up.

Digits (1,437 rows to train on, 360 to ask about), an MLP of about 99,000 parameters in float32. The
training, the same training recorded, and 100 questions are timed one after the other in one
process. Completeness in float64 on a smaller net, beside the left end point (TracIn's sum) and the
trapezoid, which are written out here.
"""

import argparse
import itertools
import statistics
from functools import partial

from harness import (
    Board,
    fingerprint,
    markdown,
    measure,
    provenance,
    run_benchmark,
)

QUERIES, EPOCHS, BATCH = 100, 6, 64
OPTIMIZERS = {
    "SGD": ("SGD", {"lr": 0.1}),
    "momentum": ("SGD", {"lr": 0.03, "momentum": 0.9}),
    "Adam": ("Adam", {"lr": 1e-3}),
}
COMPLETE = {
    "SGD": ("SGD", {"lr": 0.3}),
    "momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "Nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "SGD, L2": ("SGD", {"lr": 0.3, "weight_decay": 0.01}),
    "Adam": ("Adam", {"lr": 0.005}),
    "AdamW": ("AdamW", {"lr": 0.005, "weight_decay": 0.1}),
    "Adam, clipped": ("Adam", {"lr": 0.005}),
}


def digits(dtype):
    """Return rows and labels of digits, shuffled, pixels in [0, 1]."""
    import torch
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    return torch.tensor(x / 16, dtype=dtype)[order], torch.tensor(y)[order]


def network(width, dtype, activation):
    import torch
    from torch import nn

    torch.manual_seed(0)
    act = getattr(nn, activation)
    return nn.Sequential(
        nn.Linear(64, width), act(), nn.Linear(width, width), act(), nn.Linear(width, 10)
    ).to(dtype)


def train(optimizer, *, record=None, batch=BATCH, epochs=EPOCHS, clip=None, each=None, **net):
    """Train on the first 1,437 rows; return the network and its recording.

    `each` is called with the network after every step.
    """
    import torch
    from torch.nn import functional

    from trivium.pathkernel import record as recorded

    x, y = digits(net["dtype"])
    model = network(**net)
    kind, settings = optimizer
    steps = getattr(torch.optim, kind)(model.parameters(), **settings)
    draw = torch.Generator().manual_seed(1)

    def loop(recording):
        for _ in range(epochs):
            for ids in torch.randperm(1437, generator=draw).split(batch):
                if recording is not None:
                    recording.batch(ids)
                steps.zero_grad()
                functional.cross_entropy(model(x[ids]), y[ids]).backward()
                if clip:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                steps.step()
                if each is not None:
                    each(model, ids)

    if record is None:
        loop(None)
        return model, None
    with recorded(model, steps, functional.cross_entropy, **record) as recording:
        loop(recording)
    return model, recording


def wide_cell(repeats: int) -> dict:
    """Time the recording of a wider net, whose steps are ten times as long."""
    import torch

    net = {"width": 1000, "dtype": torch.float32, "activation": "ReLU", "batch": 256}
    go = partial(train, OPTIMIZERS["SGD"], **net)
    go(epochs=1)
    found = {"train": [], "stride20": []}
    for _ in range(repeats):
        found["train"].append(measure(go)[1]["cpu"])
        found["stride20"].append(measure(partial(go, record={}))[1]["cpu"])
    numbers = sum(p.numel() for p in network(1000, torch.float32, "ReLU").parameters())
    return {key: min(times) for key, times in found.items()} | {"parameters": numbers}


def cost_cell(name: str, batch: int, repeats: int) -> dict:
    """Time the training, its recordings and 100 questions, interleaved `repeats` times."""
    import torch

    x, _ = digits(torch.float32)
    asked = x[1437 : 1437 + QUERIES]
    net = {"width": 280, "dtype": torch.float32, "activation": "ReLU", "batch": batch}
    go = partial(train, OPTIMIZERS[name], **net)
    go(epochs=1)
    found = {key: [] for key in ("train", "stride20", "stride1", "made", "chord10", "without10")}
    errors = {}
    for _ in range(repeats):
        found["train"].append(measure(go)[1]["cpu"])
        (_, run), cost = measure(lambda: go(record={}))
        found["stride20"].append(cost["cpu"])
        found["stride1"].append(measure(lambda: go(record={"stride": 1}))[1]["cpu"])
        (_, chords), _ = measure(lambda: go(record={"every": "chord:10"}))
        made, cost = measure(lambda run=run: run.made(asked))
        found["made"].append(cost["cpu"])
        rough, cost = measure(lambda chords=chords: chords.made(asked))
        found["chord10"].append(cost["cpu"])
        found["without10"].append(measure(lambda run=run: run.without(asked[:10]))[1]["cpu"])
        errors = {"error": made.completeness_error, "chord_error": rough.completeness_error}
        pair = torch.stack([made.contributions.reshape(-1), rough.contributions.reshape(-1)])
        errors["chord_correlation"] = float(torch.corrcoef(pair)[0, 1])
        errors["churn"] = float((made.absolute / made.contributions.sum(1).abs()).median())
    return {key: min(value) for key, value in found.items()} | errors | {"steps": run.n_steps}


def completeness_cell(name: str, activation: str, precision: str) -> dict:
    """Relative errors of completeness: ours, the left end point, the trapezoid.

    Both others multiply the displacement of each step by the gradient at its end or ends, which is
    what TracIn's sum over rows comes to for plain SGD.
    """
    import torch

    dtype = getattr(torch, precision)
    x, _ = digits(torch.float64)
    asked = x[1437 : 1437 + 20].to(dtype)
    net = {"width": 64, "dtype": dtype, "activation": activation, "batch": 32}
    clip = 0.5 if "clipped" in name else None
    path = []

    def keep(model, _):
        path.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone())

    go = partial(train, COMPLETE[name], clip=clip, epochs=2, **net)
    start = torch.nn.utils.parameters_to_vector(
        network(64, dtype, activation).parameters()
    ).detach()
    model, run = go(record={}, each=keep)
    made = run.made(asked)
    path.insert(0, start)
    chosen = model(asked).argmax(1)
    left, trapezoid = (torch.zeros(len(asked), dtype=torch.float64) for _ in range(2))
    before = gradients(model, path[0], asked, chosen)
    for here, there in itertools.pairwise(path):
        after = gradients(model, there, asked, chosen)
        step = (there - here).double()
        left += before @ step
        trapezoid += (before + after) @ step / 2
        before = after
    change = made.after - made.before
    return {
        "ours": made.completeness_error,
        "left": float((left - change).norm() / change.norm()),
        "trapezoid": float((trapezoid - change).norm() / change.norm()),
    }


def gradients(model, theta, asked, chosen):
    """Return the gradient of each chosen logit, `(q, p)`, in float64."""
    import torch

    torch.nn.utils.vector_to_parameters(theta, model.parameters())
    out = model(asked).gather(1, chosen[:, None])[:, 0]
    rows = [torch.autograd.grad(one, list(model.parameters()), retain_graph=True) for one in out]
    return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows]).double()


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Fill the file."""
    code = fingerprint("pathkernel", "kernel")
    repeats = 1 if arguments.quick else 3
    wanted = tuple(arguments.only) or ("cost", "wide", "complete")
    if "wide" in wanted:
        board.cell("wide/SGD/256", partial(wide_cell, repeats), code)
    for name in OPTIMIZERS if "cost" in wanted else ():
        for batch in (32, 64, 256) if name == "SGD" else (BATCH,):
            board.cell(f"cost/{name}/{batch}", partial(cost_cell, name, batch, repeats), code)
    for name in COMPLETE if "complete" in wanted else ():
        for activation in ("ReLU", "GELU"):
            for precision in ("float64", "float32"):
                task = partial(completeness_cell, name, activation, precision)
                board.cell(f"complete/{name}/{activation}/{precision}", task, code)


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    rows = []
    for key, cell in known.items():
        if not key.startswith("cost/") or "failed" in cell:
            continue
        _, name, batch = key.split("/")
        base = cell["train"]
        rows.append(
            [
                f"{name}, batches of {batch}",
                f"{base:.2f}",
                f"{cell['stride20'] / base - 1:+.0%}",
                f"{cell['stride1'] / base - 1:+.0%}",
                f"{cell['made'] / base:.1f}×",
                f"{cell['chord10'] / base:.1f}×",
                f"{cell['chord_correlation']:.4f}",
                f"{cell['without10'] / base:.1f}×",
                f"{cell['error']:.0e}",
            ]
        )
    head = [
        "digits, 99,410 parameters, float32",
        "training, CPU s",
        "recording",
        "every step stored",
        "`made`, 100 rows",
        "in chords of 10",
        "correlation",
        "`without`, 10 rows",
        "completeness error",
    ]
    text = "# A recorded training: cost and completeness\n\n" + markdown(head, rows)
    text += "\nAsked: recording ≤ 10 %, 100 rows ≤ 1.5× the training (plain SGD).\n\n"
    rows = []
    for name in COMPLETE:
        for activation in ("ReLU", "GELU"):
            double = known.get(f"complete/{name}/{activation}/float64", {})
            single = known.get(f"complete/{name}/{activation}/float32", {})
            if "ours" in double and "ours" in single:
                rows.append(
                    [
                        f"{name}, {activation}",
                        f"{double['left']:.0e}",
                        f"{double['trapezoid']:.0e}",
                        f"{double['ours']:.0e}",
                        f"{single['ours']:.0e}",
                    ]
                )
    head = ["completeness error, 20 logits", "left end point", "trapezoid", "ours", "ours, float32"]
    text += markdown(head, rows)
    wide = known.get("wide/SGD/256")
    if wide:
        more = wide["stride20"] / wide["train"] - 1
        text += (
            f"\nA net of {wide['parameters']:,} parameters, SGD, batches of 256: recording "
            f"{more:+.0%}.\n"
        )
    churn = [cell["churn"] for key, cell in known.items() if "churn" in cell]
    if churn:
        text += (
            f"\nAbsolute contributions are {statistics.median(churn):.0f} times the net change "
            "(median over rows and optimizers).\n\n"
        )
    return text + provenance(board.path)


if __name__ == "__main__":
    run_benchmark("path_kernel", __doc__, run, table)
