"""Standard streams that outlive their reader: a closed pipe or descriptor stops no command."""

import io
import os
import sys
from typing import Any

__all__ = ["hold_streams"]


class _Patient(io.RawIOBase):
    """Writes to a descriptor until its reader is gone, and from then on to nowhere."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def fileno(self) -> int:
        return self._handle

    def isatty(self) -> bool:
        return os.isatty(self._handle)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            return os.write(self._handle, data)
        except BrokenPipeError:
            self._forget()
            return len(data)
        except OSError:
            # Said once; what is left in the buffer must not fail again when the process ends.
            self._forget()
            raise

    def _forget(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._handle)
        os.close(nowhere)


def hold_streams(*, own: bool) -> None:
    """Make stdout and stderr fit for anything that is printed.

    Args:
        own: Whether the process is the command's: then closed descriptors are also filled, so
            that no file of ours gets their number, and a reader that leaves is no fault.
    """
    if own:
        _fill()
        sys.stdout, sys.stderr = _held(sys.stdout), _held(sys.stderr, lines=True)
    sys.stdout = sys.stdout or io.TextIOWrapper(io.BytesIO())
    sys.stderr = sys.stderr or io.TextIOWrapper(io.BytesIO())
    for stream in (sys.stdout, sys.stderr):
        # LANG=C must not turn a label into a crash. A stream of text that is held, and that of a
        # notebook, take every character.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fill() -> None:
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _held(stream: Any, *, lines: bool = False) -> Any:
    if stream is None:
        return None
    stream.flush()
    lines = lines or stream.isatty()
    writer = io.BufferedWriter(_Patient(stream.fileno()))
    return io.TextIOWrapper(writer, stream.encoding, line_buffering=lines)
