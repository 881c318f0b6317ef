"""What is no executor is refused at the door of every system, before any work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError
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
from trivium.objective import Replicas, ZerothOrderStep
from trivium.parallel import SerialExecutor, given_executor
from trivium.pathkernel import PathKernel, record
from trivium.study import position_study

ROWS = np.random.default_rng(0).normal(size=(3, 20))
LABELS = DependenceColumn("y", "category", np.arange(20) % 2)
COLUMNS = [DependenceColumn(f"x{i}", "number", row) for i, row in enumerate(ROWS)]
NET = torch.nn.Linear(3, 2)


def asked(executor: Any) -> None:
    optimizer, loss = torch.optim.SGD(NET.parameters(), lr=0.1), torch.nn.CrossEntropyLoss()
    x, y = torch.ones(2, 3), torch.tensor([0, 1])
    with record(NET, optimizer, loss) as recording:
        recording.batch([0, 1])
        loss(NET(x), y).backward()
        optimizer.step()
    recording.made(x, executor=executor)


def reported(executor: Any) -> None:
    x, y = ROWS.T, np.arange(20) % 2
    HSICBottleneck([4], epochs=1, batch_size=10).fit(x, y).report(x, y, x, y, executor=executor)


def replicated(executor: Any) -> None:
    Replicas(ZerothOrderStep(NET, 0.1, 0.1), lambda module: 0.0, executor)


DOORS: dict[str, Callable[[Any], Any]] = {
    "screen": lambda e: screen(COLUMNS, LABELS, executor=e),
    "screen_pairs": lambda e: screen_pairs(COLUMNS, executor=e),
    "independence_test": lambda e: independence_test(*ROWS[:2], executor=e),
    "joint_test": lambda e: joint_test(list(ROWS), executor=e),
    "conditional_test": lambda e: conditional_test(*ROWS, executor=e),
    "sequence_tests": lambda e: sequence_tests(["a b"] * 20, LABELS, executor=e),
    "HSICBottleneck.report": reported,
    "Replicas": replicated,
    "position_study": lambda e: position_study(out=Path("never-made"), executor=e),
    "made": asked,
    "PathKernel.gram": lambda e: PathKernel.at(NET).gram(torch.ones(2, 3), executor=e),
}


@pytest.mark.parametrize("name", DOORS)
def test_what_is_no_executor_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name}: executor must be .* or None; got str"):
        DOORS[name]("dask")
    assert not Path("never-made").exists()


def test_without_one_the_work_is_done_here() -> None:
    own = SerialExecutor()
    assert given_executor("here", own) is own
    assert isinstance(given_executor("here", None), SerialExecutor)


def test_replicas_refuse() -> None:
    zeroth = ZerothOrderStep(NET, 0.1, 0.1)
    with pytest.raises(ArgumentError, match="zeroth must be a ZerothOrderStep; got int"):
        Replicas(3, len)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="loss must be callable; got str"):
        Replicas(zeroth, "accuracy")  # type: ignore[arg-type]
