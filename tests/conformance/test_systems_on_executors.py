"""The law of the executors for the long work of the systems: the same bits on each of them."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.dependence import (
    DependenceColumn,
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
from trivium.parallel import Executor, open_executor

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


JOBS: dict[str, Job] = {
    "screen": screen_job,
    "screen_pairs": pairs_job,
    "independence_test, shifts": shifts_job,
    "independence_test, permutations": permutations_job,
    "independence_test, blocks of rows": rows_job,
    "joint_test": joint_job,
    "conditional_test": conditional_job,
    "sequence_tests": sequence_job,
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


@pytest.mark.parametrize("name", [name for name in JOBS if "rows" not in name])
def test_what_is_no_executor_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="executor must be an Executor or None; got str"):
        JOBS[name]("dask")
