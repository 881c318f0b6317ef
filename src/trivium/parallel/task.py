"""What a worker runs for one block, and what comes back from it."""

import pickle
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trivium._core.threads import one_thread

__all__ = ["BlockTask", "Outcome", "RemoteTraceback", "WorkerLost"]


class WorkerLost(Exception):  # noqa: N818 - not an error of the user's: the blocks run again
    """A worker died or hung; the blocks that it had are to be run again."""


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
        with one_thread(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                value = self.function(block, shared) if self.has_shared else self.function(block)
                raised, where = False, ""
            except Exception as error:
                value, raised, where = _portable(error), True, traceback.format_exc()
        seen = dict.fromkeys((w.category, str(w.message)) for w in caught)
        return Outcome(value, raised, where, tuple(seen))


def _portable(error: Exception) -> Exception:
    """Return the error where it survives the way back, else one that says the same."""
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error if type(again) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")
