"""Asking a recorded training: block by block of the rows asked about, within a budget."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ResourceError
from trivium.parallel import Executor, given_executor
from trivium.pathkernel.checkpoints import Checkpoints
from trivium.pathkernel.progress import Progress, Ticker
from trivium.pathkernel.quantity import Quantity
from trivium.pathkernel.queries import Queries, batched
from trivium.pathkernel.recurrence import Recurrence
from trivium.pathkernel.row_store import RowStore
from trivium.pathkernel.run import Run
from trivium.pathkernel.sums import Sums
from trivium.pathkernel.weights import Weights

__all__ = ["BUDGET", "Held", "Recorded", "Sweep", "answer"]

Sweep = Callable[[Run, Queries, Sums, bool, Callable[[int], None]], None]
"""Goes through a run for a block of queries and adds to its sums; told whether it is the first
block, and what to call with the number of steps just done."""

BUDGET = 1_000_000_000
_COPIES = 3  # of the directions, beside one for each state of the optimizer


class Recorded(ABC):
    """A finished training that can be gone through again.

    Attributes:
        model: The model that was trained.
        recurrence: How its optimizer steps.
        weights: Its trainable weights.
        rows: The training rows seen.
        checkpoints: States to replay from.
        chord: Steps in one straight piece of the path.
    """

    model: nn.Module
    recurrence: Recurrence
    weights: Weights
    rows: RowStore
    checkpoints: Checkpoints
    chord: int

    @property
    @abstractmethod
    def n_steps(self) -> int:
        """Steps recorded."""

    @property
    @abstractmethod
    def precision(self) -> torch.dtype:
        """The coarsest dtype that the training computed in."""

    @property
    @abstractmethod
    def couples_rows(self) -> bool:
        """Whether rows shared their batch's moments."""

    @property
    @abstractmethod
    def ids(self) -> list[Hashable]:
        """The training rows' ids, in the order of contributions."""

    @abstractmethod
    def run(self, caller: str) -> Run:
        """Return the training to be gone through backwards."""

    def sent(self, caller: str) -> Callable[[], Run]:
        """Return what another process makes the run from: a folder's path, or the run itself."""
        return Held(self.run(caller))


@dataclass(frozen=True, eq=False)
class Held:
    """A run as data; each call gives it a replay of its own."""

    run: Run

    def __call__(self) -> Run:
        """Return the run."""
        replay = self.run.replay
        return replace(self.run, replay=copy.deepcopy(replay, {id(replay.rows): replay.rows}))


def answer(
    caller: str,
    recording: Recorded,
    asked: tuple[Any, str | Quantity, Tensor | None],
    budget: int,
    progress: Progress | None,
    sweep: Sweep,
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Go through the run for each block of queries; return the parts of the answer.

    Args:
        caller: The public name that was called.
        recording: The training.
        asked: The rows, the quantity and the targets.
        budget: Bytes for the directions of one block.
        progress: Told of steps done and in all.
        sweep: Called for each block; it must be able to travel where an executor is given.
        executor: Where the blocks are gone through; here, with torch's threads, by default.

    Returns:
        The fields of an `Attribution`.

    Raises:
        ResourceError: Not even one query fits the budget.
    """
    most = _block(caller, recording, budget)
    run = recording.run(caller)
    last = recording.checkpoints.held[-1]
    run.replay.restore(last)
    queries = Queries(caller, run.replay, *asked, last.weights, last.buffers)
    layers = recording.weights.by_module()
    size = (recording.rows.n_rows, recording.n_steps, list(layers.values()))
    blocks = list(batched(queries.n_rows, most))
    runner = None if executor is None else given_executor(caller, executor)
    parts: dict[int, _Part] = {}
    with Ticker(caller, len(blocks) * recording.n_steps, progress) as ticker:
        if runner is None:
            for number, some in enumerate(blocks):
                block = queries.take(some, last.weights, last.buffers)
                parts[number] = _swept(run, block, size, sweep, number == 0, ticker.tick)
        else:
            work = _Work(caller, recording.sent(caller), asked, size, sweep)
            for number, part in runner.each(_elsewhere, blocks, shared=work):
                parts[number] = part
                ticker.tick(recording.n_steps)
    ordered = [parts[number] for number in range(len(blocks))]
    whole = Sums.joined([part.sums for part in ordered])
    of = asked[1]
    return {
        "ids": list(recording.ids),
        "contributions": whole.rows,
        "steps": whole.steps,
        "layers": list(layers),
        "layer_totals": whole.layers,
        "before": torch.cat([part.before for part in ordered]),
        "after": torch.cat([part.after for part in ordered]),
        "dtype": recording.precision,
        "of": of if isinstance(of, str) else getattr(of, "__name__", "value"),
        "remainders": whole.remainders,
        "lengths": whole.lengths,
    }


Size = tuple[int, int, Sequence[Sequence[slice]]]  # rows, steps, and where the layers' weights lie


@dataclass(frozen=True, eq=False)
class _Part:
    """What one block of queries was told."""

    sums: Sums
    before: Tensor
    after: Tensor


@dataclass(frozen=True, eq=False)
class _Work:
    """What a worker needs beside the block."""

    caller: str
    source: Callable[[], Run]
    asked: tuple[Any, str | Quantity, Tensor | None]
    size: Size
    sweep: Sweep


def _swept(
    run: Run, block: Queries, size: Size, sweep: Sweep, first: bool, tick: Callable[[int], None]
) -> _Part:
    sums = Sums(block.n_rows, *size)
    sweep(run, block, sums, first, tick)
    start, end = run.checkpoints.held[0], run.checkpoints.held[-1]
    before = block.value(start.weights, start.buffers).cpu()
    return _Part(sums, before, block.value(end.weights, end.buffers).cpu())


def _elsewhere(some: slice, work: _Work) -> _Part:
    """Go through the run for one block, on a replay of its own."""
    run = work.source()
    last = run.checkpoints.held[-1]
    run.replay.restore(last)
    queries = Queries(work.caller, run.replay, *work.asked, last.weights, last.buffers)
    block = queries.take(some, last.weights, last.buffers)
    return _swept(run, block, work.size, work.sweep, some.start == 0, lambda _: None)


def _block(caller: str, recording: Recorded, budget: int) -> int:
    """Return how many queries fit the budget at once."""
    size = int(check_number(caller, "budget", budget, "positive", integer=True))
    item = recording.weights.tensors[0].element_size()
    each = (_COPIES + len(recording.recurrence.states)) * recording.weights.n_weights * item
    if each > size:
        raise ResourceError(
            f"{caller}: one query needs {each / 1e6:.1f} MB for its directions in "
            f"{counted(recording.weights.n_weights, 'weight')}; got a budget of {size / 1e6:.1f} "
            "MB",
            remedy="Raise budget, or ask recording.index, which keeps a few directions only.",
        )
    return size // each
