"""Writing a recording that is over: the whole of it, or nothing."""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

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
    """
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(
            "save: path must be a new or empty folder; got one with something in it",
            where=str(target),
            code="E-EXISTS",
        )
    aside = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    held, steps = recording.checkpoints.held, recording.checkpoints.steps
    try:
        aside.mkdir(parents=True)
        folder = RecordingFolder(aside, "save")
        for number, one in enumerate(held):
            # Rows are not kept by step: the last part has them all.
            rows = recording.rows if number == len(held) - 1 else RowStore()
            folder.append(one, rows, recording.notes, steps)
        folder.begin(recording.identity, fixed)
        os.replace(aside, target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"save: cannot write {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
