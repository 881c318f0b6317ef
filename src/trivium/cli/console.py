"""What the terminal shows: safe text, one line a stage, a bar on long work."""

import sys
import unicodedata
from types import TracebackType
from typing import Any

__all__ = ["StageLines", "echo", "printable"]

# Marks that reorder text; joiners stay, many scripts and emoji need them.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _steers(char: str) -> bool:
    return char in _BIDI or (char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cs"))


def printable(text: str) -> str:
    """Return text in which no character steers the terminal: escapes become U+FFFD."""
    return "".join("\ufffd" if _steers(char) else char for char in text)


def echo(text: str = "") -> None:
    """Print text from data safely on stdout."""
    print(printable(text))


class StageLines:
    """Listener of a run: on a terminal a bar per stage, elsewhere one quiet line per stage.

    Args:
        quiet: Whether to show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "StageLines":
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("{task.description:>9}", markup=False),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, name: str) -> None:
        """Announce a stage."""
        if self._bar is not None:
            self._clear()
            self._task = self._bar.add_task(name, total=None)

    def _clear(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = None

    def step(self, done: int, total: int) -> None:
        """Move the bar of the stage under way."""
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def end(self, name: str, did: str, seconds: float) -> None:
        """Say in one line what a stage did."""
        if self._quiet:
            return
        line = printable(f"{name:>9}  {did}  [{seconds:.1f} s]")
        if self._bar is not None:
            self._clear()
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr)
