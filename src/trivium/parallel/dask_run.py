"""One piece of work on a Dask cluster: blocks handed out a few at a time, each with its clock."""

import os
import queue as queues
import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trivium._core.errors import ResourceError
from trivium.parallel.task import Outcome, WorkerLost
from trivium.parallel.wire import Bundle, from_bytes, open_outcome, seal, to_bytes

__all__ = ["DaskRun", "Place", "Steward"]

Event = tuple[int, Outcome | WorkerLost]

_LOOK = 1.0  # seconds between looks at the connection and the clocks
_COUNT = 10.0  # seconds between looks at the number of workers
_START = 60.0  # seconds that a worker may take to come back
_AHEAD, _FAR = 2, 16  # blocks in flight for each worker; more of those that are back soon
_QUICK = 0.25  # seconds
_GONE = 50  # blocks in a row that may lose what they need, by no fault of theirs
_PAUSE = 0.1  # seconds


@dataclass(frozen=True)
class Steward:
    """What a piece of work needs of the cluster that it runs on.

    Args:
        client: The connection to the scheduler.
        timeout: Seconds that a block may take.
        kill: Ends the worker of a block that hangs.
        tend: Starts workers again that Dask does not.
    """

    client: Any
    timeout: float | None
    kill: Callable[["Place"], None]
    tend: Callable[[], None]


@dataclass
class Place:
    """Where a block runs, and since when."""

    address: str
    pid: int
    since: float


class _Flight:
    """A block that was handed to the scheduler."""

    def __init__(self, number: int, future: Any) -> None:
        self.number, self.future = number, future
        self.since = time.monotonic()
        self.place: Place | None = None


class DaskRun:
    """One piece of work on a cluster."""

    def __init__(self, steward: Steward, bundle: Bundle, blocks: Sequence[Any]) -> None:
        self._steward, self._bundle, self._blocks = steward, bundle, blocks
        self._client, self._timeout = steward.client, steward.timeout
        self._topic = f"trivium-{bundle.key}" if self._timeout is not None else ""
        self._said: queues.SimpleQueue[tuple[str, Place | None]] = queues.SimpleQueue()
        self._flights: dict[str, _Flight] = {}
        self._shared: Any = None
        self._ahead, self._far = _AHEAD, _FAR
        self._gone, self._n_workers = 0, 1
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
            landed = self._news()
            yield from self._land(landed, queue)
            if not landed:
                self._check_connected()
                self._steward.tend()
            yield from self._look_after()

    def _news(self) -> list[str]:
        """Return the blocks that have ended since the last look, waiting for the first one."""
        landed: list[str] = []
        with suppress(queues.Empty):
            key, place = self._said.get(timeout=self._patience())
            while True:
                if place is None:
                    landed.append(key)
                elif key in self._flights:
                    self._flights[key].place = place
                key, place = self._said.get_nowait()
        return [key for key in landed if key in self._flights]

    def _feed(self, queue: deque[int]) -> None:
        now = time.monotonic()
        if now - self._counted > _COUNT:  # workers come and go
            self._counted = now
            self._n_workers = max(1, sum(self._client.nthreads().values()))
        room = self._ahead * self._n_workers - len(self._flights)
        if not queue or room <= max(0, self._ahead - _AHEAD) // 4:
            return
        if self._shared is None or self._shared.cancelled():  # it may go with its last worker
            self._shared = self._scattered()
        numbers = [queue.popleft() for _ in range(min(room, len(queue)))]
        sealed = [to_bytes(self._blocks[n], "DaskExecutor", f"block {n}") for n in numbers]
        keys = [f"trivium-block-{secrets.token_hex(8)}" for _ in numbers]
        about = {"bundle": self._shared, "topic": self._topic}
        futures = self._client.map(_there, sealed, numbers, keys, key=keys, pure=False, **about)
        for key, number, future in zip(keys, numbers, futures, strict=True):
            self._flights[key] = _Flight(number, future)
            future.add_done_callback(self._ended)

    def _scattered(self) -> Any:
        """Send the task and what is shared to a worker; the others fetch it there, once each."""
        until = time.monotonic() + _START
        while True:
            try:
                return self._client.scatter(self._bundle, hash=False, timeout=_LOOK)
            except Exception as error:  # workers are on their way back, or the one chosen has died
                self._check_connected()
                self._steward.tend()
                if time.monotonic() > until:
                    raise ResourceError(
                        "DaskExecutor: what is shared must reach a worker within "
                        f"{_START:g} s; got {type(error).__name__}: {error}",
                        remedy="Look at the workers' logs; with a journal, the blocks that have "
                        "ended are kept.",
                    ) from error
                time.sleep(_PAUSE)

    def _begun(self, event: Any) -> None:
        _, said = event  # when, and what
        place = Place(said["address"], said["pid"], time.monotonic())
        self._said.put((said["key"], place))

    def _ended(self, future: Any) -> None:
        self._said.put((future.key, None))

    def _land(self, keys: list[str], queue: deque[int]) -> Generator[Event]:
        """Yield what the blocks that have ended gave."""
        flights = {key: self._flights.pop(key) for key in keys}
        good = {key: one.future for key, one in flights.items() if one.future.status == "finished"}
        sealed = self._client.gather(good, errors="skip") if good else {}
        for key, flight in flights.items():
            if isinstance(sealed.get(key), bytes):
                quick = time.monotonic() - flight.since < _QUICK
                self._ahead = min(2 * self._ahead if quick else _AHEAD, self._far)
                self._gone = 0
                yield flight.number, open_outcome(sealed[key], "DaskExecutor", flight.number)
                continue
            # Errors of the function come as values. From now on no block waits behind another
            # one in a worker, as it would be lost with it.
            self._ahead = self._far = 1
            if flight.future.status == "error":
                error = flight.future.exception(timeout=_START)
                yield flight.number, WorkerLost(f"{type(error).__name__}: {error}")
            elif self._gone < _GONE:
                self._gone += 1
                queue.append(flight.number)
            else:
                yield flight.number, WorkerLost("what it needed was gone with its worker")

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
                self._steward.kill(flight.place)
            yield flight.number, WorkerLost(f"it took longer than {self._timeout:g} s")

    def _check_connected(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise ResourceError(
                "DaskExecutor: the scheduler must answer while blocks run; the connection is gone",
                remedy="Start the scheduler and run this again; with a journal, the blocks that "
                "have ended are kept.",
            )


def _there(block: bytes, number: int, key: str, *, bundle: Bundle, topic: str) -> bytes:
    """Run a block in a worker."""
    if topic:
        from distributed import get_worker

        worker = get_worker()
        about = {"key": key, "address": worker.address, "pid": os.getpid()}
        worker.log_event(topic, about)
    task, shared = bundle.open()
    return seal("DaskExecutor", task, from_bytes(block), shared, number)
