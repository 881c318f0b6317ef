"""What a worker runs for one block, and what comes back from it."""

import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock, local
from typing import Any

from trivium._core.errors import TriviumError
from trivium._core.threads import one_thread

__all__ = ["BlockTask", "Outcome", "RemoteTraceback", "WorkerLost", "listening"]

Heard = list[tuple[type[Warning], str]]


class WorkerLost(Exception):  # noqa: N818 - not an error of the user's: the block runs again
    """A block ended without a result: its worker died, hung, or had no memory left."""


class RemoteTraceback(Exception):  # noqa: N818 - the cause shown under an error from a worker
    """Where in the worker an error was raised, as text."""


@dataclass(frozen=True)
class Outcome:
    """What one block gave.

    Args:
        value: The result; the error where one was raised.
        raised: Whether `value` is an error.
        where: The traceback in the worker, for an error.
        warned: Warnings shown on the way, as `(category, message)`.
    """

    value: Any
    raised: bool = False
    where: str = ""
    warned: tuple[tuple[type[Warning], str], ...] = ()

    @property
    def starved(self) -> bool:
        """Whether the block failed because memory was out, which another try may not meet."""
        if not self.raised or isinstance(self.value, TriviumError):
            return False
        return isinstance(self.value, MemoryError) or "DefaultCPUAllocator" in str(self.value)


@dataclass(frozen=True)
class BlockTask:
    """A function of one block, run with one thread; errors and warnings come back as values.

    One thread, because where a sum is split over threads its last bits depend on their number.

    Args:
        function: Called with a block, and with `shared` where there is something shared.
        has_shared: Whether there is.
    """

    function: Callable[..., Any]
    has_shared: bool = False

    def __call__(self, block: Any, shared: Any = None) -> Outcome:
        """Run the block."""
        with one_thread(), listening() as heard:
            try:
                value = self.function(block, shared) if self.has_shared else self.function(block)
                raised, where = False, ""
            except Exception as error:
                value, raised, where = error, True, traceback.format_exc()
        return Outcome(value, raised, where, tuple(dict.fromkeys(heard)))


# `warnings.catch_warnings` is one for all threads: two that overlap undo each other. So the first
# block to start turns the filters aside, the last one to end puts them back, and in between each
# thread hears its own.
_lock = Lock()
_listeners = 0
_aside: "warnings.catch_warnings[None] | None" = None
_shown: Callable[..., None] = warnings.showwarning
_here = local()


@contextmanager
def listening() -> Iterator[Heard]:
    """Hear the warnings of this thread, instead of showing them."""
    heard: Heard = []
    _begin()
    outer, _here.heard = getattr(_here, "heard", None), heard
    try:
        yield heard
    finally:
        _here.heard = outer
        _end()


def _begin() -> None:
    global _listeners, _aside, _shown  # noqa: PLW0603 - the filters are the process's too
    with _lock:
        if _listeners == 0:
            _aside = warnings.catch_warnings()
            _aside.__enter__()
            _shown = warnings.showwarning
            warnings.simplefilter("always")
            warnings.showwarning = _hear
        _listeners += 1


def _end() -> None:
    global _listeners  # noqa: PLW0603
    with _lock:
        _listeners -= 1
        if _listeners == 0 and _aside is not None:
            _aside.__exit__(None, None, None)


def _hear(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    heard: Heard | None = getattr(_here, "heard", None)
    if heard is None:  # a thread that runs no block
        _shown(message, category, *place, **more)
    else:
        heard.append((category, str(message)))
