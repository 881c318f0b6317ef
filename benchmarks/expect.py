"""What `expect` costs over hand-written torch: forward and backward, 1 and 20,000 rows.

Score function with the mean of the others as baseline (beside storchastic and pyro where they are
installed), reparameterized normal, and DisARM. f is a square, so that what is measured is the
machinery. What the estimators are worth is in `expect_noise.py`.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from harness import Board, fingerprint, markdown, provenance, run_benchmark
from torch.distributions import Bernoulli, Normal

SAMPLES = 8
ROWS = (1, 20_000)


def f(z: torch.Tensor) -> torch.Tensor:
    return (z - 0.45).square()


def hand_score(theta: torch.Tensor) -> torch.Tensor:
    law = Bernoulli(logits=theta)
    z = law.sample((SAMPLES,))
    values = f(z)
    base = (values.sum(0) - values) / (SAMPLES - 1)
    logs = law.log_prob(z)
    return (values.detach() + (values - base) * (logs - logs.detach())).mean(0)


def hand_path(theta: torch.Tensor) -> torch.Tensor:
    return f(Normal(theta, 1.0).rsample((SAMPLES,))).mean(0)


def our_score(theta: torch.Tensor) -> torch.Tensor:
    from trivium.expectation import Score, expect

    return expect(f, Bernoulli(logits=theta), Score("leave-one-out"), SAMPLES)


def our_path(theta: torch.Tensor) -> torch.Tensor:
    from trivium.expectation import Pathwise, expect

    return expect(f, Normal(theta, 1.0), Pathwise(), SAMPLES)


def storchastic_score(theta: torch.Tensor) -> None:
    """It keeps its own backward and one value; rows are a plate."""
    import storch
    from storch.method import ScoreFunction

    method = ScoreFunction("z", n_samples=SAMPLES, baseline_factory="batch_average")
    rows = storch.denote_independent(theta, 0, "rows")
    z = method(Bernoulli(logits=rows))
    storch.add_cost(f(z), "cost")
    storch.backward()


def pyro_score(theta: torch.Tensor) -> None:
    """With a decaying-average baseline; f enters as a factor, samples are a plate."""
    import pyro
    from pyro import distributions as dist
    from pyro.infer import TraceGraph_ELBO

    rows = len(theta)

    def guide() -> None:
        with pyro.plate("draws", SAMPLES, dim=-2), pyro.plate("rows", rows, dim=-1):
            pyro.sample(
                "z",
                dist.Bernoulli(logits=theta),
                infer={"baseline": {"use_decaying_avg_baseline": True}},
            )

    def model() -> None:
        with pyro.plate("draws", SAMPLES, dim=-2), pyro.plate("rows", rows, dim=-1):
            z = pyro.sample("z", dist.Bernoulli(probs=torch.full((rows,), 0.5)))
            pyro.factor("f", -f(z))

    pyro.clear_param_store()
    TraceGraph_ELBO().loss_and_grads(model, guide)


def hand_disarm(theta: torch.Tensor) -> torch.Tensor:
    """The estimator of the paper, put in place as a first derivative."""
    p = theta.detach().sigmoid()
    u = torch.rand(SAMPLES // 2, *theta.shape)
    first, second = (u < p).to(p), (1 - u < p).to(p)
    upper, lower = f(first), f(second)
    slope = (upper - lower) / 2 * (first - second) * torch.maximum(p, 1 - p)
    return torch.cat([upper, lower]).mean(0) + slope.mean(0) * (theta - theta.detach())


def hand_pair_weights(theta: torch.Tensor) -> torch.Tensor:
    """The same with weights whose derivatives of every order are right, as ours are."""
    logits = Bernoulli(logits=theta).logits
    one_is_rarer = logits.detach() < 0
    p = logits.detach().sigmoid()
    u = torch.rand(SAMPLES // 2, *theta.shape, dtype=torch.float64)
    first, second = (u < p).to(p), (1 - u < p).to(p)
    rarer = torch.nn.functional.logsigmoid(torch.where(one_is_rarer, logits, -logits))
    sign = torch.where(one_is_rarer, first - second, second - first)
    change = sign * torch.expm1(rarer - rarer.detach())
    upper, lower = f(first), f(second)
    return ((upper + lower) / 2 + (upper - lower) / 2 * change).mean(0)


def our_disarm(theta: torch.Tensor) -> torch.Tensor:
    from trivium.expectation import Score, expect

    return expect(f, Bernoulli(logits=theta), Score(coupling="antithetic"), SAMPLES)


def our_disarm_without(theta: torch.Tensor) -> torch.Tensor:
    from trivium.expectation import Score, expect

    return expect(f, Bernoulli(logits=theta), Score("none", coupling="antithetic"), SAMPLES)


CONTESTANTS: dict[str, dict[str, Callable]] = {
    "score function": {
        "by hand": hand_score,
        "expect": our_score,
        "storchastic": storchastic_score,
        "pyro TraceGraph_ELBO": pyro_score,
    },
    "reparameterized": {"by hand": hand_path, "expect": our_path},
    "DisARM": {
        "by hand": hand_disarm,
        "by hand, right in every order": hand_pair_weights,
        "expect": our_disarm,
        "expect, baseline 'none'": our_disarm_without,
    },
}


def once(call: Callable, theta: torch.Tensor) -> None:
    theta.grad = None
    value = call(theta)
    if isinstance(value, torch.Tensor):
        value.sum().backward()


def cell(kind: str, rows: int, seconds: float) -> dict:
    """Contestants in turn, many times; the median of each and its ratio to the hand-written one."""
    theta = torch.zeros(rows, requires_grad=True)
    times: dict[str, list[float]] = {name: [] for name in CONTESTANTS[kind]}
    failed = {}
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        for name, call in CONTESTANTS[kind].items():
            if name in failed:
                continue
            try:
                start = time.process_time()
                once(call, theta)
                times[name].append(time.process_time() - start)
            except Exception as error:  # a peer's failure is a result
                failed[name] = f"{type(error).__name__}: {str(error)[:200]}"
    middle = {name: sorted(t)[len(t) // 2] for name, t in times.items() if t and name not in failed}
    return {"cpu": middle, "failed_peers": failed, "turns": len(times["by hand"])}


def run(arguments: argparse.Namespace, board: Board) -> None:
    for kind in CONTESTANTS:
        for rows in ROWS:
            task = partial(cell, kind, rows, 1.0 if arguments.quick else 8.0)
            board.cell(f"{kind}/{rows}", task, fingerprint("expectation"))


def table(board: Board) -> str:
    known = board.known()
    rows = []
    for key, found in known.items():
        kind, count = key.split("/")
        hand = found["cpu"]["by hand"]
        for name, cpu in found["cpu"].items():
            rows.append(
                [f"{kind}, {int(count):,} rows", name, f"{1e3 * cpu:.3f}", f"{cpu / hand:.2f}"]
            )
    text = "# `expect` over hand-written torch\n\n"
    text += markdown(["", "", "CPU ms, forward and backward", "over hand-written"], rows)
    return (
        text
        + "\nAsked of the first two kinds: at most 1.5 at one row and 1.15 at 20,000.\n\n"
        + provenance(board.path)
    )


def main() -> None:
    """Run what is missing, then print the table."""
    run_benchmark("expect", __doc__, run, table)


if __name__ == "__main__":
    main()
