"""One worker process and the line to it, as its parent sees them."""

import os
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from joblib.externals.loky.backend.process import LokyProcess

from trivium.parallel.worker import FRAME, serve

__all__ = ["Message", "WorkerProcess"]

Message = tuple[bytes, int, bytearray]
"""What it is, the number of its block, its bytes."""

_CHUNK = 1 << 20  # bytes read or sent at once
_START = 120.0  # seconds that a worker may take to start; only where blocks have a time limit
_GRACE = 1.0  # seconds for a process that is ending to end
_ONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class WorkerProcess:
    """A process that runs blocks; nothing here waits for it but `end`.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self) -> None:
        self.line, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = LokyProcess(target=serve, args=(theirs, os.getpid()), env=dict(_ONE))
                self.process.start()
        except BaseException:
            self.line.close()
            raise
        self.line.setblocking(False)
        self.given: deque[int] = deque()  # blocks: the first one runs
        self.ready = False
        self._since = time.monotonic()  # the first block began, or something was heard
        self._out: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._in, self._have = bytearray(FRAME.size), 0
        self._head: Message | None = None

    def put(self, kind: bytes, number: int, body: bytes = b"", handles: Sequence[int] = ()) -> None:
        """Take a message for the process, and an open file that goes with it."""
        if not self.given:
            self._since = time.monotonic()
        self._out.append((memoryview(FRAME.pack(kind, number, len(body)) + body), handles))
        self.push()

    def push(self) -> None:
        """Send what goes without waiting."""
        try:
            while self._out:
                data, handles = self._out[0]
                if handles:
                    sent = socket.send_fds(self.line, [data[:_CHUNK]], handles)
                else:
                    sent = self.line.send(data[:_CHUNK])
                self._out[0] = (data[sent:], ())
                if sent == len(data):
                    self._out.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()  # it is gone; `pull` says so once all that it sent is read

    @property
    def pushing(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._out)

    def pull(self) -> Message | None:
        """Return the next whole message, or nothing where none has come yet.

        Raises:
            EOFError: The process is gone; all that it had sent whole has been returned before.
        """
        try:
            while True:
                while self._have < len(self._in):
                    rest = memoryview(self._in)[self._have : self._have + _CHUNK]
                    got = self.line.recv_into(rest)
                    if not got:
                        raise EOFError
                    self._have += got
                    self._since = time.monotonic()
                data, head = self._in, self._head
                if head is None:
                    kind, number, size = FRAME.unpack(data)
                    self._head = (kind, number, bytearray(size))
                    self._in, self._have = self._head[2], 0
                else:
                    self._head = None
                    self._in, self._have = bytearray(FRAME.size), 0
                    return head
        except BlockingIOError:
            return None
        except OSError:
            raise EOFError from None

    @property
    def gone(self) -> bool:
        """Whether the process has ended, also where its line is held open by a child of its own."""
        return self.process.exitcode is not None

    def patience(self, timeout: float) -> float:
        """Return the seconds left to the block that runs; below zero it hangs."""
        allowed = timeout if self.ready else max(timeout, _START)
        return self._since + allowed - time.monotonic()

    def end(self, grace: float = 0.0) -> str:
        """Hang up, kill, and wait until the process is gone; return how it ended."""
        self.line.close()
        self._out.clear()
        pid = self.process.pid
        if pid is not None and self.process.exitcode is None:
            until = time.monotonic() + grace
            while not _ended(pid) and time.monotonic() < until:
                time.sleep(0.005)
            with suppress(OSError):
                if os.getpgid(pid) == pid:  # it may not have come so far
                    os.killpg(pid, signal.SIGKILL)  # with all that its blocks have started
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.join()
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"its process ended with code {code}"
        return f"its process was killed by {signal.Signals(-code).name}"


def _ended(pid: int) -> bool:
    """Whether a child has ended; it keeps its number until it is waited for."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13: it is given all its grace
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except OSError:
        return True
