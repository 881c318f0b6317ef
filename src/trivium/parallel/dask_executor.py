"""Blocks through Dask: a cluster at an address, or a local one."""

import os
import queue as queues
import secrets
import signal
import time
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, MissingExtraError, ResourceError
from trivium.parallel.dask_cluster import LocalWorkers, check_same, connect
from trivium.parallel.executor import Executor
from trivium.parallel.task import BlockTask, Outcome, WorkerLost
from trivium.parallel.wire import Bundle, from_bytes, open_outcome, seal, to_bytes

__all__ = ["DaskExecutor"]

Event = tuple[int, Outcome | WorkerLost]

_LOOK = 1.0  # seconds between looks at the connection and the clocks
_COUNT = 10.0  # seconds between looks at the number of workers
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
        run = _Run(self, Bundle.pack("DaskExecutor", task, shared), blocks)
        try:
            yield from run.events(queue)
        finally:
            run.close()

    def _end_worker(self, place: "_Place") -> None:
        """Kill a worker that hangs; its nanny starts another one."""
        if self._ours is not None:
            with suppress(OSError):
                os.kill(place.pid, signal.SIGKILL)
            return
        try:
            self._client.restart_workers([place.address], timeout=_START, raise_for_error=False)
        except ValueError as error:
            raise ResourceError(
                f"DaskExecutor: a worker that hangs must have a nanny to kill it; got {error}",
                where=f"worker {place.address}",
                remedy="Start the workers without --no-nanny, or end this one yourself.",
            ) from error


@dataclass
class _Place:
    """Where a block runs, and since when."""

    address: str
    pid: int
    since: float


class _Flight:
    """A block that was handed to the scheduler."""

    def __init__(self, number: int, future: Any) -> None:
        self.number, self.future = number, future
        self.since = time.monotonic()
        self.place: _Place | None = None


class _Run:
    """One piece of work on a cluster."""

    def __init__(self, executor: DaskExecutor, bundle: Bundle, blocks: Sequence[Any]) -> None:
        self._executor, self._bundle, self._blocks = executor, bundle, blocks
        self._client, self._timeout = executor._client, executor.timeout
        self._topic = f"trivium-{bundle.key}" if self._timeout is not None else ""
        self._said: queues.SimpleQueue[tuple[str, _Place | None]] = queues.SimpleQueue()
        self._flights: dict[str, _Flight] = {}
        self._shared: Any = None
        self._counted = float("-inf")
        if self._topic:
            self._client.subscribe_topic(self._topic, self._begun)

    def close(self) -> None:
        """Ask for nothing any more."""
        with suppress(Exception):  # the scheduler may be gone, which has been said
            self._client.cancel([flight.future for flight in self._flights.values()], force=True)
        self._flights.clear()
        self._shared = None
        if self._topic:
            with suppress(Exception):
                self._client.unsubscribe_topic(self._topic)

    def events(self, queue: deque[int]) -> Generator[Event]:
        """Yield what becomes of each block."""
        while True:
            self._feed(queue)
            if not self._flights:
                return
            with suppress(queues.Empty):
                key, place = self._said.get(timeout=self._patience())
                flight = self._flights.get(key)
                if flight is not None and place is not None:
                    flight.place = place
                elif flight is not None:
                    yield from self._land(key)
                continue
            self._check_connected()
            yield from self._look_after()

    def _feed(self, queue: deque[int]) -> None:
        now = time.monotonic()
        if now - self._counted > _COUNT:  # workers come and go
            self._counted = now
            self._executor.n_workers = max(1, sum(self._client.nthreads().values()))
        while queue and len(self._flights) < 2 * self._executor.n_workers:
            if self._shared is None or self._shared.cancelled():  # it may go with its last worker
                self._shared = self._scattered()
            number = queue.popleft()
            block = to_bytes(self._blocks[number], "DaskExecutor", f"block {number}")
            key = f"trivium-block-{secrets.token_hex(8)}"
            future = self._client.submit(
                _there, self._shared, block, number, self._topic, key, key=key, pure=False
            )
            self._flights[key] = _Flight(number, future)
            future.add_done_callback(self._ended)

    def _scattered(self) -> Any:
        """Send the task and what is shared to every worker that is there."""
        until = time.monotonic() + _START
        while True:
            try:
                return self._client.scatter(self._bundle, hash=False, broadcast=True)
            except TimeoutError as error:  # all workers are on their way back
                self._check_connected()
                if time.monotonic() > until:
                    raise ResourceError(
                        f"DaskExecutor: a worker must come back within {_START:g} s; none did",
                        remedy="Look at the workers' logs; with a journal, the blocks that have "
                        "ended are kept.",
                    ) from error

    def _begun(self, event: Any) -> None:
        _, said = event  # when, and what
        place = _Place(said["address"], said["pid"], time.monotonic())
        self._said.put((said["key"], place))

    def _ended(self, future: Any) -> None:
        self._said.put((future.key, None))

    def _land(self, key: str) -> Generator[Event]:
        flight = self._flights.pop(key)
        try:
            sealed = flight.future.result(timeout=_START)
        except Exception as error:  # those of the function come as values
            yield flight.number, WorkerLost(f"{type(error).__name__}: {error}")
            return
        yield flight.number, open_outcome(sealed, "DaskExecutor", flight.number)

    def _patience(self) -> float:
        if self._timeout is None:
            return _LOOK
        now = time.monotonic()
        left = [self._limit(flight) - now for flight in self._flights.values()]
        return max(0.0, min(_LOOK, *left, _LOOK))

    def _limit(self, flight: _Flight) -> float:
        """Return when a block counts as hung: by its own clock, else by the longest way to it."""
        timeout = self._timeout or 0.0
        if flight.place is not None:
            return flight.place.since + timeout
        return flight.since + 3 * timeout + _START

    def _look_after(self) -> Generator[Event]:
        """Kill the workers of blocks that take too long; whatever else they had runs again."""
        if self._timeout is None:
            return
        now = time.monotonic()
        for key, flight in list(self._flights.items()):
            if key not in self._flights or self._limit(flight) > now or flight.future.done():
                continue
            del self._flights[key]
            flight.future.cancel(force=True)
            if flight.place is not None:
                self._executor._end_worker(flight.place)
            yield flight.number, WorkerLost(f"it took longer than {self._timeout:g} s")

    def _check_connected(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise ResourceError(
                "DaskExecutor: the scheduler must answer while blocks run; the connection is gone",
                remedy="Start the scheduler and run this again; with a journal, the blocks that "
                "have ended are kept.",
            )


def _there(bundle: Bundle, block: bytes, number: int, topic: str, key: str) -> bytes:
    """Run a block in a worker."""
    if topic:
        from distributed import get_worker

        worker = get_worker()
        about = {"key": key, "address": worker.address, "pid": os.getpid()}
        worker.log_event(topic, about)
    task, shared = bundle.open()
    return seal("DaskExecutor", task, from_bytes(block), shared, number)
