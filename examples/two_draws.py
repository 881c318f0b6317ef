"""Two draws of HSIC, and why one draw says little: its distribution over 200 seeds.

x and y normal, n = 1,000, kernel exp(-(x - x')²). Independent: the biased statistic is never 0; its
mean is (n - 1)(1 - E k)(1 - E l)/n², and the (n - 1)⁻² form, often called unbiased, has that mean
too. Dependent, y = x + 0.1 noise: all three agree with the population, which is known in
closed form for jointly normal variables.
"""

import argparse
from pathlib import Path

import numpy as np

from trivium.dependence import hsic
from trivium.kernel import Gaussian

KERNEL = Gaussian.from_gamma(1.0)
ESTIMATORS = ("biased", "n-1", "unbiased")


def population(covariance: np.ndarray) -> float:
    """HSIC of two jointly normal variables with this kernel on both."""
    own = np.diag(np.diag(covariance))

    def g(matrix: np.ndarray) -> float:
        return float(np.linalg.det(np.eye(2) + 2 * matrix) ** -0.5)

    return g(2 * covariance) + g(2 * own) - 2 * g(covariance + own)


def draws(n: int, seeds: int, noise: float | None) -> dict[str, np.ndarray]:
    """Each estimate for each seed; without `noise`, y is independent of x."""
    found = {name: np.empty(seeds) for name in ESTIMATORS}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(2, n))
        y = y if noise is None else x + noise * y
        for name in ESTIMATORS:
            found[name][seed] = float(hsic(x, y, KERNEL, KERNEL, name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="a picture, .png or .svg")
    arguments = parser.parse_args()
    n, seeds = (200, 10) if arguments.quick else (1000, 200)
    exact = population(np.array([[1.0, 1.0], [1.0, 1.01]]))
    bias = (n - 1) / n**2 * (1 - 5**-0.5) ** 2  # E k = 1/√5
    cases = {"independent": draws(n, seeds, None), "y = x + 0.1 noise": draws(n, seeds, 0.1)}
    for case, truth in (("independent", 0.0), ("y = x + 0.1 noise", exact)):
        print(f"{case}, n = {n}, {seeds} seeds; population {truth:.6f}")
        for name, values in cases[case].items():
            spread = f"{values.mean():.3e} ± {values.std(ddof=1):.1e}"
            print(f"  {name:<9} first draw {values[0]:.3e}, all {spread}")
    print(f"mean of the biased form under independence, exactly: {bias:.3e}")
    if arguments.out:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
        for panel, (case, found), truth in zip(axes, cases.items(), (0.0, exact), strict=True):
            for name, values in found.items():
                style = "--" if name == "n-1" else "-"  # it lies on the biased one
                panel.hist(values, bins=25, histtype="step", label=name, linestyle=style)
            panel.axvline(truth, color="k", lw=1, label="population")
            panel.set(title=case, xlabel="HSIC", ylabel="seeds")
        axes[0].legend(frameon=False)
        figure.savefig(arguments.out)


if __name__ == "__main__":
    main()
