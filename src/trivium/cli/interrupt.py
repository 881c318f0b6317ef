"""Signals that end a command: raised where it is, and again where a library lost the exception."""

import signal
import sys
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interruption", "Terminated"]

_AGAIN = 0.05  # seconds


class Terminated(BaseException):
    """SIGTERM arrived."""


class Interruption:
    """Turns SIGINT and SIGTERM into exceptions that reach the end of the command.

    An exception that a handler raises inside compiled code may be dropped there, or come out as
    an error of another class. So it is raised again, until `stop`, whenever neither it nor what
    it was turned into is under way; clean-up is let run.

    Args:
        own: Whether the process is the command's: then, after `stop`, a signal ends it at once
            and without a word.

    Attributes:
        asked: What was raised, if anything.
    """

    def __init__(self, *, own: bool) -> None:
        self.asked: BaseException | None = None
        self._own = own
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        for number, handler in (
            (signal.SIGINT, self._on_interrupt),
            (signal.SIGTERM, self._on_terminate),
        ):
            self._before[number] = signal.signal(number, handler)
        if hasattr(signal, "SIGALRM"):
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Raise nothing any more: the end has begun."""
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if self._own else handler)
        self._before = {}

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._raise(KeyboardInterrupt())

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        self._raise(Terminated())

    def _raise(self, error: BaseException) -> None:
        self.asked = error
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
        raise error

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None and not _came_from(sys.exception(), self.asked):
            raise self.asked


def _came_from(error: BaseException | None, first: BaseException) -> bool:
    """Tell whether an exception being handled is `first` or was raised while handling it."""
    while error is not None:
        if error is first:
            return True
        error = error.__context__
    return False
