"""Per-row gradients of a network: their products at one checkpoint, and the tangent kernel.

Digits, an MLP 64-256-256-64-10 of 99,530 parameters: the loss gradients of 1,437 training rows
against those of 360 others, all parameters, at one checkpoint, by the tools that attribute
predictions to training rows; the same summed over 20 checkpoints (TracIn); then the tangent kernel
of 100 by 50 rows over all ten outputs. Quality is the relative error against float64.
"""

import argparse
import copy
import tempfile
import warnings
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from harness import (
    Board,
    fingerprint,
    markdown,
    measure,
    peak_memory,
    provenance,
    run_benchmark,
)

TURNS = 1
STEPS, APART, RATE = 200, 10, 0.1  # of the training, and from one checkpoint to the next
PRODUCTS = {
    "ours": "ours, all layers",
    "captum_last": "captum TracInCPFast, the last layer only",
    "flat": "per-row gradients by torch.func, one product",
    "captum": "captum TracInCP",
    "kronfluence": "kronfluence, identity factors",
    "trak": "traker, 2,048 projections (TRAK scores)",
    "dattri": "dattri TracIn (its numbers differ by 14 %)",
}
TRACIN = {
    "ours": "ours, `from_checkpoints`, all layers",
    "captum_last": "captum TracInCPFast, the last layer only",
    "captum": "captum TracInCP",
}
KERNELS = {
    "ours": "ours, exact",
    "ours_sketch": "ours, sketch=4096",
    "jacobian": "torch.func Jacobians, one product",
    "vector": "torch.func vector products",
}
EXACT = ("ours", "flat", "captum", "kronfluence")


@cache
def setting(dtype: str = "float32") -> dict[str, Any]:
    """Return the rows, a network trained for a few steps and its states on the way."""
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    x, y = load_digits(return_X_y=True)
    x, y = torch.from_numpy(x).to(torch.float32) / 16, torch.from_numpy(y)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(x)))
    x, y = x[order], y[order]
    torch.manual_seed(0)
    sizes = (64, 256, 256, 64, 10)
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    kept = []
    for step in range(STEPS):
        if step % APART == 0:
            kept.append({name: value.clone() for name, value in net.state_dict().items()})
        rows = slice(step % 22 * 64, step % 22 * 64 + 64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    kind = getattr(torch, dtype)
    x = x.to(kind)
    kept.append({name: value.clone() for name, value in net.state_dict().items()})
    net = net.to(kind).eval()
    kept = [{name: value.to(kind) for name, value in state.items()} for state in kept]
    rows = {"train": (x[:1437], y[:1437]), "test": (x[1437:], y[1437:])}
    return {"net": net, "kept": kept, **rows}


def ours(given: dict[str, Any]) -> Any:
    """Ghost products over all layers."""
    from torch.nn import functional

    from trivium.kernel import tangents_of

    def side(x: Any, y: Any) -> Any:
        loss = partial(functional.cross_entropy, target=y, reduction="none")
        return tangents_of(given["net"], x, loss)

    return side(*given["train"]).gram(side(*given["test"]))


def _per_row(net: Any) -> Callable[..., Any]:
    from torch.func import functional_call, grad, vmap
    from torch.nn import functional

    def loss(parameters: dict[str, Any], x: Any, y: Any) -> Any:
        out = functional_call(net, parameters, (x[None],))
        return functional.cross_entropy(out, y[None])

    return vmap(grad(loss), in_dims=(None, 0, 0))


def flat(given: dict[str, Any]) -> Any:
    """Every row's gradient written out, one matrix product."""
    import torch

    net = given["net"]
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    per_row = _per_row(net)

    def side(x: Any, y: Any) -> Any:
        found = per_row(parameters, x, y)
        return torch.cat([found[name].flatten(1) for name in parameters], 1)

    return side(*given["train"]) @ side(*given["test"]).T


def _captum(given: dict[str, Any], kind: str, states: list | None = None) -> Any:
    import torch
    from captum.influence import TracInCP, TracInCPFast

    rows = torch.utils.data.TensorDataset(*given["train"])
    loss = torch.nn.CrossEntropyLoss(reduction="sum")
    shared = {
        "model": given["net"],
        "train_dataset": rows,
        "checkpoints": ["here"] if states is None else states,
        "checkpoints_load_func": _load,
        "loss_fn": loss,
        "batch_size": 1437,
    }
    if kind == "last":
        tool = TracInCPFast(final_fc_layer=given["net"][-1], **shared)
    else:
        tool = TracInCP(sample_wise_grads_per_batch=True, **shared)  # its faster way
    return tool.influence(given["test"]).T


def _load(net: Any, state: Any) -> float:
    """Put a state into the network, captum's way; return its weight in the sum."""
    if state != "here":
        net.load_state_dict(state)
    return 1.0


def captum(given: dict[str, Any]) -> Any:
    """TracIn over all layers."""
    return _captum(given, "all")


def captum_last(given: dict[str, Any]) -> Any:
    """TracIn over the last layer only."""
    return _captum(given, "last")


def tracin_ours(given: dict[str, Any]) -> Any:
    """The left end points of 20 stretches, with what they miss."""
    from torch.nn import functional

    from trivium.pathkernel import from_checkpoints

    return from_checkpoints(
        copy.deepcopy(given["net"]),
        [(state, RATE) for state in given["kept"]],
        functional.cross_entropy,
        given["train"],
        given["test"][0],
        of="loss",
        y=given["test"][1],
        steps=APART,
    )


def tracin_captum(given: dict[str, Any]) -> Any:
    """The sum over the 20 states, all layers."""
    return _captum(given | {"net": copy.deepcopy(given["net"])}, "all", given["kept"][:-1])


def tracin_captum_last(given: dict[str, Any]) -> Any:
    """The sum over the 20 states, last layer only."""
    return _captum(given | {"net": copy.deepcopy(given["net"])}, "last", given["kept"][:-1])


def tracin_exact() -> Any:
    """The sum over the 20 states in float64, every gradient written out."""
    wide = setting("float64")
    net = copy.deepcopy(wide["net"])
    total = 0.0
    for state in wide["kept"][:-1]:
        net.load_state_dict(state)
        total = total + flat(wide | {"net": net})
    return total


def dattri(given: dict[str, Any]) -> Any:
    """TracIn by dattri."""
    import torch
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask
    from torch.func import functional_call

    net = given["net"]

    def loss(parameters: Any, row: Any) -> Any:
        out = functional_call(net, parameters, (row[0][None],))
        return torch.nn.functional.cross_entropy(out, row[1][None])

    def loader(rows: Any) -> Any:
        data = torch.utils.data.TensorDataset(*rows)
        return torch.utils.data.DataLoader(data, batch_size=512)

    task = AttributionTask(loss_func=loss, model=net, checkpoints=[net.state_dict()])
    tool = TracInAttributor(task=task, weight_list=torch.ones(1), normalized_grad=False)
    with torch.no_grad():
        return tool.attribute(loader(given["train"]), loader(given["test"]))


def kronfluence(given: dict[str, Any]) -> Any:
    """Pairwise scores with identity factors."""
    import torch
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments
    from kronfluence.task import Task

    class Digits(Task):
        def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> Any:
            del sample
            return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum")

        def compute_measurement(self, batch: Any, model: Any) -> Any:
            return self.compute_train_loss(batch, model)

    train, test = (torch.utils.data.TensorDataset(*given[key]) for key in ("train", "test"))
    task = Digits()
    with tempfile.TemporaryDirectory() as folder:
        model = prepare_model(copy.deepcopy(given["net"]), task)
        tool = Analyzer("digits", model, task, cpu=True, output_dir=folder, disable_tqdm=True)
        chosen = FactorArguments(strategy="identity")
        tool.fit_all_factors("identity", train, 512, factor_args=chosen)
        tool.compute_pairwise_scores("scores", "identity", test, train, 360, None, 1437)
        return tool.load_pairwise_scores("scores")["all_modules"].T


def trak(given: dict[str, Any]) -> Any:
    """TRAK's features and scores of one model."""
    import torch
    from trak import TRAKer
    from trak.projectors import BasicProjector, ProjectionType

    net = given["net"]
    n_weights = sum(p.numel() for p in net.parameters())
    projector = BasicProjector(n_weights, 2048, 0, ProjectionType.rademacher, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        tool = TRAKer(
            net,
            "image_classification",
            1437,
            save_dir=folder,
            device="cpu",
            projector=projector,
            use_half_precision=False,
            logging_level=50,
        )
        tool.load_checkpoint(net.state_dict(), model_id=0)
        tool.featurize(batch=given["train"], num_samples=1437)
        tool.finalize_features()
        tool.start_scoring_checkpoint("test", net.state_dict(), 0, 360)
        tool.score(batch=given["test"], num_samples=360)
        return torch.as_tensor(np.array(tool.finalize_scores("test")))


def kernel_ours(net: Any, x: Any, y: Any) -> Any:
    """Exact, by ghost products."""
    from trivium.kernel import tangent_kernel

    return tangent_kernel(net, x, y)


def kernel_ours_sketch(net: Any, x: Any, y: Any) -> Any:
    """By random features."""
    from trivium.kernel import tangent_kernel

    return tangent_kernel(net, x, y, sketch=4096)


def kernel_jacobian(net: Any, x: Any, y: Any) -> Any:
    """Both Jacobians written out."""
    import torch
    from torch.func import functional_call, jacrev, vmap

    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def one(row: Any) -> Any:
        return jacrev(lambda p: functional_call(net, p, (row[None],))[0])(parameters)

    def side(rows: Any) -> Any:
        found = vmap(one)(rows)
        return torch.cat([found[name].flatten(2) for name in parameters], 2).flatten(1)

    return side(x) @ side(y).T


def kernel_vector(net: Any, x: Any, y: Any) -> Any:
    """Each pair by a product of vectors with both Jacobians, as in torch's tutorial."""
    import torch
    from torch.func import functional_call, jvp, vjp, vmap

    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def pair(a: Any, b: Any) -> Any:
        def at(row: Any) -> Callable[..., Any]:
            return lambda p: functional_call(net, p, (row[None],))[0]

        out, back = vjp(at(b), parameters)

        def through(vector: Any) -> Any:
            return jvp(at(a), (parameters,), back(vector))[1]

        return vmap(through)(torch.eye(len(out), dtype=out.dtype)).trace()

    return vmap(lambda a: vmap(lambda b: pair(a, b))(y))(x)


TASKS = {
    task.__name__: task for task in (ours, captum_last, flat, captum, kronfluence, trak, dattri)
}
SUMMED = {
    "ours": tracin_ours,
    "captum_last": tracin_captum_last,
    "captum": tracin_captum,
}
NTK = {
    "ours": kernel_ours,
    "ours_sketch": kernel_ours_sketch,
    "jacobian": kernel_jacobian,
    "vector": kernel_vector,
}


def off_by(found: Any, exact: Any) -> float:
    """Return the relative error of a matrix."""
    return float((found.detach().double() - exact).norm() / exact.norm())


def product_cell(who: str) -> dict:
    """Time one contestant, after one warm run."""
    given = setting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TASKS[who](given)
        found, times = measure(
            lambda: TASKS[who](given), 5 if who in ("ours", "captum_last", "jacobian") else 1
        )
    if who in EXACT:
        times["error"] = off_by(found, flat(setting("float64")))
    return times


def tracin_cell(who: str) -> dict:
    """Time one contestant over 20 checkpoints, after one warm run; its memory apart."""
    given = setting()
    SUMMED[who](given)
    found, times = measure(lambda: SUMMED[who](given), 1 if who == "captum" else 5)
    times["memory"] = peak_memory(setting, SUMMED[who])["bytes"]
    if who == "captum_last":
        return times
    exact = tracin_exact()
    if who == "ours":
        exact = -RATE * APART / len(given["train"][0]) * exact.T
        times["completeness"] = found.completeness_error
        found = found.contributions
    return times | {"error": off_by(found, exact)}


def kernel_cell(who: str, n: int, m: int) -> dict:
    """Time one way to the tangent kernel."""
    given = setting()
    x, y = given["train"][0][:n], given["test"][0][:m]
    NTK[who](given["net"], x[:2], y[:2])
    found, times = measure(
        lambda: NTK[who](given["net"], x, y), 5 if who in ("ours", "captum_last", "jacobian") else 1
    )
    wide = setting("float64")
    exact = kernel_jacobian(wide["net"], x.double(), y.double())
    times["error"] = off_by(found, exact)
    return times


def run_products(arguments: argparse.Namespace, board: Board) -> None:
    """Contestants interleaved over turns."""
    code = fingerprint("kernel")
    for turn in range(1 if arguments.quick else TURNS):
        for who in PRODUCTS:
            mine = code if who == "ours" else ""
            board.cell(f"products/{who}/{turn}", partial(product_cell, who), mine)


def run_tracin(arguments: argparse.Namespace, board: Board) -> None:
    """TracIn over 20 checkpoints, all pairs of rows."""
    code = fingerprint("pathkernel", "kernel")
    for turn in range(1 if arguments.quick else TURNS):
        for who in TRACIN:
            mine = code if who == "ours" else ""
            board.cell(f"tracin/{who}/{turn}", partial(tracin_cell, who), mine)


def run_kernel(arguments: argparse.Namespace, board: Board) -> None:
    """The tangent kernel of 100 by 50 rows."""
    code = fingerprint("kernel")
    n, m = (20, 10) if arguments.quick else (100, 50)
    for turn in range(1 if arguments.quick else TURNS):
        for who in KERNELS:
            mine = code if who.startswith("ours") else ""
            board.cell(f"kernel/{who}/{turn}", partial(kernel_cell, who, n, m), mine)


def section(known: dict, name: str, labels: dict[str, str]) -> str:
    """Return one table: the least CPU time over turns, the ratio to ours, the error."""
    best: dict[str, dict] = {}
    for key, cell in known.items():
        kind, who, _ = key.split("/")
        if kind == name and "cpu" in cell:
            best[who] = min(best.get(who, cell), cell, key=lambda one: one["cpu"])
    rows = []
    for who, label in labels.items():
        cell = best.get(who)
        if cell is None:
            failed = [c["failed"] for k, c in known.items() if k.startswith(f"{name}/{who}/")]
            empty = ["", "", ""] if name == "tracin" else ["", ""]
            rows.append([label, failed[0][:60] if failed else "not measured", *empty])
            continue
        error = f"{cell['error']:.1e}" if "error" in cell else "another quantity"
        ratio = cell["cpu"] / best["ours"]["cpu"]
        row = [label, f"{cell['cpu']:.4f}", f"{ratio:.2g}×" if ratio < 10 else f"{ratio:.0f}×"]
        rows.append([*row, *([f"{cell['memory'] / 1e6:.0f}"] if "memory" in cell else []), error])
    memory = ["peak memory, MB"] if name == "tracin" else []
    return markdown([name, "CPU s", "of ours", *memory, "relative error"], rows) + "\n"


def table(board: Board) -> str:
    """Return the benchmark's Markdown."""
    known = board.known()
    missed = known.get("tracin/ours/0", {}).get("completeness", float("nan"))
    return (
        "# Gradient products of 1,437 × 360 rows, 99,530 parameters, one checkpoint\n\n"
        + section(known, "products", PRODUCTS)
        + f"# The same over {STEPS // APART} checkpoints of a training\n\n"
        + section(known, "tracin", TRACIN)
        + f"Such a sum misses the change of the loss by {missed:.2g} times that change\n"
        "(completeness error of `from_checkpoints`).\n\n"
        + "# The tangent kernel of 100 × 50 rows, ten outputs\n\n"
        + section(known, "kernel", KERNELS)
        + provenance(board.path)
    )


SECTIONS = {"products": run_products, "tracin": run_tracin, "kernel": run_kernel}

if __name__ == "__main__":
    run_benchmark("tangent", __doc__, SECTIONS, table)
