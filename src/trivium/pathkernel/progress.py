"""Progress of long work: a bar on a terminal, silence elsewhere, or a function of the caller."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

__all__ = ["Progress", "Ticker"]

Progress = Callable[[int, int], None]
_PATIENCE = 1.0  # seconds before a bar is worth its line


class Ticker:
    """Counts work done, and shows it.

    Args:
        name: What is under way.
        total: Units of work in all.
        progress: Told of the units done and in all; by default a bar on standard error where that
            is a terminal.
    """

    def __init__(self, name: str, total: int, progress: Progress | None = None) -> None:
        self.name, self.total, self.done = name, total, 0
        self._progress = progress
        self._begun = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Ticker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tick(self, units: int) -> None:
        """Say that some more units are done."""
        self.done += units
        if self._progress is not None:
            self._progress(self.done, self.total)
            return
        if self._bar is None and sys.stderr.isatty():
            if time.monotonic() - self._begun < _PATIENCE:
                return
            self._open()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self.name, total=self.total)
