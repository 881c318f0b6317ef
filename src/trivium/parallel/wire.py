"""What crosses from one process to another: objects as bytes, and one unnamed file to share.

The bytes are Python's own between the processes of one run, written by cloudpickle so that a
function from a script or a notebook travels too. They are never kept, and never read from a file
that has a name: what is kept goes through `trivium._core.packed`, which runs no code.
"""

import io
import mmap
import os
import secrets
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import cloudpickle
import numpy as np
import torch
from torch import Tensor

from trivium._core.atomic import named_errors
from trivium._core.errors import ArgumentError
from trivium.parallel.task import BlockTask, Outcome

__all__ = ["Bundle", "Parcel", "from_bytes", "open_outcome", "read_parcel", "seal", "to_bytes"]

_PROTOCOL = 5
_ALIGNED = 64  # bytes
_WAY_OUT = "Make it of plain data, arrays and tensors, or use the executor 'serial' or 'threads'."


class _Pickler(cloudpickle.Pickler):
    """Tensors as arrays, whose bytes travel once and can stay outside the stream."""

    def reducer_override(self, value: Any) -> Any:
        """Take a plain tensor on the CPU apart into its bytes; leave the rest."""
        if (
            type(value) is Tensor
            and value.layout is torch.strided
            and value.device.type == "cpu"
            and not (value.requires_grad or value.is_conj() or value.is_neg())
        ):
            order = sorted(range(value.dim()), key=value.stride, reverse=True)
            whole = value.permute(order)
            if whole.is_contiguous():  # else its strides would be lost, and sums go by strides
                raw = whole.reshape(-1).view(torch.uint8).numpy()
                return _tensor, (raw, value.dtype, tuple(whole.shape), tuple(order))
        return super().reducer_override(value)


def _tensor(
    raw: np.ndarray, dtype: torch.dtype, shape: tuple[int, ...], order: tuple[int, ...]
) -> Tensor:
    flat = torch.from_numpy(raw) if raw.flags.writeable else torch.tensor(raw)
    if flat.data_ptr() % _ALIGNED:  # as torch itself aligns: a product's last bits may go by it
        flat = flat.clone()
    whole = flat.view(dtype).reshape(shape)
    return whole.permute([order.index(axis) for axis in range(len(order))])


def _pickled(value: Any, keep: Callable[[Any], Any] | None) -> bytes:
    out = io.BytesIO()
    _Pickler(out, protocol=_PROTOCOL, buffer_callback=keep).dump(value)
    return out.getvalue()


def to_bytes(value: Any, caller: str, what: str, remedy: str = _WAY_OUT) -> bytes:
    """Return an object as bytes.

    Raises:
        ArgumentError: It cannot leave this process; the message says what.
    """
    return _named(value, caller, what, remedy, None)


def _named(
    value: Any, caller: str, what: str, remedy: str, keep: Callable[[Any], Any] | None
) -> bytes:
    try:
        return _pickled(value, keep)
    except MemoryError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"{caller}: {what} must pickle to reach another process; "
            f"got {type(value).__name__}: {type(error).__name__}: {error}",
            remedy=remedy,
        ) from error


def from_bytes(data: Any) -> Any:
    """Return the object that `to_bytes` took."""
    return cloudpickle.loads(data)


def seal(caller: str, task: BlockTask, block: Any, shared: Any, number: int) -> bytes:
    """Run a block and return what it gave as bytes; nothing is raised but what ends a worker."""
    try:
        outcome = task(block, shared)
    except BaseException as error:  # SystemExit too is the function's, and goes to the caller
        outcome = Outcome(error, raised=True, where=traceback.format_exc())
    if outcome.raised:
        outcome = _portable(caller, outcome, number)
    try:
        return to_bytes(outcome, caller, f"the result of block {number}")
    except ArgumentError as error:
        return _pickled(Outcome(error, raised=True, where=outcome.where), None)


def _portable(caller: str, outcome: Outcome, number: int) -> Outcome:
    """Return the outcome where its error survives the way, else one that says what it was."""
    error = outcome.value
    try:
        if type(from_bytes(_pickled(error, None))) is type(error):
            return outcome
        why = "it comes back as something else"
    except Exception as problem:
        why = f"{type(problem).__name__}: {problem}"
    said = ArgumentError(
        f"{caller}: an error raised in block {number} must pickle to leave its process; "
        f"got {type(error).__name__}: {error} ({why})",
        remedy="Give its class `__reduce__`, or pass all arguments on to `Exception.__init__`.",
    )
    return Outcome(said, raised=True, where=outcome.where, warned=outcome.warned)


def open_outcome(data: Any, caller: str, number: int) -> Outcome:
    """Return what `seal` sealed.

    Raises:
        ArgumentError: The result does not come out of its bytes.
    """
    try:
        return from_bytes(data)
    except MemoryError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"{caller}: the result of block {number} must come out of its pickle; "
            f"got {type(error).__name__}: {error}",
            remedy=_WAY_OUT,
        ) from error


@dataclass(frozen=True)
class Bundle:
    """A task and what is shared, as bytes; the arrays in it are the ones of the objects.

    Args:
        key: A name of its own.
        function: The task.
        stream: What is shared, without its arrays.
        arrays: The bytes of these.
    """

    key: str
    function: bytes
    stream: bytes
    arrays: tuple[Any, ...]

    @classmethod
    def pack(cls, caller: str, task: BlockTask, shared: Any) -> "Bundle":
        """Take a task and what is shared apart.

        Raises:
            ArgumentError: The function or what is shared cannot leave this process.
        """
        kept: list[Any] = []
        way_out = (
            "Define it at the top of a module, without open files, locks or connections in it, "
            "or use the executor 'serial' or 'threads'."
        )
        function = to_bytes(task, caller, "function", way_out)
        stream = _named(shared, caller, "shared", _WAY_OUT, kept.append)
        arrays = tuple(np.frombuffer(buffer.raw(), np.uint8) for buffer in kept)
        return cls(secrets.token_hex(8), function, stream, arrays)

    def open(self) -> tuple[BlockTask, Any]:
        """Return the task and what is shared; made once in a process, kept until the next one."""
        with _lock:
            if self.key not in _opened:
                while len(_opened) > 1:  # two, where two pieces of work go on at once
                    del _opened[next(iter(_opened))]
                shared = cloudpickle.loads(self.stream, buffers=self.arrays)
                _opened[self.key] = (from_bytes(self.function), shared)
            return _opened[self.key]


_opened: dict[str, tuple[BlockTask, Any]] = {}
_lock = Lock()


@dataclass(frozen=True)
class Parcel:
    """A bundle in a file without a name: gone with the last process that holds it.

    Arrays lie in it as they are in memory, so that all workers of a machine map the same pages.

    Args:
        file: Open for reading and writing.
        spans: Where each part begins, and its bytes: task, stream, arrays.
    """

    file: BinaryIO
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def write(cls, caller: str, bundle: Bundle) -> "Parcel":
        """Write the file.

        Raises:
            ResourceError: The disk is full.
            OutputError: There is no folder for temporary files that can be written to.
        """
        spans = []
        with named_errors(caller, Path("the folder for temporary files")):
            file: BinaryIO = tempfile.TemporaryFile(prefix="trivium-")  # noqa: SIM115 - see close
            try:
                for part in (bundle.function, bundle.stream, *bundle.arrays):
                    file.seek(-file.tell() % _ALIGNED, io.SEEK_CUR)
                    spans.append((file.tell(), memoryview(part).nbytes))
                    file.write(part)
                file.flush()
            except BaseException:
                file.close()
                raise
        return cls(file, tuple(spans))

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()


def read_parcel(handle: int, spans: tuple[tuple[int, int], ...]) -> tuple[BlockTask, Any]:
    """Return the task and what is shared, mapped from the open file `handle`, which is closed.

    What a block writes into the shared arrays is seen by its own worker only.
    """
    try:
        pages = mmap.mmap(handle, 0, access=mmap.ACCESS_COPY)
    finally:
        os.close(handle)
    function, stream, *arrays = (memoryview(pages)[at : at + size] for at, size in spans)
    return from_bytes(function), cloudpickle.loads(stream, buffers=arrays)
