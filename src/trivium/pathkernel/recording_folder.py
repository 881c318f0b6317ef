"""A recording in a folder: safetensors and JSON, appended at each checkpoint.

A state is written first and the part of notes and rows that leads to it second; each file is
written whole or not at all. A process that is killed loses the steps since its last checkpoint.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium._core.atomic import named_errors, remove_leftovers
from trivium._core.errors import BusyError, ModelError, OutputError
from trivium._core.file_lock import try_lock
from trivium._core.tensor_file import as_written, read_tensors, write_tensors
from trivium.pathkernel.note_form import NoteForm, check_rows
from trivium.pathkernel.notes import Checkpoint, StepNote
from trivium.pathkernel.plain import as_plain, from_plain
from trivium.pathkernel.row_store import RowStore

__all__ = ["RecordingFolder"]

_ABOUT, _PART, _STATE = (f"trivium.recording.{one}/1" for one in ("about", "part", "state"))


@dataclass(frozen=True)
class _Held:
    """What the parts of a folder hold together."""

    ids: list[Any]
    leaves: list[Tensor]
    notes: list[StepNote]
    steps: list[int]


class RecordingFolder:
    """The files of one recording.

    Args:
        path: The folder; made when it is not there.
        caller: The public name that was called.
        device: Where the model is.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        caller: str = "record",
        device: torch.device | None = None,
    ) -> None:
        self.path, self.caller = Path(path), caller
        self.device = device or torch.device("cpu")
        self.n_rows = self.n_steps = 0
        self.form: Checkpoint | None = None  # one as those of the folder must be
        self._lock: int | None = None
        self._ends: list[int] = []  # the steps that the parts read lead to

    @property
    def begun(self) -> bool:
        """Whether the folder holds a recording."""
        return (self.path / "recording.safetensors").exists()

    def open(self) -> None:
        """Make the folder and keep other processes from writing to it.

        Raises:
            OutputError: It cannot be made, or holds something else.
            ResourceError: The disk is full.
            BusyError: Another process is recording into it.
        """
        with named_errors(self.caller, self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            locked = try_lock(self._lock)
        except OSError as error:
            self.close()
            raise OutputError(
                f"{self.caller}: cannot lock {self.path}: {error.strerror}"
            ) from error
        if locked is False:
            self.close()
            raise BusyError(
                f"{self.caller}: one process may record into a folder; another one is at work",
                where=str(self.path),
            )
        remove_leftovers(self.path)
        strange = sorted(one.name for one in self.path.iterdir() if not _ours(one.name))
        if strange:
            self.close()
            raise OutputError(
                f"{self.caller}: store must be a new or empty folder, or one of a recording; got "
                f"one with {strange[0]}",
                where=str(self.path),
                code="E-EXISTS",
            )

    def close(self) -> None:
        """Let other processes write to it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def begin(self, about: Mapping[str, Any], fixed: Mapping[str, Tensor]) -> None:
        """Write what is recorded: the form of the model, the optimizer and the loss."""
        self._write("recording", _ABOUT, fixed, about)

    def about(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Read what `begin` wrote.

        Raises:
            ModelError: It is not there, or damaged.
        """
        fixed, about = read_tensors(self.caller, self.path / "recording.safetensors", _ABOUT)
        return about, fixed

    def append(
        self,
        checkpoint: Checkpoint,
        rows: RowStore,
        notes: Sequence[StepNote],
        steps: Sequence[int],
    ) -> None:
        """Write a checkpoint, and the rows and notes since the one before.

        Args:
            checkpoint: The state of now.
            rows: All rows.
            notes: All notes.
            steps: The steps of the checkpoints that are kept.

        Raises:
            OutputError: It cannot be written; what was there before is intact.
        """
        held = {
            "weights": checkpoint.weights,
            "buffers": checkpoint.buffers,
            "state": checkpoint.state,
            "going_on": checkpoint.going_on,
        }
        text, tensors = as_plain(self.caller, held)
        self._write(f"state-{checkpoint.step:08d}", _STATE, tensors, {"held": text})
        new = {
            "ids": rows.ids[self.n_rows :],
            "leaves": [leaf[self.n_rows :] for leaf in rows.all_leaves()],
            "notes": list(notes[self.n_steps : checkpoint.step]),
        }
        text, tensors = as_plain(self.caller, new)
        about = {"start": self.n_steps, "steps": list(steps), "held": text}
        self._write(f"part-{checkpoint.step:08d}", _PART, tensors, about)
        self.n_rows, self.n_steps = rows.n_rows, checkpoint.step
        for one in self.path.glob("state-*.safetensors"):
            if int(one.stem.removeprefix("state-")) not in steps:
                one.unlink(missing_ok=True)

    def read(self, form: NoteForm) -> _Held:
        """Read all parts.

        Args:
            form: What notes of this model and optimizer must be.

        Raises:
            ModelError: One is missing or damaged, or a checkpoint is missing.
        """
        held = _Held([], [], [], [])
        columns: list[list[Tensor]] = []
        paths = sorted(self.path.glob("part-*.safetensors"))
        ends = [self._read_part(path, held, columns) for path in paths]
        if not held.steps:
            raise ModelError(
                f"{self.caller}: the recording must have a checkpoint; it has none",
                where=str(self.path),
            )
        if held.steps[-1] != len(held.notes):
            raise ModelError(
                f"{self.caller}: a recording needs all its parts; that before step "
                f"{held.steps[-1]} is missing",
                where=str(self.path),
            )
        held.leaves.extend(torch.cat(list(one)) for one in zip(*filter(None, columns), strict=True))
        for step in held.steps:
            if not self._state(step).exists():
                raise ModelError(
                    f"{self.caller}: a recording needs all its checkpoints; that before step "
                    f"{step} is missing",
                    where=str(self._state(step)),
                )
        for path, first, last in zip(paths, [0, *ends], ends, strict=False):
            with as_written(self.caller, path, "a part's notes"):
                for note in held.notes[first:last]:
                    form.check(note, held.leaves, len(held.ids))
        self.n_rows, self.n_steps = len(held.ids), len(held.notes)
        self._ends = ends
        return held

    def _read_part(self, path: Path, held: _Held, columns: list[list[Tensor]]) -> int:
        """Add what a part holds; return the step that it leads to."""
        tensors, about = read_tensors(self.caller, path, _PART)
        if about.get("start") != len(held.notes):
            raise ModelError(
                f"{self.caller}: the parts of a recording must follow one another; the one "
                f"before step {about.get('start')} is missing",
                where=str(path),
            )
        with as_written(self.caller, path, "a part's rows and notes"):
            new = from_plain(about["held"], tensors, self.device)
            check_rows(new["ids"], new["leaves"], columns, set(held.ids))
            held.ids.extend(new["ids"])
            held.notes.extend(new["notes"])
            columns.append(new["leaves"])
            held.steps[:] = about["steps"]
            _check_steps(held.steps)
        return len(held.notes)

    @contextmanager
    def replaying(self, first: int, last: int) -> Iterator[None]:
        """Refuse the notes of some steps where repeating them stumbles.

        Raises:
            ModelError: It does; the message names the parts that hold them.
        """
        ends = zip([0, *self._ends], self._ends, strict=False)
        parts = [
            f"part-{end:08d}.safetensors" for start, end in ends if start < last and end > first
        ]
        if not parts:  # made here, since it was read
            yield
            return
        where = self.path / " to ".join(dict.fromkeys([parts[0], parts[-1]]))
        with as_written(self.caller, where, f"steps {first} to {last} as they were made"):
            yield

    def checkpoint(self, step: int) -> Checkpoint:
        """Read one state.

        Raises:
            ModelError: It is missing or damaged.
        """
        path = self._state(step)
        tensors, about = read_tensors(self.caller, path, _STATE)
        with as_written(self.caller, path, "a state of the model and its optimizer"):
            held = from_plain(about["held"], tensors, self.device)
            found = Checkpoint(step, **held)
            if self.form is not None and found.form != self.form.form:
                raise ValueError("its weights, buffers or states are not those of the model")
        return found

    def _state(self, step: int) -> Path:
        return self.path / f"state-{step:08d}.safetensors"

    def _write(
        self, name: str, kind: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
    ) -> None:
        write_tensors(self.caller, self.path / f"{name}.safetensors", kind, tensors, about)


def _ours(name: str) -> bool:
    return name.startswith(".") or name.endswith(".safetensors")


def _check_steps(steps: Sequence[Any]) -> None:
    if not all(type(step) is int for step in steps) or list(steps) != sorted({0, *steps}):
        raise ValueError("its checkpoints are not those of steps from 0 on, in order")
