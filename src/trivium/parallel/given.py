"""The executor that a public function was given, or the one it has without."""

from typing import Any

from trivium._core.errors import ArgumentError
from trivium.parallel.executor import Executor, SerialExecutor

__all__ = ["given_executor"]


def given_executor(caller: str, executor: Any) -> Executor:
    """Return the executor; without one the blocks run one after the other in this process.

    Args:
        caller: The public name that was called.
        executor: An `Executor` or `None`.

    Raises:
        ArgumentError: Something else.
    """
    if executor is None:
        return SerialExecutor()
    if not isinstance(executor, Executor):
        raise ArgumentError(
            f"{caller}: executor must be an Executor or None; got {type(executor).__name__}",
            remedy="open_executor makes one from its name.",
        )
    return executor
