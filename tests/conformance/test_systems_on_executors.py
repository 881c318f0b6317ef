"""The law of the executors for the long work of the systems: the same bits on each of them."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from trivium.dependence import (
    DependenceColumn,
    HSICBottleneck,
    conditional_test,
    independence_test,
    joint_test,
    screen,
    screen_pairs,
    sequence_tests,
)
from trivium.dependence import shift_stream as stream
from trivium.dependence.landmarks import landmark_maps
from trivium.dependence.shift import Shifts
from trivium.kernel import Gaussian
from trivium.objective import Replicas, ZerothOrderStep
from trivium.parallel import Executor, SerialExecutor, open_executor
from trivium.parallel.wire import to_bytes
from trivium.pathkernel import PathKernel, Recording, label_issues, record
from trivium.study import Preset, position_study

Job = Callable[[Executor | None], Any]


def bits(value: Any) -> Any:
    """Everything in a result but its clock, as something that compares bit by bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if is_dataclass(value):
        kept = (f.name for f in fields(value) if f.name not in {"seconds", "memory"})
        return {name: bits(getattr(value, name)) for name in kept}
    if isinstance(value, dict):
        return {key: bits(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [bits(each) for each in value]
    return repr(value)


def columns_of(n: int) -> tuple[list[DependenceColumn], DependenceColumn]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    words = np.array([f"w{i}" for i in range(30)])
    columns = [
        DependenceColumn("spread", "number", rng.normal(size=n) * (1 + y)),
        DependenceColumn("noise", "number", rng.normal(size=n)),
        DependenceColumn("day", "date", np.floor(rng.uniform(0, 1000, n))),
        DependenceColumn("level", "category", rng.integers(-1, 8, n)),
        DependenceColumn("said", "text", [" ".join(rng.choice(words, 5)) for _ in range(n)]),
    ]
    return columns, DependenceColumn("y", "category", y)


def screen_job(executor: Executor | None) -> Any:
    columns, target = columns_of(300)
    return screen(columns, target, n_permutations=99, executor=executor)


def pairs_job(executor: Executor | None) -> Any:
    return screen_pairs(columns_of(200)[0], n_permutations=99, executor=executor)


def normals(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape)


def shifts_job(executor: Executor | None) -> Any:
    x, y = normals(2, 2100)  # from 2,000 rows on there are several blocks
    return independence_test(x, y + x**2, aggregate=False, executor=executor)


def permutations_job(executor: Executor | None) -> Any:
    x, y = normals(2, 300)
    options = {"null": "permutation", "n_permutations": 600, "executor": executor}
    return [
        independence_test(x, y, aggregate=False, **options),
        independence_test(x, y, Gaussian(0.3), aggregate=False, **options),
        independence_test(x, y, groups=np.arange(300) % 3, aggregate=False, **options),
    ]


def rows_job(executor: Executor | None) -> Any:
    """Features that are read in blocks of rows."""
    x, y = (torch.from_numpy(each)[:, None] for each in normals(2, 2 * stream._BLOCK_ROWS))
    (maps_x, _), (maps_y, _) = (landmark_maps(rows, [Gaussian(1.0)], 4) for rows in (x, y))
    group = Shifts(len(x), 60, coarse=True)
    assert len(stream._row_blocks(group)) == 2
    return stream.stream_shifts(x, maps_x, y, maps_y, group, executor=executor)


def joint_job(executor: Executor | None) -> Any:
    by_grams = joint_test(list(normals(3, 1000)), n_permutations=99, executor=executor)
    levels = (normals(3, 1200) > 0).astype(int)
    return [by_grams, joint_test(list(levels), n_permutations=99, executor=executor)]


def conditional_job(executor: Executor | None) -> Any:
    x, y, z = normals(3, 200)
    return conditional_test(x + z, y + z, z, executor=executor)


def sequence_job(executor: Executor | None) -> Any:
    columns, target = columns_of(200)
    return sequence_tests(columns[-1].values, target, n_permutations=99, executor=executor)


def wrong(x: torch.Tensor, y: torch.Tensor, module: torch.nn.Module) -> torch.Tensor:
    return ((module(x) - y).abs() > 0.5).float().mean()


def training() -> tuple[ZerothOrderStep, Callable[[torch.nn.Module], torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(32, 8, generator=generator), torch.ones(32, 1)
    module = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return ZerothOrderStep(module, 0.1, 0.1, 6, seed=0), partial(wrong, x, y)


def population_job(executor: Executor | None) -> Any:
    zeroth, loss = training()
    replicas = Replicas(zeroth, loss, executor)
    values = [zeroth.step(evaluate=replicas) for _ in range(20)]
    return values, zeroth.history, zeroth.module.state_dict()


def study_job(executor: Executor | None) -> Any:
    """All runs of a small study: the rates first, then the seeds."""
    sizes = {"length": 8, "size": 4, "batch": 4, "steps": 1, "task_steps": 1, "rows": 1}
    preset = Preset("quick", 8, 2, 1, **sizes, seeds=2, rates=(1e-3,))
    seen: list[int] = []
    with TemporaryDirectory() as folder:
        where = {"workers": 1} if executor is None else {"executor": executor}
        found = position_study(
            preset, out=folder, progress=lambda done, *_: seen.append(done), **where
        ).to_dict()
    runs = [{k: v for k, v in run.items() if k != "cpu_seconds"} for run in found["all_runs"]]
    assert seen == list(range(1, len(runs) + 1))
    return runs


@cache
def trained() -> tuple[Recording, torch.Tensor, torch.Tensor]:
    """A short training, recorded in memory."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 4, generator=generator)
    y = (x[:, 0] > 0).long()
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    with record(net, optimizer, cross_entropy, stride=5) as recording:
        for step in range(12):
            ids = torch.arange(8) + 8 * (step % 3)
            recording.batch(ids)
            optimizer.zero_grad()
            cross_entropy(net(x[ids]), y[ids]).backward()
            optimizer.step()
    return recording, x, y


def asked_job(executor: Executor | None, recording: Recording | None = None) -> Any:
    """Both questions, in blocks of queries, and labels by what the others made of them."""
    held, x, y = trained()
    recording = recording or held
    told: list[int] = []
    few = 2 * 5 * 4 * sum(p.numel() for p in recording.model.parameters())  # bytes of two queries
    how = {"budget": few, "progress": lambda done, _: told.append(done), "executor": executor}
    found = [
        recording.made(x[:6], "margin", y[:6], **how),
        recording.without(x[:6], y=y[:6], **how),
    ]
    blocks = told[-1] // recording.n_steps
    assert blocks > 2
    assert told.count(blocks * recording.n_steps) == 2
    return (
        found
        if recording is not held
        else [*found, label_issues(recording, "support", executor=executor)]
    )


def kernel_job(executor: Executor | None) -> Any:
    recording, x, _ = trained()
    kernel = PathKernel.along(recording, 4, normalize=True)
    return kernel.gram(x, executor=executor), kernel.gram(x, x[:3], executor=executor)


def bottleneck_job(executor: Executor | None) -> Any:
    x = torch.from_numpy(normals(120, 3))
    y = (x[:, 0] * x[:, 1] > 0).long().numpy()
    model = HSICBottleneck([8, 8], epochs=2, batch_size=32).fit(x[:80], y[:80])
    return model.report(x[:80], y[:80], x[80:], y[80:], executor=executor)


JOBS: dict[str, Job] = {
    "screen": screen_job,
    "screen_pairs": pairs_job,
    "independence_test, shifts": shifts_job,
    "independence_test, permutations": permutations_job,
    "independence_test, blocks of rows": rows_job,
    "joint_test": joint_job,
    "conditional_test": conditional_job,
    "sequence_tests": sequence_job,
    "Replicas": population_job,
    "position_study": study_job,
    "Recording.made, without": asked_job,
    "PathKernel.gram": kernel_job,
    "HSICBottleneck.report": bottleneck_job,
}


@pytest.fixture(scope="module", params=("processes", "dask"))
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with open_executor(request.param, n_workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """Results without an executor, each made once."""
    return {}


@pytest.mark.parametrize("name", JOBS)
def test_the_same_bits_as_in_this_process(
    name: str, executor: Executor, alone: dict[str, Any]
) -> None:
    if name not in alone:
        alone[name] = bits(JOBS[name](None))
    assert bits(JOBS[name](executor)) == alone[name]


def test_the_law_can_fail() -> None:
    """Results are compared to the last bit of each figure."""
    assert bits([torch.ones(2), 1.0]) != bits([torch.ones(2), float(np.nextafter(1.0, 2.0))])
    assert bits(torch.tensor(0.0)) != bits(torch.tensor(-0.0))


def test_replicas_give_the_bits_of_steps_alone() -> None:
    zeroth, loss = training()
    values = [zeroth.step(lambda: loss(zeroth.module)) for _ in range(20)]
    assert bits((values, zeroth.history, zeroth.module.state_dict())) == bits(population_job(None))


class Weighed(Executor):
    """Another executor, and the bytes that go out to it."""

    def __init__(self, inner: Executor) -> None:
        super().__init__()
        self.inner = inner
        self.blocks: list[int] = []
        self.shared: list[int] = []

    def each(self, function: Any, blocks: Any, *, shared: Any = None, **rest: Any) -> Any:
        self.blocks.append(sum(len(to_bytes(block, "test", "block")) for block in blocks))
        self.shared.append(0 if shared is None else len(to_bytes(shared, "test", "shared")))
        return self.inner.each(function, blocks, shared=shared, **rest)

    def _run(self, *_: Any) -> Any:
        raise NotImplementedError


def test_the_module_travels_once_then_seeds_and_numbers() -> None:
    zeroth, loss = training()
    weighed = Weighed(SerialExecutor())
    replicas = Replicas(zeroth, loss, weighed)
    for _ in range(10):
        zeroth.step(evaluate=replicas)
    assert [size > 4 * 641 for size in weighed.shared] == [False, True] + [False] * 9
    each = [size / 6 for size in weighed.blocks[2:]]  # six directions a step
    assert max(each) < 450
    zeroth.apply(((1, 0.5),))
    zeroth.apply(((2, 0.5),))
    zeroth.apply(((3, 0.5),))  # one more than a worker can catch up with
    zeroth.step(evaluate=replicas)
    assert weighed.shared[-1] > 0


def dies_once(marker: Path, loss: Callable[[Any], Any], module: torch.nn.Module) -> torch.Tensor:
    """End the process without a word, the first time that the marker is there."""
    if marker.exists():
        marker.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(module)


def test_a_worker_that_dies_in_the_middle_changes_no_bit(
    executor: Executor, alone: dict[str, Any], tmp_path: Path
) -> None:
    """The worker that takes its place has no replica, and is sent one."""
    alone.setdefault("Replicas", bits(population_job(None)))
    zeroth, loss = training()
    marker = tmp_path / "die"
    replicas = Replicas(zeroth, partial(dies_once, marker, loss), executor)
    values = []
    for step in range(20):
        if step == 7:
            marker.touch()
        values.append(zeroth.step(evaluate=replicas))
    assert not marker.exists()
    assert bits((values, zeroth.history, zeroth.module.state_dict())) == alone["Replicas"]


def noisy(module: torch.nn.Module) -> torch.Tensor:
    return module(torch.ones(1, 8)).sum() + torch.randn(())


def test_what_a_loss_draws_depends_on_the_direction_alone(executor: Executor) -> None:
    found = []
    for runner in (None, executor):
        zeroth = training()[0]
        torch.manual_seed(len(found))
        replicas = Replicas(zeroth, noisy, runner)
        found.append(bits([zeroth.step(evaluate=replicas) for _ in range(3)]))
    assert found[0] == found[1]


def test_a_recording_in_a_folder_travels_as_its_path(
    executor: Executor, alone: dict[str, Any], tmp_path: Path
) -> None:
    recording = trained()[0]
    alone.setdefault("Recording.made, without", bits(asked_job(None)))
    recording.save(tmp_path / "run")
    model, optimizer = recording.model, recording.optimizer
    again = Recording.load(tmp_path / "run", model, optimizer, cross_entropy)
    weighed = Weighed(executor)
    assert bits(asked_job(weighed, again)) == alone["Recording.made, without"][:2]
    # The model's form and the queries, no rows, no states of the optimizer along the way.
    held = len(to_bytes(recording.sent("test"), "test", "recording"))
    assert max(weighed.shared[:2]) < held / 2
