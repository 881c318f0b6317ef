"""Are the p-values of the screen what they say? 10,000 independent tables, every kind of column.

Half of the tables have a target of three classes, half a number with heavy tails.

Writes `results/calibration.json` (the share of p-values at or below each level, by kind) and draws
it for the documentation: on the diagonal a p-value is exact, below it the test is cautious.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
from harness import RESULTS, Board, fingerprint, markdown, provenance, run_benchmark

# 50 rows have 50 shifts, so 4 cosets are 200 members: a p-value can be each of the levels.
SIMULATIONS, ROWS, PERMUTATIONS, SEED = 10_000, 50, 199, 20261123
LEVELS = [round(level, 3) for level in np.r_[0.005, 0.01, 0.02, np.arange(0.05, 1.0, 0.05)]]
WORDS = np.array([f"w{i}" for i in range(30)])
PLOT = RESULTS.parent.parent / "docs" / "systems" / "calibration.svg"


def columns(rng: np.random.Generator) -> list:
    """One independent column of each kind."""
    from trivium.dependence import DependenceColumn

    missing = rng.normal(size=ROWS)
    missing[rng.random(ROWS) < 0.1] = np.nan
    texts = [" ".join(words) for words in WORDS[rng.integers(0, 30, (ROWS, 5))]]
    kinds = {
        "number, normal": ("number", rng.normal(size=ROWS)),
        "number, Cauchy": ("number", rng.standard_cauchy(ROWS)),
        "number, ties": ("number", rng.poisson(0.7, ROWS).astype(float)),
        "number, 10 % missing": ("number", missing),
        "category": ("category", rng.integers(-1, 8, ROWS)),
        "date": ("date", rng.uniform(0, 1000, ROWS)),
        "text": ("text", texts),
    }
    return [DependenceColumn(name, *rest) for name, rest in kinds.items()]


def target(rng: np.random.Generator, seed: int) -> object:
    """Classes and numbers in turn."""
    from trivium.dependence import DependenceColumn

    if seed % 2:
        return DependenceColumn("y", "number", rng.standard_t(3, ROWS))
    return DependenceColumn("y", "category", rng.choice(3, ROWS, p=[0.5, 0.3, 0.2]))


def measure(simulations: int) -> dict:
    """Share of p-values at or below each level, by kind."""
    from trivium.dependence import screen

    rng = np.random.default_rng(SEED)
    found = []
    for seed in range(simulations):
        options = {"n_permutations": PERMUTATIONS, "random_state": seed}
        table = screen(columns(rng), target(rng, seed), **options)
        found.append([row.p_value for row in table.rows])
        if seed % 100 == 99:
            print(f"\r{seed + 1} of {simulations}", end="", file=sys.stderr, flush=True)
    names = [row.name for row in table.rows]
    shares = (np.array(found)[:, :, None] <= np.array(LEVELS)).mean(0)
    return {
        "simulations": simulations,
        "rows": ROWS,
        "permutations": PERMUTATIONS,
        "seed": SEED,
        "levels": LEVELS,
        "shares": dict(zip(names, shares.tolist(), strict=True)),
    }


def draw(result: dict, path: Path) -> None:
    """Draw the shares over the levels."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "trivium", "font.size": 9})
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.3), layout="constrained")
    for panel, most in zip(axes, (1.0, 0.1), strict=True):
        panel.plot([0, most], [0, most], color="0.6", lw=1, dashes=(3, 3))
        for name, share in result["shares"].items():
            panel.plot(result["levels"], share, lw=1, marker=".", ms=3, label=name)
        panel.set(xlim=(0, most), ylim=(0, most * 1.1), xlabel="level")
        panel.set_ylabel("share of p-values at or below it")
    axes[0].legend(frameon=False, fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def run(arguments: argparse.Namespace, board: Board) -> None:
    """One cell: all tables come from one generator."""
    simulations = 100 if arguments.quick else SIMULATIONS
    code = fingerprint("dependence", "kernel", "_core")
    board.cell("tables", partial(measure, simulations), code)


def table(board: Board) -> str:
    """Draw the picture, and return the shares at two levels."""
    result = board.known()["tables"]
    if not board.quick:
        draw(result, PLOT)
    at = [result["levels"].index(level) for level in (0.05, 0.01)]
    rows = [
        (name, *(f"{share[place]:.4f}" for place in at)) for name, share in result["shares"].items()
    ]
    head = ["kind", "at .05", "at .01"]
    return f"# Calibration of the screen\n\n{markdown(head, rows)}\n{provenance(board.path)}"


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("calibration", __doc__, run, table)


if __name__ == "__main__":
    main()
