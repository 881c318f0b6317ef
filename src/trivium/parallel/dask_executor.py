"""Blocks through Dask: a cluster at an address, or a local one."""

import os
import signal
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, MissingExtraError, ResourceError
from trivium.parallel.dask_cluster import LocalWorkers, check_same, connect
from trivium.parallel.dask_run import DaskRun, Place, Steward
from trivium.parallel.executor import Executor
from trivium.parallel.task import BlockTask, Outcome, WorkerLost
from trivium.parallel.wire import Bundle

__all__ = ["DaskExecutor"]

Event = tuple[int, Outcome | WorkerLost]

_START = 60.0  # seconds that a worker may take to come back


class DaskExecutor(Executor):
    """Blocks through the distributed scheduler of Dask.

    Without an address a cluster of processes on this machine is started, and ended by `close`; a
    cluster at an address is not ours and goes on. A worker that dies is started again by its nanny
    and its blocks run again; one that takes too long is killed. What is shared is sent to each
    worker once, and at most two blocks a worker are in flight.

    A script that starts a local cluster needs `if __name__ == "__main__":` around its work, as
    Dask's processes import the script.

    Args:
        scheduler: Address of a scheduler, `tcp://host:8786`; a cluster on this machine by default.
        n_workers: Workers of the local cluster; as many as there are processors by default.
        retries: As for `Executor`; a remote scheduler may try again by itself in between.
        timeout: As for `Executor`.

    Raises:
        ArgumentError: A number out of its range, an address that is none, or workers that run
            another version of trivium, torch, numpy or Python.
        MissingExtraError: Dask's scheduler is not installed.
        ResourceError: Nobody answers at the address, or there are no workers.
    """

    own_memory = True

    def __init__(
        self,
        scheduler: str | None = None,
        n_workers: int | None = None,
        *,
        retries: int = 3,
        timeout: float | None = None,
    ) -> None:
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "DaskExecutor: the package distributed is needed; it is not installed",
                remedy="Install trivium[dask].",
            ) from error
        super().__init__(retries=retries, timeout=timeout)
        if n_workers is not None:
            check_number("DaskExecutor", "n_workers", n_workers, "positive", integer=True)
            if scheduler is not None:
                raise ArgumentError(
                    "DaskExecutor: n_workers must not come with an address, whose cluster has its "
                    f"own; got {n_workers} and {scheduler!r}"
                )
        self._ours: LocalWorkers | None = None
        if scheduler is None:
            self._ours = LocalWorkers.start(n_workers)
            self._client = self._ours.client
        else:
            self._client = connect(scheduler)
            try:
                check_same(self._client, scheduler)
            except BaseException:
                self._client.close()
                raise
        self.n_workers = max(1, sum(self._client.nthreads().values()))

    def close(self) -> None:
        """Let go of the client, and of the cluster where it is ours."""
        if self._ours is None:
            self._client.close()
        else:
            self._ours.close()

    def _run(
        self, task: BlockTask, blocks: Sequence[Any], queue: deque[int], shared: Any
    ) -> Generator[Event]:
        if not queue:
            return
        steward = Steward(self._client, self.timeout, self._end_worker, self._tend)
        run = DaskRun(steward, Bundle.pack("DaskExecutor", task, shared), blocks)
        try:
            yield from run.events(queue)
        finally:
            run.close()

    def _tend(self) -> None:
        """Start workers again that died so early that Dask itself does not."""
        if self._ours is not None:
            self._ours.tend()

    def _end_worker(self, place: Place) -> None:
        """Kill a worker that hangs; its nanny starts another one."""
        if self._ours is not None:
            with suppress(OSError):
                os.kill(place.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            return
        try:
            self._client.restart_workers([place.address], timeout=_START, raise_for_error=False)
        except ValueError as error:
            raise ResourceError(
                f"DaskExecutor: a worker that hangs must have a nanny to kill it; got {error}",
                where=f"worker {place.address}",
                remedy="Start the workers without --no-nanny, or end this one yourself.",
            ) from error
