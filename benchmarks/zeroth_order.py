"""Zeroth order: time of a population, calibration, memory over inference, restoring in bfloat16.

Population: one estimate of the gradient (draw, evaluate 64 members, differentiate) on an MLP of
hidden size 256 and a batch of 16; the yardstick is torch.func.vmap(functional_call) with full
normal directions. Calibration: f linear, the estimate along the true gradient over its length.
Memory: a Transformer of 23 million parameters, module included, each contestant in a process of
its own. Restoring: drift of weights in bfloat16 after 1,000 perturbations.
"""

import argparse
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from harness import Board, fingerprint, in_a_loop, markdown, peak_memory, provenance, run_benchmark
from torch import nn
from torch.func import functional_call, vmap

ROOMS = ("expectation", "objective", "_core")
MEMBERS, BATCH, WIDTH = 64, 16, 256
STD = 0.02
TURNS = 7


# ---- population -----------------------------------------------------------------------------


def network() -> nn.Module:
    """Return the MLP, 256 to 256 to 256 to 10."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)
    )


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and targets."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, WIDTH, generator=generator)
    return x, torch.randn(BATCH, 10, generator=generator)


def by_vmap() -> Callable[[], Any]:
    """The yardstick: full directions in pairs, vmap, the average of f u."""
    module, (x, y) = network(), data()
    base = {name: p.detach() for name, p in module.named_parameters()}

    @torch.no_grad()
    def task() -> None:
        noise = {n: torch.randn(MEMBERS // 2, *p.shape) for n, p in base.items()}
        noise = {n: torch.cat([u, -u]) for n, u in noise.items()}
        moved = {n: p + STD * noise[n] for n, p in base.items()}
        out = vmap(lambda params: functional_call(module, params, (x,)))(moved)
        losses = (out - y).square().mean((1, 2))
        for n, p in module.named_parameters():
            p.grad = torch.tensordot(losses, noise[n], 1) / (STD * MEMBERS)

    return task


def by_ours(rank: int | None) -> Callable[[], Any]:
    """`expect` over `Perturb`."""
    from trivium.expectation import Perturb, expect

    module, (x, y) = network(), data()

    def task() -> None:
        module.zero_grad()
        target = Perturb(module, STD, rank=rank)
        expect(lambda z: (z(x) - y).square().mean((1, 2)), target, samples=MEMBERS).backward()

    return task


def by_torcheggroll() -> Callable[[], Any]:
    """One step of torcheggroll, rank 1."""
    from torcheggroll import TorchEggrollES

    x, y = data()
    es = TorchEggrollES(network(), pop_size=MEMBERS, sigma=STD, lr=1e-6, rank=1)
    return lambda: es.step(x, nn.functional.mse_loss, y)


def by_evotorch() -> Callable[[], Any]:
    """One generation of PGPE on a SupervisedNE problem."""
    import logging

    from evotorch.algorithms import PGPE
    from evotorch.neuroevolution import SupervisedNE

    logging.disable(logging.WARNING)
    dataset = torch.utils.data.TensorDataset(*data())
    problem = SupervisedNE(dataset, network(), nn.functional.mse_loss, minibatch_size=BATCH)
    search = PGPE(
        problem,
        popsize=MEMBERS,
        center_learning_rate=1e-6,
        stdev_learning_rate=1e-6,
        stdev_init=STD,
    )
    return search.step


POPULATIONS = {
    "torch.func.vmap, full": by_vmap,
    "evotorch PGPE, full": by_evotorch,
    "torcheggroll, rank 1": by_torcheggroll,
    "ours, full": partial(by_ours, None),
    "ours, rank 1": partial(by_ours, 1),
    "ours, rank 4": partial(by_ours, 4),
}


def run_population(arguments: argparse.Namespace, board: Board) -> None:
    """Contestants in turn, each for some consecutive calls, as in a training loop."""
    code = fingerprint(*ROOMS)
    board.cell("peers", lambda: {name: version(name) for name in ("evotorch", "torcheggroll")})
    for section, makers in {"population": POPULATIONS, "forward": forwards()}.items():
        ready = {who: cache(make) for who, make in makers.items()}
        for turn in range(1 if arguments.quick else TURNS):
            for who, make in ready.items():
                # Compared within one run only, so that all are measured again together.
                task = partial(lambda make: in_a_loop(make()), make)
                board.cell(f"{section}/{who}/{turn}", task, code)


def forwards() -> dict[str, Callable[[], Any]]:
    """What makes the forward alone, of populations drawn before (for vmap also added up)."""
    from trivium.expectation import Perturb

    module, (x, _) = network(), data()
    full = Perturb(module, STD).sample(torch.Size([MEMBERS]))
    moved = {name: full.tensor(name) for name in full.tensors}
    thin = Perturb(module, STD, rank=1).sample(torch.Size([MEMBERS]))
    stacked = vmap(lambda params: functional_call(module, params, (x,)))
    calls = {"torch.func.vmap, full": lambda: stacked(moved), "ours, rank 1": lambda: thin(x)}
    return {who: partial(lambda call: call, call) for who, call in calls.items()}


# ---- calibration ----------------------------------------------------------------------------


def linear() -> tuple[nn.Module, torch.Tensor]:
    """Return a layer and the gradient of a linear f of its weight."""
    torch.manual_seed(0)
    return nn.Linear(64, 32, bias=False), torch.randn(32, 64)


def ratio_of(estimate: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the estimate along the truth over the length of the truth."""
    return float((estimate * truth).sum() / truth.square().sum())


def calibrated_ours(rank: int | None, std: float, members: int, repeats: int) -> dict:
    """Mean ratio and its standard error."""
    from trivium.expectation import Perturb, expect

    module, truth = linear()
    ratios = []
    for _ in range(repeats):
        module.zero_grad()
        expect(
            lambda z: (z.tensor() * truth).sum((1, 2)), Perturb(module, std, rank), samples=members
        ).backward()
        ratios.append(ratio_of(module.weight.grad, truth))
    found = torch.tensor(ratios, dtype=torch.float64)
    return {"ratio": float(found.mean()), "error": float(found.std() / repeats**0.5)}


def calibrated_torcheggroll(rank: int, std: float, members: int, repeats: int) -> dict:
    """Its step over its learning rate, without the normalization of fitness."""
    from torcheggroll import TorchEggrollES

    module, truth = linear()
    es = TorchEggrollES(
        module, pop_size=members, sigma=std, lr=1.0, rank=rank, normalize_fitness=False
    )
    ratios = []
    for _ in range(repeats):
        before = module.weight.detach().clone()
        # out = W of the unit inputs, transposed: the loss is the inner product with the truth.
        es.step(torch.eye(64), lambda out, target: (out * target).sum(), truth.mT)
        ratios.append(ratio_of(before - module.weight.detach(), truth))
    found = torch.tensor(ratios, dtype=torch.float64)
    return {"ratio": float(found.mean()), "error": float(found.std() / repeats**0.5)}


CALIBRATION = [
    (rank, std, members)
    for rank in (None, 1, 4, 32)
    for std, members in ((0.02, 16), (0.02, 256), (1.0, 256))
]


def run_calibration(arguments: argparse.Namespace, board: Board) -> None:
    """Every rank, std and size; the peer where it has the choice."""
    repeats = 20 if arguments.quick else 400
    for rank, std, members in CALIBRATION:
        place = f"{rank or 'full'}/{std}/{members}"
        ours = partial(calibrated_ours, rank, std, members, repeats)
        board.cell(f"calibration/ours/{place}", ours, fingerprint(*ROOMS))
        if rank and members * rank < 2000:
            peer = partial(calibrated_torcheggroll, rank, std, members, max(20, repeats // 10))
            board.cell(f"calibration/torcheggroll/{place}", peer)


# ---- memory ---------------------------------------------------------------------------------


SEQUENCES = (64, 256)


class Transformer(nn.Module):
    """A language model of 23 million parameters, look-up and head tied."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Embedding(8192, 512)
        layer = nn.TransformerEncoderLayer(512, 8, 2048, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(512, 8192, bias=False)
        self.head.weight = self.look.weight

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.head(self.body(self.look(places)))


def language_model(sequence: int) -> tuple[nn.Module, Callable[[], torch.Tensor]]:
    """Return the module and its loss on a batch of one sequence."""
    torch.manual_seed(0)
    module = Transformer().eval()
    places = torch.randint(0, 8192, (1, sequence))

    def loss() -> torch.Tensor:
        return nn.functional.cross_entropy(module(places)[0], places[0])

    return module, loss


def inference(given: tuple) -> None:
    """The loss alone."""
    with torch.no_grad():
        given[1]()


def ours_in_place(given: tuple) -> None:
    """Two steps of `ZerothOrderStep`."""
    from trivium.objective import ZerothOrderStep

    module, loss = given
    zeroth = ZerothOrderStep(module, 1e-3, 1e-6, seed=0)
    zeroth.step(loss)
    zeroth.step(loss)


def by_assignment(given: tuple) -> None:
    """MeZO as published: `param.data = param.data + scale * z * eps`, tensor by tensor."""
    module, loss = given
    for seed in range(2):
        values = []
        for scale in (1.0, -2.0):
            torch.manual_seed(seed)
            for p in module.parameters():
                z = torch.normal(0.0, 1.0, size=p.data.size())
                p.data = p.data + scale * z * 1e-3
            with torch.no_grad():
                values.append(float(loss()))
        slope = (values[0] - values[1]) / 2e-3
        torch.manual_seed(seed)
        for p in module.parameters():
            z = torch.normal(0.0, 1.0, size=p.data.size())
            p.data = p.data + 1e-3 * z
        torch.manual_seed(seed)
        for p in module.parameters():
            z = torch.normal(0.0, 1.0, size=p.data.size())
            p.data = p.data - 1e-6 * (slope * z)


def adam(given: tuple) -> None:
    """Two steps of Adam with gradients."""
    module, loss = given
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-5)
    for _ in range(2):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


MEMORY = {
    "inference": inference,
    "ours: `ZerothOrderStep`": ours_in_place,
    "MeZO by assignment": by_assignment,
    "Adam": adam,
}


def _warm(task: Callable) -> None:
    """First calls, and the code that they load, come before the watch starts."""

    def first(given: tuple) -> None:
        task(given)
        given[0].zero_grad()

    task.warm = first


for _task in MEMORY.values():
    _warm(_task)


def memory_cell(task: Callable, sequence: int) -> dict:
    """Growth of the process and of live tensors at the peak, with the module's own bytes."""
    from trivium.testing.live_bytes import LiveBytes

    own = sum(p.numel() * p.element_size() for p in Transformer().parameters())
    given = language_model(sequence)
    with LiveBytes() as live:
        task(given)
    return peak_memory(language_model, task, sequence) | {"module": own, "live": live.peak}


def run_memory(arguments: argparse.Namespace, board: Board) -> None:
    """Each contestant three times in processes of its own."""
    for turn in range(1 if arguments.quick else 3):
        for sequence in SEQUENCES:
            for who, task in MEMORY.items():
                code = fingerprint(*ROOMS) if who.startswith("ours") else ""
                cell = partial(memory_cell, task, sequence)
                board.cell(f"memory/{sequence}/{who}/{turn}", cell, code)


# ---- restoring ------------------------------------------------------------------------------


def restored(how: str, perturbations: int) -> dict:
    """Drift of the weights of a bfloat16 layer, as a share of their length."""
    from trivium.objective import ZerothOrderStep

    torch.manual_seed(0)
    module = nn.Linear(256, 256, bias=False).bfloat16()
    before = module.weight.detach().clone()
    if how == "ours":
        zeroth = ZerothOrderStep(module, 1e-3, 1e-6)
        x = torch.ones(256).bfloat16()
        for seed in range(perturbations):  # both sides
            zeroth.pair(seed, lambda: module(x).float().sum())
    else:
        for seed in range(perturbations):
            for scale in (1.0, -2.0, 1.0):  # to one side, to the other, back
                generator = torch.Generator().manual_seed(seed)
                u = torch.randn(256, 256, generator=generator).bfloat16()
                module.weight.data.add_(scale * 1e-3 * u)
    now = module.weight.detach()
    drift = (now.float() - before.float()).norm() / before.float().norm()
    return {"drift": float(drift), "changed": int((now != before).sum()), "of": now.numel()}


def run_restoring(arguments: argparse.Namespace, board: Board) -> None:
    """Ours and add-and-subtract."""
    count = 100 if arguments.quick else 1000
    board.cell("restoring/ours", partial(restored, "ours", count), fingerprint(*ROOMS))
    board.cell("restoring/add and subtract", partial(restored, "naive", count))


# ---- table ----------------------------------------------------------------------------------


def best(known: dict, prefix: str, quantity: str) -> float | None:
    """Return the least of the turns of a cell."""
    found = [
        cell[quantity] for key, cell in known.items() if key.startswith(prefix) and quantity in cell
    ]
    return min(found) if found else None


def turns_of(known: dict, place: str) -> list[float]:
    """Return the CPU seconds of a contestant's turns, in order."""
    found = {key: cell for key, cell in known.items() if key.startswith(place) and "cpu" in cell}
    return [found[key]["cpu"] for key in sorted(found)]


def time_table(known: dict) -> str:
    """Return the tables of time."""
    text = ""
    heads = {"population": "draw, evaluate, differentiate", "forward": "the forward alone"}
    for section, head in heads.items():
        unit = turns_of(known, f"{section}/torch.func.vmap, full/")
        rows = []
        for who in POPULATIONS:
            cpu = turns_of(known, f"{section}/{who}/")
            if cpu:
                share = [a / b for a, b in zip(cpu, unit, strict=True)]
                spread = f"{min(share):.3f} to {max(share):.3f}"
                rows.append([who, f"{median(cpu) * 1e3:.2f}", f"{median(share):.3f}", spread])
        names = [f"{MEMBERS} members, batch {BATCH}: {head}", "CPU ms", "of vmap", "in the turns"]
        text += markdown(names, rows) + "\n"
    peers = ", ".join(f"{name} {known['peers'][name]}" for name in ("evotorch", "torcheggroll"))
    return (
        f"{TURNS} turns, the contestants one after the other in each: two calls to warm up, then "
        f"the median of 7 consecutive ones.\n\nAsked: at most 0.12 at rank 1. {peers}.\n\n{text}"
    )


def calibration_table(known: dict) -> str:
    """Return the table of ratios."""

    def shown(cell: dict | None) -> str:
        if cell is None or "failed" in cell:
            return "–"
        return f"{cell['ratio']:.4g} ± {cell['error']:.1g}"

    rows = []
    for rank, std, members in CALIBRATION:
        place = f"{rank or 'full'}/{std}/{members}"
        cells = [known.get(f"calibration/{who}/{place}") for who in ("ours", "torcheggroll")]
        rows.append([f"rank {rank or 'full'}, std {std}, {members} members", *map(shown, cells)])
    head = ["f linear: estimate over true gradient", "ours ± se", "torcheggroll ± se"]
    return markdown(head, rows) + "\nAsked: 1 within 3 standard errors.\n\n"


def memory_table(known: dict) -> str:
    """Return the table of memory."""
    rows = []
    for sequence in SEQUENCES:
        units: dict[str, float] = {}
        for who in MEMORY:
            row, place = [f"{sequence} tokens: {who}"], f"memory/{sequence}/{who}/"
            for what in ("live", "bytes"):
                total = best(known, place, what) + best(known, place, "module")
                unit = units.setdefault(what, total)
                row += [f"{total / 1e6:.1f}", f"{total / unit:.3f}"]
            rows.append([*row, f"{best(known, place, 'cpu'):.2f}"])
    head = ["23.1 million parameters", "tensors, MB", "of inference", "process, MB", "of inference"]
    text = markdown([*head, "CPU s"], rows)
    return text + "\nTwo steps each, one inference. Asked: at most 1.05 of inference.\n\n"


def restoring_table(known: dict) -> str:
    """Return the table of drift."""
    rows = [
        [who, f"{cell['drift']:.2%}", f"{cell['changed']:,} of {cell['of']:,}"]
        for who in ("ours", "add and subtract")
        if "drift" in (cell := known.get(f"restoring/{who}", {}))
    ]
    return markdown(["bfloat16, 1,000 perturbations", "drift", "weights changed"], rows) + "\n"


TABLES = {
    "population": time_table,
    "calibration": calibration_table,
    "memory": memory_table,
    "restoring": restoring_table,
}


def table(board: Board) -> str:
    """Return the tables of the sections that were measured."""
    known = board.known()
    parts = [
        make(known)
        for section, make in TABLES.items()
        if any(key.startswith(f"{section}/") for key in known)
    ]
    return "# Zeroth order\n\n" + "".join(parts) + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    sections = {
        "population": run_population,
        "calibration": run_calibration,
        "memory": run_memory,
        "restoring": run_restoring,
    }
    run_benchmark("zeroth_order", __doc__, sections, table)


if __name__ == "__main__":
    main()
