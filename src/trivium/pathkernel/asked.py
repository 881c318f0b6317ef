"""Asking a recorded training: block by block of the rows asked about, within a budget."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.errors import ResourceError
from trivium.pathkernel.checkpoints import Checkpoints
from trivium.pathkernel.progress import Progress, Ticker
from trivium.pathkernel.quantity import Quantity
from trivium.pathkernel.queries import Queries
from trivium.pathkernel.recurrence import Recurrence
from trivium.pathkernel.row_store import RowStore
from trivium.pathkernel.run import Run
from trivium.pathkernel.sums import Sums
from trivium.pathkernel.weights import Weights

__all__ = ["BUDGET", "Recorded", "answer"]

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


def answer(
    caller: str,
    recording: Recorded,
    asked: tuple[Any, str | Quantity, Tensor | None],
    budget: int,
    progress: Progress | None,
    sweep: Callable[[Queries, Sums, bool, Callable[[int], None]], None],
) -> dict[str, Any]:
    """Go through the run for each block of queries; return the parts of the answer.

    Args:
        caller: The public name that was called.
        recording: The training.
        asked: The rows, the quantity and the targets.
        budget: Bytes for the directions of one block.
        progress: Told of steps done and in all.
        sweep: Called for each block with its queries, its sums, whether it is the first, and what
            to call with the number of steps just done.

    Returns:
        The fields of an `Attribution`.

    Raises:
        ResourceError: Not even one query fits the budget.
    """
    most = _block(caller, recording, budget)
    replay = recording.run(caller).replay
    first, last = recording.checkpoints.held[0], recording.checkpoints.held[-1]
    replay.restore(last)
    x, of, y = asked
    queries = Queries(caller, replay, x, of, y, last.weights, last.buffers)
    layers = recording.weights.by_module()
    blocks = list(queries.blocks(most, last.weights, last.buffers))
    done: list[Sums] = []
    before, after = [], []
    with Ticker(caller, len(blocks) * recording.n_steps, progress) as ticker:
        for block in blocks:
            sums = Sums(
                block.n_rows, recording.rows.n_rows, recording.n_steps, list(layers.values())
            )
            sweep(block, sums, not done, ticker.tick)
            done.append(sums)
            before.append(block.value(first.weights, first.buffers).cpu())
            after.append(block.value(last.weights, last.buffers).cpu())
    whole = Sums.joined(done)
    return {
        "ids": list(recording.ids),
        "contributions": whole.rows,
        "steps": whole.steps,
        "layers": list(layers),
        "layer_totals": whole.layers,
        "before": torch.cat(before),
        "after": torch.cat(after),
        "dtype": recording.precision,
        "of": of if isinstance(of, str) else getattr(of, "__name__", "value"),
        "remainders": whole.remainders,
        "lengths": whole.lengths,
    }


def _block(caller: str, recording: Recorded, budget: int) -> int:
    """Return how many queries fit the budget at once."""
    size = int(check_number(caller, "budget", budget, "positive", integer=True))
    item = recording.weights.tensors[0].element_size()
    each = (_COPIES + len(recording.recurrence.states)) * recording.weights.n_weights * item
    if each > size:
        raise ResourceError(
            f"{caller}: one query needs {each / 1e6:.1f} MB for its directions in "
            f"{recording.weights.n_weights:,} weights; got a budget of {size / 1e6:.1f} MB",
            remedy="Raise budget, or ask recording.index, which keeps a few directions only.",
        )
    return size // each
