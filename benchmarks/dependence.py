"""Time, memory and the far tail of the tests of independence, beside their peers.

Every reordering costs the peers the same, so where a peer would take minutes a few are measured
and the time is scaled to 1,000 (the table says so). Our tests run all shifts of complete Gram
matrices, or features where the table says features; `seconds` of a test in one call, with
statistics, alignment and lengthscales.

Tail: saddlepoint and gamma p-values beside the share of a million permutations.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from harness import Board, fingerprint, markdown, measure, peak_memory, provenance, run_benchmark

REORDERINGS = 1000
PERMUTATIONS = 1_000_000
SHARES = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5)


def data(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Weakly dependent rows."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=n)
    return x, 0.1 * x + rng.normal(size=n)


def ours(rows: tuple, **options: object) -> dict:
    import torch

    from trivium.dependence import independence_test

    torch.set_num_threads(1)  # numba, which dcor and hyppo import, gives torch two again
    result = independence_test(*rows, n_permutations=REORDERINGS, **options)
    return {"p": result.p_value, "method": result.method}


def median_grams(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    grams = []
    for side in (x, y):
        squares = (side[:, None] - side) ** 2
        grams.append(np.exp(-squares / (2 * np.median(squares[np.triu_indices(len(side), 1)]))))
    return grams


def plain_numpy(rows: tuple, count: int) -> float:
    """Gram matrices once, then an indexed copy and a sum for each permutation."""
    first, second = median_grams(*rows)
    first = first - first.mean(0) - first.mean(1, keepdims=True) + first.mean()
    rng = np.random.default_rng(0)
    observed = (first * second).sum()
    beaten = 0
    for _ in range(count):
        order = rng.permutation(len(first))
        beaten += (first * second[np.ix_(order, order)]).sum() >= observed
    return (1 + beaten) / (1 + count)


def plain_torch(rows: tuple, count: int) -> float:
    import torch

    torch.set_num_threads(1)
    first, second = (torch.from_numpy(gram) for gram in median_grams(*rows))
    first = first - first.mean(0) - first.mean(1, keepdim=True) + first.mean()
    observed = (first * second).sum()
    beaten = 0
    for _ in range(count):
        order = torch.randperm(len(first))
        beaten += int((first * second[order][:, order]).sum() >= observed)
    return (1 + beaten) / (1 + count)


def dcor(rows: tuple, count: int) -> float:
    from dcor.independence import distance_covariance_test

    return distance_covariance_test(*rows, num_resamples=count, random_state=0).pvalue


def hyppo(rows: tuple, count: int) -> float:
    from hyppo.independence import Hsic

    sides = [side[:, None] for side in rows]
    return float(Hsic().test(*sides, reps=count, auto=False, random_state=0)[1])


PEERS: dict[str, Callable] = {
    "plain torch": plain_torch,
    "plain numpy": plain_numpy,
    "dcor": dcor,
    "hyppo Hsic": hyppo,
}
#: Reorderings that each peer is measured at; fewer are scaled up.
COUNTS = {
    1000: {"plain torch": 1000, "plain numpy": 300, "dcor": 300, "hyppo Hsic": 100},
    5000: {"plain torch": 20, "plain numpy": 10, "dcor": 10, "hyppo Hsic": 2},
}
OURS = {
    1000: {"all shifts, 25 lengthscale pairs": {}, "all shifts": {"aggregate": False}},
    5000: {"all shifts, 25 lengthscale pairs": {}, "all shifts": {"aggregate": False}},
    20_000: {"all shifts": {"aggregate": False}, "features, 25 lengthscale pairs": {}},
    1_000_000: {"features": {"aggregate": False}, "features, 25 lengthscale pairs": {}},
}


def peer_cell(test: Callable, n: int, count: int) -> dict:
    """Time at `count` reorderings and at one, so that only the part of a reordering is scaled."""
    rows = data(n)
    test(data(50), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = measure(lambda: test(rows, 1))[1]["cpu"]
        whole = measure(lambda: test(rows, count))[1]["cpu"]
    each = max(0.0, whole - start) / (count - 1)
    return {"cpu": start + each * (REORDERINGS - 1), "measured": count, "each": each}


def our_cell(n: int, given: dict) -> dict:
    rows = data(n)
    ours(data(60), **given)
    found, cost = measure(lambda: ours(rows, **given), 3 if n <= 20_000 else 1)
    memory = peak_memory(data, Task(given), n)
    return cost | found | {"bytes": memory.get("bytes", 0), "failed_memory": memory.get("failed")}


class Task:
    """Our test as a task of the memory watch; `warm` keeps imports out of the figure."""

    def __init__(self, given: dict) -> None:
        self.given = given

    def warm(self, _: tuple) -> None:
        """Import and call once."""
        ours(data(2500), **self.given)

    def __call__(self, rows: tuple) -> None:
        """Run the test."""
        ours(rows, **self.given)


def tail_pairs() -> dict[str, tuple]:
    """Independent pairs, 200 rows, with the kernels that they are compared by."""
    from trivium.kernel import Delta, Gaussian

    rng = np.random.default_rng(3)
    return {
        "normal, normal": (rng.normal(size=200), rng.normal(size=200), Gaussian(), Gaussian()),
        "Cauchy, Cauchy": (*rng.standard_cauchy((2, 200)), Gaussian(), Gaussian()),
        "normal, 3 classes": (rng.normal(size=200), rng.integers(0, 3, 200), Gaussian(), Delta()),
        "10-D, normal": (rng.normal(size=(200, 10)), rng.normal(size=200), Gaussian(), Gaussian()),
    }


def tail_cell(name: str, count: int) -> dict:
    """p-values by saddlepoint and gamma at the points that a share of permutations reaches."""
    from trivium.dependence.pair import as_pair
    from trivium.dependence.permutation import Permutations
    from trivium.dependence.permutation_null import factor_null
    from trivium.dependence.tail import Spectrum, hsic_tails

    pair = as_pair("tail", *tail_pairs()[name])
    sides = []
    for rows, kernel in ((pair.x, pair.kernel_x), (pair.y, pair.kernel_y)):
        values = kernel.factor(
            rows.double() if rows.is_floating_point() else rows, 200, 1e-6
        ).values
        values = values.double().mT
        sides.append(values - values.mean(1, keepdim=True))
    null = factor_null(*sides[:1], sides[1].mT.contiguous(), Permutations(200, count))[0, 1:]
    null = null.double().sort().values
    spectra = [Spectrum.of(side) for side in sides]
    shares = [share for share in SHARES if share * count >= 10]
    points = null[[round((1 - share) * count) for share in shares]]
    tails = {}
    for gamma in (False, True):
        found = [float(hsic_tails(p[None], spectra[:1], spectra[1], gamma=gamma)) for p in points]
        tails["gamma" if gamma else "saddlepoint"] = [
            p / share for p, share in zip(found, shares, strict=True)
        ]
    return {"shares": shares, "permutations": count, **tails}


def run(arguments: argparse.Namespace, board: Board) -> None:
    code, only = fingerprint("dependence", "kernel"), arguments.only
    ours(data(60))
    for n, ways in OURS.items():
        if (only and str(n) not in only) or (arguments.quick and n > 1000):
            continue
        for name, given in ways.items():
            board.cell(f"{n}/ours, {name}", partial(our_cell, n, given), code)
        for name, count in COUNTS.get(n, {}).items():
            few = max(2, count // 20) if arguments.quick else count
            board.cell(f"{n}/{name}", partial(peer_cell, PEERS[name], n, few))
    if not only or "tail" in only:
        for name in tail_pairs():
            count = 20_000 if arguments.quick else PERMUTATIONS
            board.cell(f"tail/{name}", partial(tail_cell, name, count), code)


def table(board: Board) -> str:
    known = board.known()
    text = "# Tests of independence: time, memory, tail\n\n"
    rows = []
    for n in OURS:
        mine = [c["cpu"] for k, c in known.items() if k.startswith(f"{n}/ours") and "cpu" in c]
        for key, cell in known.items():
            if not key.startswith(f"{n}/") or "cpu" not in cell:
                continue
            name = key.split("/", 1)[1]
            scaled = f" (from {cell['measured']})" if cell.get("measured", 1000) < 1000 else ""
            memory = f"{cell['bytes'] / 2**20:.0f}" if cell.get("bytes") else ""
            ratio = "" if name.startswith("ours") else f"{cell['cpu'] / min(mine):,.0f}×"
            rows.append([f"{n:,}", name + scaled, f"{cell['cpu']:.3g}", ratio, memory])
    head = ["rows", "1,000 reorderings, or all shifts where more", "CPU s", "over ours", "MB"]
    text += markdown(head, rows)
    text += "\n## Far tail: p-value over the share of a million permutations\n\n"
    rows = []
    for key, cell in known.items():
        if key.startswith("tail/") and "shares" in cell:
            for how in ("saddlepoint", "gamma"):
                values = [f"{ratio:.2f}" for ratio in cell[how]]
                rows.append([key.split("/", 1)[1] + ", " + how, *values])
    text += markdown(["", *(f"{share:g}" for share in SHARES)], rows)
    text += "\nThe last column rests on 10 permutations: its noise is about 30 %.\n\n"
    return text + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("dependence", __doc__, run, table)


if __name__ == "__main__":
    main()
