"""Options that say where the work is done: here, in processes or threads, on a cluster."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import reduce
from typing import Any

import click

__all__ = ["EXECUTOR_NAMES", "open_given", "running"]

_SERIAL = "serial"
# Those of `trivium.parallel.EXECUTORS`, which would bring torch with it; a test holds them equal.
EXECUTOR_NAMES = (_SERIAL, "processes", "threads", "ray", "dask")

_RUNNING = [
    click.option(
        "--executor",
        type=click.Choice(EXECUTOR_NAMES),
        default=_SERIAL,
        show_default=True,
        help="Where blocks of work run; the same bits on all.",
    ),
    click.option("--workers", type=click.IntRange(1), metavar="N", help="Workers (processors)."),
    click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler, tcp://host:8786."),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help="Longest that a block may take before its worker counts as hung.",
    ),
]


def running(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the work is done."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_RUNNING), command)


def open_given(given: dict[str, Any]) -> AbstractContextManager[Any]:
    """Take these options out of what click passed; return the executor for a `with` block.

    Raises:
        UsageError: Options that do not go together.
        MissingExtraError: The package behind it is not installed.
    """
    name, workers = given.pop("executor"), given.pop("workers")
    scheduler, timeout = given.pop("scheduler"), given.pop("timeout")
    if name == _SERIAL and (workers is not None or timeout is not None):
        option = "--workers" if workers is not None else "--timeout"
        raise click.UsageError(f"{option} must come with --executor; got it without")
    if scheduler is not None and name != "dask":
        raise click.UsageError(f"--scheduler must come with --executor dask; got it with {name}")
    if scheduler is not None and workers is not None:
        raise click.UsageError("--workers must come without --scheduler: a cluster has its own")
    return _opened(name, n_workers=workers, scheduler=scheduler, timeout=timeout)


@contextmanager
def _opened(name: str, **how: Any) -> Iterator[Any]:
    """Start workers where the block begins: not before all other options were looked at."""
    from trivium.parallel import open_executor

    with open_executor(name, **how) as executor:
        yield executor
