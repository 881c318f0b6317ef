"""Level and power of the tests of independence, beside their peers, every seed recorded.

Level: 2,000 independent data sets of 100 rows of each kind. Power: 200 data sets of 128 rows of
five dependences. Data set i is drawn by `numpy.random.default_rng([case, i])`; all contestants see
the same ones.

The peer HSICAgg is `agginc` (Schrab et al.), a checkout on the path; without it its cells fail and
the table says so. Its `R = n - 1` is the complete statistic.
"""

import argparse
import math
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from harness import Board, fingerprint, markdown, provenance, run_benchmark

LEVELS, POWERS = 2000, 200
PEER_LEVELS = 500
LEVEL_ROWS, POWER_ROWS = 100, 128
Pair = tuple[np.ndarray, np.ndarray]


def normal(rng: np.random.Generator) -> Pair:
    return rng.normal(size=LEVEL_ROWS), rng.normal(size=LEVEL_ROWS)


def cauchy(rng: np.random.Generator) -> Pair:
    return rng.standard_cauchy(LEVEL_ROWS), rng.standard_cauchy(LEVEL_ROWS)


def ties(rng: np.random.Generator) -> Pair:
    return rng.poisson(0.7, LEVEL_ROWS).astype(float), rng.integers(0, 2, LEVEL_ROWS).astype(float)


def wide(rng: np.random.Generator) -> Pair:
    return rng.normal(size=(LEVEL_ROWS, 10)), rng.normal(size=(LEVEL_ROWS, 10))


def sine(rng: np.random.Generator) -> Pair:
    x = rng.uniform(-np.pi, np.pi, POWER_ROWS)
    return x, np.sin(3 * x) + rng.normal(size=POWER_ROWS)


def circle(rng: np.random.Generator) -> Pair:
    angle = rng.uniform(0, 2 * np.pi, POWER_ROWS)
    noise = 0.5 * rng.normal(size=(2, POWER_ROWS))
    return np.cos(angle) + noise[0], np.sin(angle) + noise[1]


def spread(rng: np.random.Generator) -> Pair:
    x = rng.uniform(-1, 1, POWER_ROWS)
    return x, rng.normal(size=POWER_ROWS) * (1 + 2 * np.abs(x))


def linear_wide(rng: np.random.Generator) -> Pair:
    x = rng.normal(size=(POWER_ROWS, 10))
    return x, x.mean(1) * np.sqrt(10) + 4 * rng.normal(size=POWER_ROWS)


def linear(rng: np.random.Generator) -> Pair:
    x = rng.normal(size=POWER_ROWS)
    return x, x + 3 * rng.normal(size=POWER_ROWS)


LEVEL_CASES = {"normal": normal, "Cauchy": cauchy, "ties": ties, "10-D": wide}
POWER_CASES = {
    "sin 3x": sine,
    "noisy circle": circle,
    "heteroscedastic": spread,
    "linear 10-D": linear_wide,
    "linear 1-D": linear,
}


def ours(x: np.ndarray, y: np.ndarray, seed: int, **options: object) -> float:
    import torch

    from trivium.dependence import independence_test

    torch.set_num_threads(1)  # importing numba, as dcor and hyppo do, gives torch two again
    return independence_test(x, y, random_state=seed, **options).p_value


def hsicagg(x: np.ndarray, y: np.ndarray, seed: int) -> float:
    """It answers yes or no at .05; yes is told as 0."""
    from agginc.np import agginc

    sides = (x.reshape(len(x), -1), y.reshape(len(y), -1))
    return 0.0 if agginc("hsic", *sides, R=len(x) - 1, seed=seed) else 1.0


def dcor(x: np.ndarray, y: np.ndarray, seed: int) -> float:
    from dcor.independence import distance_covariance_test

    return distance_covariance_test(x, y, num_resamples=199, random_state=seed).pvalue


def kci(x: np.ndarray, y: np.ndarray, seed: int) -> float:
    from causallearn.utils.KCI.KCI import KCI_UInd

    np.random.seed(seed)  # noqa: NPY002 - it draws from the global state
    sides = (x.reshape(len(x), -1), y.reshape(len(y), -1))
    return float(KCI_UInd(kernelX="Gaussian", kernelY="Gaussian").compute_pvalue(*sides)[0])


def hyppo_chi2(x: np.ndarray, y: np.ndarray, seed: int) -> float:
    from hyppo.independence import Hsic

    sides = (x.reshape(len(x), -1), y.reshape(len(y), -1))
    return float(Hsic().test(*sides, auto=True)[1])


CONTESTANTS: dict[str, Callable[..., float]] = {
    "ours": ours,
    "ours, median only": partial(ours, aggregate=False),
    "ours, saddlepoint": partial(ours, null="saddlepoint"),
    "HSICAgg": hsicagg,
    "dcor, 199 permutations": dcor,
    "causal-learn KCI": kci,
    "hyppo Hsic, fast": hyppo_chi2,
}


def cell(test: Callable[..., float], draw: Callable, case: int, first: int, last: int) -> dict:
    """p-values of one contestant on data sets first to last − 1."""
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = [
            test(*draw(np.random.default_rng([case, seed])), seed) for seed in range(first, last)
        ]
    cpu = (time.process_time() - begun) / (last - first)
    return {
        "p": [float(f"{p:.6g}") for p in values],
        "cpu": cpu,
        "case": case,
        "seeds": [first, last],
    }


def run(arguments: argparse.Namespace, board: Board) -> None:
    code = fingerprint("dependence", "kernel")
    parts = {"level": (LEVEL_CASES, LEVELS), "power": (POWER_CASES, POWERS)}
    for section, (cases, count) in parts.items():
        if arguments.only and section not in arguments.only:
            continue
        for number, (name, draw) in enumerate(cases.items()):
            for who, test in CONTESTANTS.items():
                mine = who.startswith("ours")
                if section == "level" and who == "HSICAgg":
                    continue  # yes or no at one level, already in the other table
                last = count if mine else min(count, PEER_LEVELS)
                last = 20 if arguments.quick else last
                case = number + (100 if section == "power" else 0)
                task = partial(cell, test, draw, case, 0, last)
                board.cell(f"{section}/{name}/{who}", task, code if mine else "")


def shown(found: dict | None, level: float) -> str:
    if found is None or "failed" in found:
        return "—"
    p = np.array(found["p"])
    return f"{(p <= level).mean():.4f}" if len(p) > POWERS else f"{(p <= level).mean():.3f}"


def table(board: Board) -> str:
    known = board.known()
    rows = []
    for who in CONTESTANTS:
        if who == "HSICAgg":
            continue
        cells = [known.get(f"level/{name}/{who}") for name in LEVEL_CASES]
        count = len(cells[0]["p"]) if cells[0] and "p" in cells[0] else 0
        rows.append([who, count, *(f"{shown(c, 0.05)} / {shown(c, 0.01)}" for c in cells)])
    bound = 0.05 + 1.96 * math.sqrt(0.05 * 0.95 / LEVELS)
    text = (
        f"# Level and power\n\n## Level at .05 / .01, {LEVEL_ROWS} independent rows\n\n"
        + markdown(["", "data sets", *LEVEL_CASES], rows)
        + f"\nAsked of ours: at most {bound:.4f} and .0144. The saddlepoint is asymptotic.\n\n"
        + f"## Power at .05, {POWER_ROWS} rows, {POWERS} data sets\n\n"
    )
    rows = []
    for who in CONTESTANTS:
        cells = [known.get(f"power/{name}/{who}") for name in POWER_CASES]
        cpu = [c["cpu"] for c in cells if c and "cpu" in c]
        cost = f"{1e3 * np.median(cpu):.1f}" if cpu else "—"
        rows.append([who, *(shown(c, 0.05) for c in cells), cost])
    text += markdown(["", *POWER_CASES, "CPU ms a test"], rows)
    return text + "\nThe standard error of a power of .5 is .035.\n\n" + provenance(board.path)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("dependence_study", __doc__, run, table)


if __name__ == "__main__":
    main()
