"""Writing a recording that is over: the whole of it, or nothing."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from trivium._core.atomic import atomic_folder, named_errors
from trivium._core.errors import OutputError
from trivium.pathkernel.recording_folder import RecordingFolder
from trivium.pathkernel.row_store import RowStore

if TYPE_CHECKING:
    from trivium.pathkernel.recording import Recording

__all__ = ["write_whole"]


def write_whole(
    path: str | os.PathLike[str], recording: "Recording", fixed: Mapping[str, Tensor]
) -> None:
    """Write a recording to a new folder.

    Raises:
        ArgumentError: A call of model or loss had arguments that are not plain values.
        OutputError: The folder holds something, or cannot be written.
        ResourceError: The disk is full.
    """
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(
            "save: path must be a new or empty folder; got one with something in it",
            where=str(target),
            code="E-EXISTS",
        )
    held, steps = recording.checkpoints.held, recording.checkpoints.steps
    with named_errors("save", target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()
    with atomic_folder(target, caller="save") as aside:
        folder = RecordingFolder(aside, "save")
        for number, one in enumerate(held):
            # Rows are not kept by step: the last part has them all.
            rows = recording.rows if number == len(held) - 1 else RowStore()
            folder.append(one, rows, recording.notes, steps)
        folder.begin(recording.identity, fixed)
