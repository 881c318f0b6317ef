"""Progress of long work: a callable that is told, or a bar on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Tick", "shown"]

Tick = Callable[[int, int], None]


@contextmanager
def shown(progress: Tick | bool, what: str) -> Iterator[Tick]:
    """Give a function to call with work done and work in all.

    Args:
        progress: Called in turn; `True` draws a bar on standard error when that is a terminal.
        what: What the bar is called.
    """
    if callable(progress):
        yield progress
        return
    if not progress or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)
