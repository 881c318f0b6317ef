"""A recorded training, and the questions that it answers."""

import copy
import os
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from trivium._core.errors import ArgumentError, DataError
from trivium._core.tensor_file import as_written
from trivium.pathkernel.asked import BUDGET, Held
from trivium.pathkernel.checkpoints import Checkpoints
from trivium.pathkernel.checkpoints_only import from_checkpoints
from trivium.pathkernel.identity import check_identity, fixed_parts, identity
from trivium.pathkernel.index import Index
from trivium.pathkernel.index_build import build_index
from trivium.pathkernel.live import Live, refuse_nested
from trivium.pathkernel.loader import NotedLoader
from trivium.pathkernel.note_form import NoteForm
from trivium.pathkernel.notes import Checkpoint, StepNote
from trivium.pathkernel.questions import Questions
from trivium.pathkernel.recording_folder import RecordingFolder
from trivium.pathkernel.recurrence import recurrence_of
from trivium.pathkernel.replay import Replay
from trivium.pathkernel.row_store import RowStore
from trivium.pathkernel.run import Run, unguarded
from trivium.pathkernel.settings import Settings
from trivium.pathkernel.weights import Weights, uncompiled
from trivium.pathkernel.whole import write_whole

__all__ = ["Recording"]

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, np.float32, np.float64)


class Recording(Questions):
    """A training as it happened; made by `record`, or read by `Recording.load`.

    It is entered once, around the loop. After an exception in the loop it holds the steps up to
    there, its hooks are gone, and the model is as the loop left it.

    Attributes:
        model: The model that was trained.
        optimizer: What trained it.
        rows: The training rows seen.
        notes: What was noted of each step.
        checkpoints: States of the model and the optimizer to replay from.

    Example:
        >>> import tempfile, torch
        >>> from torch.nn import functional as F
        >>> from trivium.pathkernel import record
        >>> x, y = torch.randn(40, 3), torch.randint(2, (40,))
        >>> net = torch.nn.Linear(3, 2)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with record(net, optimizer, F.cross_entropy) as recording:
        ...     for ids in torch.arange(40).split(8):
        ...         recording.batch(ids)
        ...         optimizer.zero_grad()
        ...         F.cross_entropy(net(x[ids]), y[ids]).backward()
        ...         optimizer.step()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     recording.save(folder + "/run")
        ...     again = Recording.load(folder + "/run", net, optimizer, F.cross_entropy)
        ...     again.n_steps, len(again.ids)
        (5, 40)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss: Callable[..., Tensor],
        settings: Settings,
        folder: RecordingFolder | None = None,
    ) -> None:
        called, model = model, uncompiled(model)
        refuse_nested(model)
        self.model, self.optimizer = model, optimizer
        self.settings = settings
        self.recurrence = recurrence_of(optimizer)
        self.rows = RowStore()
        self.notes: list[StepNote] = []
        self.chord, self.budget = settings.chord, settings.budget
        self.weights = Weights(model, "record")
        self.identity = identity(model, optimizer, loss, settings)
        self.folder = folder
        read = None if folder is None else folder.checkpoint
        self.checkpoints = Checkpoints(settings.stride, settings.budget, read)
        self._replay = Replay(model, optimizer, loss, self.recurrence, self.rows)
        self._live, self._guard = Live(self, called, loss), unguarded

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        model: nn.Module,
        optimizer: Optimizer,
        loss: Callable[..., Tensor],
    ) -> "Recording":
        """Read a recording, to ask it; neither model nor optimizer is changed.

        Args:
            path: The folder of `record(store=...)` or of `save`.
            model: A model of the recorded form, whatever its weights.
            optimizer: An optimizer of the recorded kind on that model.
            loss: The recorded loss.

        Raises:
            ModelError: The folder has no recording, or a damaged one; nothing of it was used.
            ArgumentError: Another model, optimizer or loss was recorded.

        Cost:
            Notes and rows are read into memory; checkpoints when they are needed.
        """
        folder = RecordingFolder(path, "Recording.load", Weights(model, "load").tensors[0].device)
        about, _ = folder.about()
        with as_written("Recording.load", path, "a recording"):
            told = about["settings"]
            settings = Settings(told["every"], told["stride"], augmented=told["augmented"])
        recording = cls(model, optimizer, loss, settings, folder)
        recording.reopen("Recording.load")
        recording._live.used = True
        return recording

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recording to a new folder: whole, or not at all.

        Args:
            path: The folder; it must not exist, or be empty.

        Raises:
            ArgumentError: The recording is still open, or a call of model or loss in it had
                arguments that are neither tensors nor plain values.
            OutputError: The folder holds something, or cannot be written.
            ResourceError: The disk is full.
        """
        self.run("save")
        write_whole(path, self, fixed_parts(self._replay.model))

    @property
    def n_steps(self) -> int:
        """Steps recorded; in a resumed loop, the step to go on with."""
        return len(self.notes)

    @property
    def skipped(self) -> dict[int, int]:
        """Steps that a gradient scaler skipped: before which step, and batches thrown away."""
        return {at: len(note.dropped) for at, note in enumerate(self.notes) if note.dropped}

    @property
    def precision(self) -> torch.dtype:
        """The coarsest dtype that the training computed in: autocast's, or the weights'."""
        used = (
            kind for note in self.notes for one in note.pieces for kind in one.autocast.values()
        )
        return next(used, self.weights.tensors[0].dtype)

    @property
    def couples_rows(self) -> bool:
        """Whether rows shared their batch's moments: batch normalization that was training."""
        kind = nn.modules.batchnorm._BatchNorm
        norms = [i for i, one in enumerate(self.model.modules()) if isinstance(one, kind)]
        modes = {one.modes for note in self.notes for one in note.pieces}
        return any(mode[i] for mode in modes for i in norms)

    @property
    def ids(self) -> list[Hashable]:
        """The training rows' ids, in the order of contributions."""
        return self.rows.ids

    def __enter__(self) -> "Recording":
        self._live.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.close()

    def batch(self, ids: Sequence[Hashable] | Tensor) -> None:
        """Note the ids of the rows that the next forwards get, until the step.

        Args:
            ids: Whole numbers or strings, one for each row, in its order; a tensor, an array or
                a list. One may come several times. A row's id stands for its input and its target.

        Raises:
            ArgumentError: Not such ids.
        """
        if isinstance(ids, Tensor | np.ndarray):
            listed = ids.tolist() if ids.ndim == 1 and ids.dtype not in _FLOATS else []
        else:
            plain = (Tensor, np.generic)
            listed = [one.item() if isinstance(one, plain) else one for one in ids]
            listed = listed if all(isinstance(one, Hashable) for one in listed) else []
        if not listed:
            raise ArgumentError(
                "batch: ids must be a list or one axis of whole numbers or strings; "
                f"got {ids!r:.80}"
            )
        self._live.expect(listed)

    def loader(self, loader: DataLoader[Any], skip: int = 0) -> NotedLoader:
        """Wrap a data loader: the same batches, their rows noted; see `NotedLoader`.

        Args:
            loader: Over a dataset with indices, which are the rows' ids; any sampler and workers.
            skip: Batches of the first pass to leave out, in a resumed training.

        Raises:
            ArgumentError: The loader's rows have no indices.
        """
        return NotedLoader(loader, self.batch, skip)

    def loss(self, output: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Call the loss so that the recording hears it, whatever kind of function it is."""
        return self._live.listener.called(output, target, *args, **kwargs)

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
        if self._live.on:
            raise ArgumentError(f"{caller}: ask after the recording is closed; it is still open")
        if not self.notes:
            raise DataError(f"{caller}: the recording must have a step; got none")
        return Run(self._replay, self.checkpoints, self.notes, self.chord, self.budget, self._guard)

    def sent(self, caller: str) -> Callable[[], Run]:
        """Return what another process makes the run from: the folder where all is in it."""
        run = self.run(caller)
        if self.folder is None or self.folder.n_steps != self.n_steps:
            return Held(run)
        form = (run.replay.model, run.replay.optimizer, run.replay.loss)
        return partial(_read_run, os.fspath(self.folder.path.absolute()), self.budget, *form)

    def reopen(self, caller: str) -> None:
        """Read what the folder holds.

        Raises:
            ModelError: It is missing or damaged.
            ArgumentError: Another model, optimizer, loss or setting was recorded.
        """
        assert self.folder is not None  # called for a recording in a folder only
        about, fixed = self.folder.about()
        device = self.weights.tensors[0].device
        with as_written(caller, self.folder.path, "a recording"):
            check_identity(caller, about, self.identity)
            held = self.folder.read(NoteForm.of(self._replay, self.settings.augmented))
            self.rows.fill(held.ids, [leaf.to(device) for leaf in held.leaves])
            self.notes[:] = held.notes
            self.checkpoints.steps[:] = held.steps
            self._replay.write_fixed(fixed)
        self.folder.form = self._replay.checkpoint(0)
        self._guard = self.folder.replaying

    def put_back(self, checkpoint: Checkpoint) -> None:
        """Put model and optimizer into a recorded state."""
        self._replay.restore(checkpoint)
        with torch.no_grad():
            for own, copied in zip(
                [*self.model.parameters(), *self.model.buffers()],
                [*self._replay.model.parameters(), *self._replay.model.buffers()],
                strict=True,
            ):
                own.copy_(copied)
        for p, state in zip(self.weights.tensors, checkpoint.state, strict=True):
            self.optimizer.state[p] = {
                key: value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
                for key, value in state.items()
            }


def _read_run(path: str, budget: int, *form: Any) -> Run:
    recording = Recording.load(path, *form)
    recording.budget = budget
    return recording.run("Recording.load")
