"""Why sinusoids, measured: exactness, angles, where decay stops, relativity, fits, series.

There is no peer for relativity and H. The peer of the series is astropy's LombScargle with its
bootstrap false-alarm probability, one frequency at a time; both see the same series.
"""

import argparse
import math

import numpy as np
import torch
from harness import Board, fingerprint, markdown, measure, provenance, run_benchmark
from torch import nn

DISTANCES = (0.001, 1.0, 20.0, 700.0, 6165.0, 1e5, 1e7)
BASES = (1e3, 1e4, 5e5)
PAIRS = (32, 64, 256)
WIDTHS = (16, 32, 64, 128, 256, 512)
RUNS = 100


def code() -> str:
    return fingerprint("kernel/spectral", "sinusoid")


def exact_cell() -> dict:
    """The largest error of closed forms and of the general quadrature, against mpmath."""
    import mpmath

    from trivium.kernel.spectral import Geometric, Power, Uniform
    from trivium.kernel.spectral.levin import fourier_integral

    def power(a: float, x: float) -> complex:
        s = 1 / mpmath.mpf(a)
        return complex(mpmath.hyp1f1(s, s + 1, 1j * mpmath.mpf(x)))

    def geometric(b: float, x: float) -> complex:
        real = mpmath.ci(x) - mpmath.ci(x / mpmath.mpf(b))
        return complex((real + 1j * (mpmath.si(x) - mpmath.si(x / mpmath.mpf(b)))) / mpmath.log(b))

    cases = [(Geometric(b), lambda x, b=b: geometric(b, x)) for b in BASES]
    cases += [(Power(a), lambda x, a=a: power(a, x)) for a in (0.5, 2.0, 7.0)]
    cases += [(Uniform(), lambda x: power(1.0, x))]
    r = torch.tensor(DISTANCES, dtype=torch.float64)
    found = {"closed": 0.0, "quadrature": 0.0}
    with mpmath.workdps(30):
        for schedule, oracle in cases:
            right = np.array([oracle(x) for x in DISTANCES])
            for name, got in (
                ("closed", schedule.kernel(r)),
                ("quadrature", fourier_integral(schedule.quantile, r)),
            ):
                found[name] = max(found[name], float(np.abs(got.numpy() - right).max()))
    return found


def angles_cell() -> dict:
    """The largest error of a cosine up to two positions, ours and by float32 angles, d = 128.

    Float32 at every position to the first, at every 37th to the second; ours at the last 65.
    """
    import mpmath

    from trivium.kernel.spectral import Geometric, cos_sin

    found = {}
    theta = Geometric().frequencies(64)
    for far, step in ((4096, 1), (2**20, 37)):
        places = torch.arange(far - 64, far + 1)
        with mpmath.workdps(40):
            right = torch.tensor(
                [[float(mpmath.cos(p * mpmath.mpf(f))) for f in theta.tolist()]
                 for p in places.tolist()], dtype=torch.float64,
            )  # fmt: skip
        found[f"ours {far}"] = float((cos_sin(places, theta)[0].double() - right).abs().max())
        gaps = [
            (p[:, None] * theta).cos() - (p.float()[:, None] * theta.float()).cos().double()
            for p in torch.arange(0, far + 1, step).split(2**14)
        ]
        found[f"float32 {far}"] = max(float(gap.abs().max()) for gap in gaps)
    return found


def stop_cell() -> dict:
    """First zeros, in units of the base: of the integral and of codes."""
    from trivium.kernel.spectral import Geometric
    from trivium.sinusoid import first_zero

    found = {}
    for base in BASES:
        found[f"{base:g} integral"] = first_zero(Geometric(base)) / base
        for n in PAIRS:
            found[f"{base:g} {n}"] = first_zero(Geometric(base), n) / base
    return found


def share_cell() -> dict:
    """Mean and deviation of the Toeplitz share for diagonals drawn from U(0, 1)."""
    from trivium.kernel.spectral import Geometric, cos_sin
    from trivium.sinusoid import relativity

    found = {}
    for width in WIDTHS:
        generator = torch.Generator().manual_seed(0)
        for n in (64, 512):
            pairs = cos_sin(torch.arange(n), Geometric().frequencies(width // 2), torch.float64)
            P = torch.stack(pairs, -1).flatten(1)
            drawn = torch.rand(40, width, generator=generator, dtype=torch.float64)
            shares = torch.stack([relativity(P, each.diag()) for each in drawn])
            found[f"{width} {n}"] = [float(shares.mean()), float(shares.std())]
    return found


def model_cell() -> dict:
    """H and relativity of a model of 3 layers, n = 64, D = 128, 4 heads, batch 4."""
    from torch.nn.functional import cross_entropy

    from trivium.sinusoid import hessian, relativity, toeplitz_share

    torch.manual_seed(0)
    n, d = 64, 128
    layer = nn.TransformerEncoderLayer(d, 4, 4 * d, batch_first=True, norm_first=True)
    parts = nn.ModuleDict(
        {
            "token": nn.Embedding(50, d),
            "position": nn.Embedding(n, d),
            "layers": nn.TransformerEncoder(layer, 3, enable_nested_tensor=False),
            "head": nn.Linear(d, 50),
        }
    )
    tokens = torch.randint(0, 50, (4, n))
    mask = nn.Transformer.generate_square_subsequent_mask(n)

    def loss(net: nn.ModuleDict) -> torch.Tensor:
        z = net["token"](tokens) + net["position"](torch.arange(n))
        out = net["head"](net["layers"](z, mask=mask, is_causal=True))
        return cross_entropy(out[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    def task() -> float:
        P = parts["position"].weight
        for each in hessian(parts).values():
            relativity(P, each)
        return float(toeplitz_share(hessian(parts, loss, "position").terms(P), diagonal=False))

    task()
    return measure(task, 3)[1]


def fit_cell() -> dict:
    """The error of 32 frequencies for a Gaussian kernel."""
    from trivium.kernel import Gaussian
    from trivium.sinusoid import fit

    found = fit(Gaussian(1.0), 32)
    free, free_time = measure(lambda: fit(Gaussian(1.0), 32, found.distances[::5], "free"))
    far = torch.linspace(0, 10, 2001, dtype=torch.float64)
    off = float((found.decay(far) - torch.exp(-far.square() / 2)).abs().max())
    kink = fit(lambda x: torch.exp(-x / 10), 32, torch.linspace(0, 60, 200, dtype=torch.float64))
    return {
        "5": found.error,
        "10": off,
        "kink": kink.error,
        "free": free.error,
        "free cpu": free_time["cpu"],
    }


def drawn(seed: int, strength: float, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Irregular times over a year, noise, and a week's wave of some strength."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 365, n))
    return t, strength * np.cos(2 * math.pi * t / 7 + rng.uniform(0, 6)) + rng.standard_normal(n)


def ours(t: np.ndarray, y: np.ndarray) -> list[float]:
    from trivium.sinusoid import fit_series

    options = {"false_alarm": 0.05, "trend": "constant"}
    return fit_series(t, y, 1, **options).periods.tolist()


def astropys(t: np.ndarray, y: np.ndarray) -> list[float]:
    from astropy.timeseries import LombScargle

    wave = LombScargle(t, y)
    limits = {"minimum_frequency": 1 / 365, "maximum_frequency": 150 / 365, "samples_per_peak": 4}
    frequency, power = wave.autopower(**limits)
    options = {"method": "bootstrap", "method_kwds": {"n_bootstraps": 199, "random_seed": 0}}
    chance = wave.false_alarm_probability(
        power.max(), maximum_frequency=limits["maximum_frequency"], samples_per_peak=4, **options
    )
    return [1 / float(frequency[power.argmax()])] if chance <= 0.05 else []


def series_cell(task: object, strength: float, runs: int) -> dict:
    """How often a frequency is found, how far its period is from 7, and what a series costs."""
    drawn_series = [drawn(seed, strength) for seed in range(runs)]
    task(*drawn_series[0])
    found, cost = measure(lambda: [task(t, y) for t, y in drawn_series])
    errors = [abs(each[0] - 7) for each in found if each]
    hits = sum(error < 0.2 for error in errors)
    middle = float(np.median(errors)) if errors else None
    return {"found": len(errors) / runs, "right": hits / runs, "error": middle,
            "cpu": cost["cpu"] / runs}  # fmt: skip


def run_facts(arguments: argparse.Namespace, board: Board) -> None:
    for name, task in (
        ("exact", exact_cell),
        ("angles", angles_cell),
        ("stop", stop_cell),
        ("share", share_cell),
        ("fit", fit_cell),
        ("model", model_cell),
    ):
        board.cell(name, task, code())


def run_series(arguments: argparse.Namespace, board: Board) -> None:
    runs = 20 if arguments.quick else RUNS
    for strength in (0.0, 0.3, 0.4):
        for name, task in (("ours", ours), ("astropy", astropys)):
            n = 4 * runs if name == "ours" and strength == 0 else runs  # the level
            board.cell(
                f"series/{name}/{strength:g}",
                lambda task=task, strength=strength, n=n: series_cell(task, strength, n),
                code() if name == "ours" else "",
            )


def table(board: Board) -> str:
    known = board.known()
    text = "# Why sinusoids\n\n"
    one, angles, fitted = (known.get(k, {}) for k in ("exact", "angles", "fit"))
    text += markdown(
        ["largest error", ""],
        [
            ["closed forms against mpmath, x to 1e7", f"{one['closed']:.1e}"],
            ["general quadrature", f"{one['quadrature']:.1e}"],
            *[
                [f"cosine, {k.replace(' ', ', position ')}", f"{v:.1e}"]
                for k, v in angles.items()
                if " " in k
            ],
            ["32 quantiles for a Gaussian, to 5 lengthscales", f"{fitted['5']:.4f}"],
            ["the same, to 10 lengthscales", f"{fitted['10']:.4f}"],
            ["32 frequencies for exp(−x/10), to 60", f"{fitted['kink']:.3f}"],
            ["32 free weights, to 5 lengthscales", f"{fitted['free']:.1e}"],
        ],
    )
    stop, share = known["stop"], known["share"]
    text += "\nFirst zero over B: the integral, and left end points of some pairs\n\n"
    text += markdown(
        ["B", "integral", *(f"{n} pairs" for n in PAIRS)],
        [[f"{b:g}", *(f"{stop[f'{b:g} {n}']:.4f}" for n in ("integral", *PAIRS))] for b in BASES],
    )
    text += "\nToeplitz share for diagonals from U(0, 1)\n\n"
    text += markdown(
        ["D", "n = 64", "n = 512"],
        [[d, *("{:.3f} ± {:.3f}".format(*share[f"{d} {n}"]) for n in (64, 512))] for d in WIDTHS],
    )
    text += f"\nH and relativity of 3 layers: {known['model']['cpu']:.2f} CPU seconds\n\n"
    cells = [(k.split("/")[1:], v) for k, v in known.items() if k.startswith("series/")]
    text += markdown(
        ["strength of the wave", "who", "found", "within 0.2", "median error", "CPU s each"],
        [
            [s, who, *([v["failed"], "", "", ""] if "failed" in v else
             [f"{v['found']:.3f}", f"{v['right']:.3f}",
              "" if v["error"] is None else f"{v['error']:.4f}", f"{v['cpu']:.4f}"])]
            for (who, s), v in sorted(cells, key=lambda each: each[0][::-1])
        ],
    )  # fmt: skip
    return text + "\n" + provenance(board.path)


if __name__ == "__main__":
    run_benchmark("sinusoid", __doc__, {"facts": run_facts, "series": run_series}, table)
