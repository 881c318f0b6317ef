"""A recorded training, and the questions that it answers."""

import copy
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from trivium._core.errors import ArgumentError, DataError
from trivium.pathkernel.asked import BUDGET
from trivium.pathkernel.checkpoints import Checkpoints
from trivium.pathkernel.checkpoints_only import from_checkpoints
from trivium.pathkernel.index import Index
from trivium.pathkernel.index_build import build_index
from trivium.pathkernel.listening import Listener
from trivium.pathkernel.notes import Checkpoint, StepNote
from trivium.pathkernel.questions import Questions
from trivium.pathkernel.recurrence import recurrence_of
from trivium.pathkernel.replay import Replay, Run, global_norm
from trivium.pathkernel.row_store import RowStore
from trivium.pathkernel.weights import Weights

__all__ = ["Recording"]


class Recording(Questions):
    """A training as it happened; made by `record`.

    Attributes:
        rows: The training rows seen.
        notes: What was noted of each step.
        checkpoints: States of the model and the optimizer to replay from.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss: Callable[..., Tensor],
        *,
        chord: int,
        stride: int,
        budget: int,
        augmented: bool,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.recurrence = recurrence_of(optimizer)
        self.rows = RowStore()
        self.notes: list[StepNote] = []
        self.checkpoints = Checkpoints(stride, budget)
        self.chord, self.budget = chord, budget
        self.weights = Weights(model, "record")
        self._listener = Listener(model, loss, self.rows, augmented)
        self._replay = Replay(model, optimizer, loss, self.recurrence, self.rows)
        self._versions: tuple[int, ...] = ()
        self._handles: list[Any] = []
        self._options: list[dict[str, Any]] = []

    @property
    def n_steps(self) -> int:
        """Steps recorded."""
        return len(self.notes)

    @property
    def ids(self) -> list[Hashable]:
        """The training rows' ids, in the order of contributions."""
        return self.rows.ids

    def __enter__(self) -> "Recording":
        self._add_checkpoint()
        self._versions = self._seen_versions()
        self._listener.open()
        self._handles = [
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._listener.close()
        if self.checkpoints.held[-1].step != self.n_steps:
            self._add_checkpoint()

    def batch(self, ids: Sequence[Hashable] | Tensor) -> None:
        """Note the ids of the rows that the next forward gets."""
        listed = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        self._listener.expect(listed)

    def loss(self, output: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Call the loss so that the recording hears it, whatever kind of function it is."""
        return self._listener.called(output, target, *args, **kwargs)

    def index(
        self,
        k: int = 128,
        kind: str = "counterfactual",
        *,
        stride: int = 50,
        seed: int = 0,
        rows: Sequence[Hashable] | None = None,
        budget: int = BUDGET,
    ) -> Index:
        """Return a compact index whose answers cost one gradient; see `build_index`."""
        return build_index(self, k, kind, stride=stride, seed=seed, rows=rows, budget=budget)

    replay = staticmethod(from_checkpoints)

    def run(self, caller: str) -> Run:
        """Return the training, once it is over, to be gone through backwards.

        Raises:
            ArgumentError: The recording is still open.
            DataError: It has no step.
        """
        if self._handles:
            raise ArgumentError(f"{caller}: ask after the recording is closed; it is still open")
        if not self.notes:
            raise DataError(f"{caller}: the recording must have a step; got none")
        return Run(self._replay, self.checkpoints, self.notes)

    def _before_step(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._listener.step = self.n_steps
        for name, seen, now in zip(
            self.weights.names, self._versions, self._seen_versions(), strict=True
        ):
            if seen != now:
                raise DataError(
                    "record: the weights must change by the optimizer's steps alone; got a change "
                    f"of {name} outside of them",
                    where=f"before step {self.n_steps}",
                )
        pieces = self._listener.take()
        moved = tuple(p.grad is not None for p in self.weights.tensors)
        grads = [p.grad for p in self.weights.tensors if p.grad is not None]
        options = [
            self.recurrence.options(self.optimizer, group) for group in self.optimizer.param_groups
        ]
        if self._options == options:
            options = self._options
        self._options = options
        self.notes.append(StepNote(pieces, options, global_norm(grads), moved))

    def _after_step(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._versions = self._seen_versions()
        if self.checkpoints.due(self.n_steps):
            self._add_checkpoint()

    def _seen_versions(self) -> tuple[int, ...]:
        return tuple(p._version for p in self.weights.tensors)

    def _add_checkpoint(self) -> None:
        state = [copy.deepcopy(self.optimizer.state.get(p, {})) for p in self.weights.tensors]
        buffers = {name: value.detach().clone() for name, value in self.model.named_buffers()}
        self.checkpoints.add(Checkpoint(self.n_steps, self.weights.read(), buffers, state))
