"""What runs in a worker process: blocks in, sealed outcomes out, over one socket."""

import os
import select
import signal
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

from trivium._core.errors import ArgumentError
from trivium._core.threads import one_thread
from trivium.parallel.task import Outcome
from trivium.parallel.wire import from_bytes, read_parcel, seal, to_bytes

__all__ = ["BLOCK", "DONE", "FORGET", "FRAME", "READY", "WORK", "serve"]

# A message: what it is, the number of its block, the bytes that follow.
FRAME = struct.Struct("<cqQ")
WORK, BLOCK, FORGET, READY, DONE = b"w", b"b", b"f", b"r", b"d"
_LOOK = 5000  # milliseconds between looks whether the parent still lives


def serve(line: socket.socket, parent: int) -> None:
    """Run blocks until the other end of the line is closed; then this process ends.

    Args:
        line: Messages come in and go out here.
        parent: Its process; without it there is nobody to work for.
    """
    with suppress(OSError):
        os.setsid()  # with all that a block starts, out of reach of a terminal's Ctrl-C
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line.setblocking(True)
    threading.Thread(target=_watch, args=(line.fileno(), parent), daemon=True).start()
    with one_thread():
        _answer(line)
    os._exit(0)


def _watch(handle: int, parent: int) -> None:
    """End this process, and what it has started, at once when the parent hangs up or is gone."""
    poll = select.poll()
    poll.register(handle, 0)  # hang-ups only
    while not poll.poll(_LOOK) and os.getppid() == parent:
        pass
    with suppress(OSError):
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _answer(line: socket.socket) -> None:
    """Answer each message until the line is closed."""
    caller, task, shared = "", None, None
    problem: Exception | None = None
    while True:
        head, handles = _exactly(line, FRAME.size)
        if not head:
            return
        kind, number, size = FRAME.unpack(head)
        body, _ = _exactly(line, size)
        if kind == BLOCK:
            _send(line, DONE, number, _run(caller, task or problem, body, shared, number))
            continue
        task = shared = problem = None  # the old pages go before the new ones come
        if kind == WORK:
            try:
                caller, spans = from_bytes(body)
                task, shared = read_parcel(handles[0], spans)
            except Exception as error:
                problem = error
            _send(line, READY, number, b"")


def _run(caller: str, task: Any, body: Any, shared: Any, number: int) -> bytes:
    """Return what a block gave, or why it could not run."""
    try:
        if isinstance(task, Exception):
            raise task
        block = from_bytes(body)
    except Exception as error:
        return _failed(caller, error)
    try:
        return seal(caller, task, block, shared, number)
    except MemoryError as error:
        return _failed(caller, error)


def _failed(caller: str, error: Exception) -> bytes:
    if isinstance(error, MemoryError):
        said: Exception = MemoryError(str(error))
    else:
        said = ArgumentError(
            f"{caller}: function, shared and blocks must come out of their pickle in a worker; "
            f"got {type(error).__name__}: {error}",
            remedy="Define what they use in the script itself, or in a module that is installed.",
        )
    return to_bytes(Outcome(said, raised=True), caller, "an error")


def _exactly(line: socket.socket, size: int) -> tuple[bytearray, list[int]]:
    """Read that many bytes, and the open files that come with them; nothing at the end."""
    data, have = bytearray(size), 0
    handles: list[int] = []
    while have < size:
        part, more, _, _ = socket.recv_fds(line, min(size - have, 1 << 20), 1)
        if not part:
            return bytearray(), handles
        data[have : have + len(part)] = part
        have += len(part)
        handles += more
    return data, handles


def _send(line: socket.socket, kind: bytes, number: int, body: bytes) -> None:
    line.sendall(FRAME.pack(kind, number, len(body)))
    line.sendall(body)
