"""The hooks of a recording while its training runs."""

import copy
import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim import Optimizer

from trivium._core.errors import ArgumentError, DataError
from trivium.pathkernel.going_on import going_on, random_now, restore
from trivium.pathkernel.identity import fixed_parts
from trivium.pathkernel.listening import Listener
from trivium.pathkernel.notes import Checkpoint, StepNote
from trivium.pathkernel.step_watch import StepWatch

if TYPE_CHECKING:
    from trivium.pathkernel.recording import Recording

__all__ = ["Live"]

_BEING_RECORDED: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def refuse_nested(model: nn.Module) -> None:
    """Refuse a model that is being recorded.

    Raises:
        ArgumentError: It is.
    """
    if model in _BEING_RECORDED:
        raise ArgumentError("record: model must be in one recording at a time; it is in one")


class Live:
    """Notes each step of a training, and keeps a checkpoint where one is due.

    A checkpoint that is due after a step is taken when the next batch is noted: by then the loop
    has stepped its schedulers, and no generator has been drawn from but for that batch.

    Args:
        recording: What is filled.
        model: The model as the loop calls it, compiled or not.
        loss: The loss that is listened for.
    """

    def __init__(
        self, recording: "Recording", model: nn.Module, loss: Callable[..., Tensor]
    ) -> None:
        self.held, self.optimizer = recording, recording.optimizer
        self.listener = Listener(model, loss, recording.rows, recording.settings.augmented)
        self._watch = StepWatch(
            recording.model, recording.weights, recording.optimizer, recording.recurrence
        )
        self._handles: list[Any] = []
        self._begun: StepNote | None = None
        self._due: dict[str, Any] | None = None
        self.used = False

    @property
    def on(self) -> bool:
        """Whether the training runs."""
        return bool(self._handles)

    def open(self) -> None:
        """Begin, or go on.

        Raises:
            ArgumentError: It was open before, or the model is being recorded.
            OutputError: The folder cannot be written.
        """
        held = self.held
        if self.used:
            raise ArgumentError(
                "record: a recording must be entered once; this one was before",
                remedy="Make another with record(...); one in a folder goes on with resume=True.",
            )
        refuse_nested(held.model)
        if held.folder is not None:
            held.folder.open()
        try:
            self._begin()
        except BaseException:
            self._release()
            raise
        self.used = True
        _BEING_RECORDED.add(held.model)
        self._watch.mark()
        self.listener.step = held.n_steps
        self.listener.open()
        self._handles = [
            self.optimizer.register_step_pre_hook(self._before_step),
            self.optimizer.register_step_post_hook(self._after_step),
        ]

    def close(self) -> None:
        """Take the hooks off and keep the last state."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        held, steps = self.held, self.held.checkpoints.steps
        _BEING_RECORDED.discard(held.model)
        try:
            if self._begun is not None or self._watch.changed() is not None:
                # A step was broken off, or the weights changed after it: the last checkpoint is
                # the last state that is known for sure.
                del held.notes[steps[-1] :]
            elif steps[-1] != held.n_steps:
                self._due = self._due or random_now(held.settings.keep)
                self.flush()
        except DataError:  # a row that is not what it was, or unlike the others
            del held.notes[steps[-1] :]
            raise
        finally:
            self.listener.close()
            self._release()

    def expect(self, ids: list[Hashable]) -> None:
        """Note the rows of the next forwards."""
        self.flush()
        self.listener.expect(ids)

    def flush(self) -> None:
        """Take the checkpoint that is due."""
        if self._due is None:
            return
        held, randomness = self.held, self._due
        self._due = None
        self.listener.settle()
        buffers = {name: value.detach().clone() for name, value in held.model.named_buffers()}
        state = [copy.deepcopy(self.optimizer.state.get(p, {})) for p in held.weights.tensors]
        checkpoint = Checkpoint(held.n_steps, held.weights.read(), buffers, state)
        if held.folder is not None:
            checkpoint.going_on = going_on(self.optimizer, held.settings.keep, randomness)
            steps = held.checkpoints.after(held.n_steps)
            held.folder.append(checkpoint, held.rows, held.notes, steps)
        held.checkpoints.add(checkpoint)

    def _begin(self) -> None:
        held = self.held
        if held.checkpoints.steps:
            last = held.checkpoints.held[-1]
            held.put_back(last)
            restore(self.optimizer, held.settings.keep, last.going_on)
            return
        self._due = random_now(held.settings.keep)
        self.flush()
        if held.folder is not None:
            held.folder.begin(held.identity, fixed_parts(held.model))

    def _release(self) -> None:
        if self.held.folder is not None:
            self.held.folder.close()

    def _before_step(self, _optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.flush()
        step = self.held.n_steps
        pieces, dropped = self.listener.take()
        options = self._watch.look(step, args, kwargs)
        norms, moved = self._watch.gradients(step)
        self._begun = StepNote(pieces, options, norms, moved, dropped)

    def _after_step(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        held, note = self.held, self._begun
        assert note is not None  # the hook before it made one
        held.notes.append(note)
        self._begun = None
        self._watch.mark()
        self.listener.step = held.n_steps
        if held.checkpoints.due(held.n_steps):
            self._due = {} if held.folder is None else random_now(held.settings.keep)
