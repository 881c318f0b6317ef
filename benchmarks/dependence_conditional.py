"""Conditional independence: level under confounding, power, and time, beside causal-learn's KCI.

No test here has an exact level (Shah and Peters 2020), so it is measured: x and y depend on z and
not on each other; noise normal, Cauchy or with a size that depends on z; z of 1, 3 and 10 columns.
Every contestant gets the same data sets. `joint`: levels, power and time of the test of joint
independence.
"""

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from harness import Board, fingerprint, markdown, provenance, run_benchmark

NAME = "dependence_conditional"
SEED = 20261124
NOISES = ("normal", "cauchy", "size by z")
ALTERNATIVES = ("additive", "post-nonlinear", "sign by z", "size")
DIMENSIONS = (1, 3, 10)
LEVEL_SIMULATIONS = {200: 120, 500: 30}
POWER_SIMULATIONS = {200: 30}
JOINT_SIMULATIONS = 2000
LEVELS = (0.05, 0.01)
CONTESTANTS = ("ours", "ours, signs", "causal-learn KCI")


def noise(rng: np.random.Generator, kind: str, index: np.ndarray) -> np.ndarray:
    """Draw the noise of one variable."""
    if kind == "cauchy":
        return 0.3 * rng.standard_cauchy(len(index))
    draw = rng.normal(size=len(index))
    return 0.5 * draw if kind == "normal" else draw * (0.2 + 0.6 * np.abs(index))


def confounded(
    seed: int, n: int, d: int, kind: str, alternative: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw x, y and z: both depend on the same index of z, nonlinearly."""
    rng = np.random.default_rng([SEED, seed, n, d, NOISES.index(kind)])
    z = rng.normal(size=(n, d))
    index = z.sum(1) / np.sqrt(d)
    e, h = noise(rng, kind, index), noise(rng, kind, index)
    strength = 0.25
    if alternative in {"additive", "post-nonlinear"}:
        h = h + strength * e
    if alternative == "sign by z":
        h = h + 2 * strength * np.sign(z[:, 0]) * e
    if alternative == "size":
        h = h * (0.5 + np.abs(np.tanh(2 * e)))
    x = np.sin(1.5 * index) + 0.5 * index + e
    y = index**2 / 2 + 0.7 * np.cos(2 * z[:, 0]) + h
    if alternative == "post-nonlinear":
        x, y = np.exp(x), np.cbrt(y)
    return x, y, z


def contestant(name: str) -> Callable[[tuple], float]:
    """Return a p-value of x, y, z."""
    if name == "causal-learn KCI":
        from causallearn.utils.KCI.KCI import KCI_CInd

        return lambda xyz: float(
            KCI_CInd().compute_pvalue(xyz[0][:, None], xyz[1][:, None], xyz[2])[0]
        )
    from trivium.dependence import conditional_test

    null = "sign" if name == "ours, signs" else "saddlepoint"
    return lambda xyz: conditional_test(*xyz, null=null, n_draws=500).p_value


def rates(name: str, simulations: int, *case: object) -> dict:
    """Share of data sets at or below each level, and CPU seconds a test."""
    test = contestant(name)
    p_values, seconds = [], 0.0
    for seed in range(simulations):
        data = confounded(seed, *case)
        started = time.process_time()
        p_values.append(test(data))
        seconds += time.process_time() - started
    found = np.array(p_values)
    shares = {str(level): float((found <= level).mean()) for level in LEVELS}
    return {"shares": shares, "simulations": simulations, "cpu": seconds / simulations}


def joint_level(d: int, n: int, simulations: int) -> dict:
    """Level of the joint test: normal, Cauchy and ties in turn."""
    from trivium.dependence import joint_test

    rng = np.random.default_rng([SEED, d, n])
    kinds = (rng.standard_normal, rng.standard_cauchy, lambda size: rng.poisson(4.0, size) * 1.0)
    p_values, seconds = [], 0.0
    for seed in range(simulations):
        data = [kinds[k % 3](n) for k in range(d)]
        result = joint_test(data, n_permutations=100, random_state=seed)
        p_values.append(result.p_value)
        seconds += result.seconds
    found = np.array(p_values)
    shares = {str(level): float((found <= level).mean()) for level in LEVELS}
    return {"shares": shares, "simulations": simulations, "cpu": seconds / simulations}


def dhsic_plainly(n: int, d: int, count: int) -> dict:
    """The usual way: matrices put in a random order for each variable, `count` times."""
    import torch

    from trivium.kernel import Gaussian

    rng = np.random.default_rng([SEED, n, d])
    grams = []
    for x in rng.normal(size=(d, n)):
        rows = torch.from_numpy(x)
        grams.append(Gaussian().resolve(rows).gram(rows).numpy())
    started = time.process_time()
    for _ in range(count):
        orders = [rng.permutation(n) for _ in range(d - 1)]
        moved = [grams[0]] + [g[np.ix_(o, o)] for g, o in zip(grams[1:], orders, strict=True)]
        first = np.multiply.reduce(moved).mean()
        (
            first
            + np.prod([g.mean() for g in moved])
            - 2 * np.prod([g.mean(0) for g in moved], 0).mean()
        )
    return {"cpu": (time.process_time() - started) * 1000 / count}


def joint_time(n: int, d: int) -> dict:
    """Statistic and 1,000 reorderings."""
    from trivium.dependence import joint_test

    rng = np.random.default_rng([SEED, n, d])
    result = joint_test(list(rng.normal(size=(d, n))), n_permutations=1000)
    return {"cpu": result.seconds, "members": result.n_permutations, "method": result.method}


def cases(ns: Iterable[int], alternatives: tuple) -> Iterator[tuple]:
    """Yield rows, columns of z, noise and alternative; other noises for the level only."""
    kinds = NOISES if alternatives == (None,) else NOISES[:1]
    yield from itertools.product(ns, DIMENSIONS, kinds, alternatives)


def cell_name(name: str, case: tuple) -> str:
    """Return the key of one contestant and case."""
    n, d, kind, alternative = case
    return f"{name}/{n}/{d}/{kind}/{alternative or 'none'}"


def run_conditional(
    board: Board, simulations: dict[int, int], alternatives: tuple, code: str, less: int
) -> None:
    """Measure levels or powers; contestants take turns on one case."""
    for case in cases(simulations, alternatives):
        for name in CONTESTANTS:
            task = partial(rates, name, simulations[case[0]] // less, *case)
            board.cell(cell_name(name, case), task, "" if name.startswith("causal") else code)


def run_joint(board: Board, code: str, less: int) -> None:
    """Measure the joint test."""
    for d, n in ((3, 20), (3, 60), (5, 40)):
        board.cell(f"joint/{d}/{n}", partial(joint_level, d, n, JOINT_SIMULATIONS // less), code)
    for n, d in ((100, 3), (1000, 3), (1000, 4), (5000, 3)):
        board.cell(f"joint time/{n}/{d}", partial(joint_time, n, d), code)
        board.cell(f"plain time/{n}/{d}", partial(dhsic_plainly, n, d, 5 if n > 1000 else 100))


def run(arguments: argparse.Namespace, board: Board) -> None:
    """Measure every cell of the sections, the slowest last."""
    warnings.simplefilter("ignore")
    code = fingerprint("dependence", "kernel", "_core")
    wanted = set(arguments.only or ("level", "power", "joint"))
    less = 20 if arguments.quick else 1
    first, *later = LEVEL_SIMULATIONS
    if "level" in wanted:
        run_conditional(board, {first: LEVEL_SIMULATIONS[first]}, (None,), code, less)
    if "joint" in wanted:
        run_joint(board, code, less)
    if "power" in wanted:
        run_conditional(board, POWER_SIMULATIONS, ALTERNATIVES, code, less)
    if "level" in wanted:
        run_conditional(board, {n: LEVEL_SIMULATIONS[n] for n in later}, (None,), code, less)


def _share(cell: dict | None, level: float) -> str:
    if not cell or "failed" in cell:
        return "–" if not cell else "failed"
    return f"{cell['shares'][str(level)]:.3f}"


def _conditional(cells: dict, table: dict, alternatives: tuple) -> str:
    header = ["case", "data sets", *(f"{name}, {a}" for name in CONTESTANTS for a in LEVELS)]
    rows = []
    for case in cases(table, alternatives):
        found = [cells.get(cell_name(name, case)) for name in CONTESTANTS]
        if found[0] is None:
            continue
        n, d, kind, alternative = case
        shares = [_share(cell, level) for cell in found for level in LEVELS]
        title = f"n = {n}, z of {d}, {alternative or kind}"
        rows.append([title, found[0].get("simulations", 0), *shares])
    return markdown(header, rows)


def _times(cells: dict) -> str:
    rows = []
    for n in LEVEL_SIMULATIONS:
        for d in DIMENSIONS:
            case = (n, d, NOISES[0], None)
            found = [cells.get(cell_name(name, case), {}) for name in CONTESTANTS]
            times = (f"{cell['cpu']:.3f}" if "cpu" in cell else "–" for cell in found)
            rows.append([f"n = {n}, z of {d}", *times])
    return markdown(["CPU seconds a test", *CONTESTANTS], rows)


def _joint(cells: dict) -> str:
    levels = [
        [key.removeprefix("joint/"), cell["simulations"], *(_share(cell, a) for a in LEVELS)]
        for key, cell in cells.items()
        if key.startswith("joint/") and "shares" in cell
    ]
    times = []
    for key, cell in cells.items():
        if key.startswith("joint time/") and "cpu" in cell:
            case = key.removeprefix("joint time/")
            plain = cells.get(f"plain time/{case}", {}).get("cpu", float("nan"))
            times.append([case, f"{cell['cpu']:.2f}", f"{plain:.1f}", cell["method"]])
    return (
        markdown(["variables/rows", "data sets", *(f"p ≤ {a}" for a in LEVELS)], levels)
        + "\n"
        + markdown(["rows/variables", "ours, CPU s", "1,000 orders plainly, CPU s", "road"], times)
    )


def report(board: Board) -> str:
    """Return the tables."""
    cells = board.cells
    parts = [
        "# Conditional and joint independence\n",
        "## Level: share of data sets with p at or below it, x and y independent given z\n",
        _conditional(cells, LEVEL_SIMULATIONS, (None,)),
        "## Power\n",
        _conditional(cells, POWER_SIMULATIONS, ALTERNATIVES),
        "## Time\n",
        _times(cells),
        "## Joint test\n",
        _joint(cells),
        provenance(board.path),
    ]
    return "\n".join(parts)


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark(NAME, __doc__, run, report)


if __name__ == "__main__":
    main()
