"""Worker processes watched one by one: each has its own line, its own clock and its own end.

joblib's own pool of processes loses every block in flight when one worker dies, starts its clock
when a result is waited for, and is one for the whole program; here a worker that dies or hangs
costs the one block that it was running. The processes are started by joblib's loky.
"""

import os
import selectors
import sys
from collections import deque
from collections.abc import Generator, Sequence
from multiprocessing.util import Finalize
from typing import Any

from trivium._core.errors import ArgumentError, ResourceError
from trivium.parallel.process_line import Message, WorkerProcess
from trivium.parallel.task import BlockTask, Outcome, WorkerLost
from trivium.parallel.wire import Bundle, Parcel, open_outcome, to_bytes
from trivium.parallel.worker import BLOCK, FORGET, READY, WORK

__all__ = ["WorkerPool"]

Event = tuple[int, Outcome | WorkerLost]

_LOOK = 1.0  # seconds between looks for processes that ended without a word
_GRACE = 1.0  # seconds for a process whose line is closed to end by itself


class WorkerPool:
    """Processes that run blocks, kept from one piece of work to the next.

    Args:
        caller: Public name to put in front of messages.
        n_workers: Processes at once, for one piece of work.

    Raises:
        ArgumentError: This is no POSIX system: the lines to the processes need one.
    """

    def __init__(self, caller: str, n_workers: int) -> None:
        if not hasattr(os, "killpg"):
            raise ArgumentError(
                f"{caller}: worker processes must run on Linux or macOS; got {sys.platform}",
                remedy="Use the executor 'serial', 'threads' or 'dask'.",
            )
        self.caller, self.n_workers = caller, n_workers
        self._all: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        # Also when this is forgotten, and before multiprocessing waits for children at exit.
        self._ending = Finalize(self, _end, (self._all, self._idle), exitpriority=100)

    def close(self) -> None:
        """End all processes, and wait until they are gone."""
        _end(self._all, self._idle)

    def run(
        self,
        task: BlockTask,
        blocks: Sequence[Any],
        queue: deque[int],
        shared: Any,
        timeout: float | None,
    ) -> Generator[Event]:
        """Yield what becomes of each block in the queue, which may grow meanwhile.

        Raises:
            ArgumentError: Something cannot go to a process or come from it.
            ResourceError: No process can be started, or the disk is full.
        """
        if not queue:
            return
        parcel = Parcel.write(self.caller, Bundle.pack(self.caller, task, shared))
        run = _Run(self, parcel, blocks, timeout)
        try:
            yield from run.events(queue)
        finally:
            run.close()
            parcel.close()

    def take(self) -> WorkerProcess:
        """Return a process that nobody uses.

        Raises:
            ResourceError: None can be started.
        """
        while self._idle:
            worker = self._idle.pop()
            if not worker.gone:
                return worker
            self.drop(worker)
        try:
            worker = WorkerProcess()
        except OSError as error:
            raise ResourceError(
                f"{self.caller}: a worker process must start; got {error}",
                remedy="Use fewer workers, or the executor 'serial'.",
            ) from error
        self._all.add(worker)
        return worker

    def give_back(self, worker: WorkerProcess) -> None:
        """Keep a process for the next piece of work."""
        worker.put(FORGET, 0)
        self._idle.append(worker)

    def drop(self, worker: WorkerProcess, grace: float = 0.0) -> str:
        """End a process; return how it ended."""
        try:
            return worker.end(grace)
        finally:
            self._all.discard(worker)


def _end(workers: set[WorkerProcess], idle: list[WorkerProcess]) -> None:
    idle.clear()
    for worker in workers:
        worker.line.close()  # all of them see it at once
    while workers:
        workers.pop().end(_GRACE)


class _Run:
    """One piece of work on the processes of a pool."""

    def __init__(
        self, pool: WorkerPool, parcel: Parcel, blocks: Sequence[Any], timeout: float | None
    ) -> None:
        self._pool, self._blocks, self._timeout = pool, blocks, timeout
        self._file = parcel.file
        self._about = to_bytes((pool.caller, parcel.spans), pool.caller, "shared")
        self._selector = selectors.DefaultSelector()
        self._workers: list[WorkerProcess] = []

    def close(self) -> None:
        """Keep the processes that wait for work; end those at work that nobody asks for."""
        self._selector.close()
        while self._workers:
            worker = self._workers.pop()
            if worker.given or worker.gone or not worker.ready:
                self._pool.drop(worker)
            else:
                self._pool.give_back(worker)

    def events(self, queue: deque[int]) -> Generator[Event]:
        """Yield what becomes of each block."""
        while True:
            self._feed(queue)
            if not any(worker.given for worker in self._workers):
                return
            for key, mask in self._selector.select(self._patience()):
                if mask & selectors.EVENT_WRITE:
                    key.data.push()
                    self._listen(key.data)
                if mask & selectors.EVENT_READ and key.data in self._workers:
                    yield from self._hear(key.data, queue)
            for worker in list(self._workers):
                yield from self._look_after(worker, queue)

    def _feed(self, queue: deque[int]) -> None:
        """Give each worker a block, and the next one where there are many."""
        n_workers = self._pool.n_workers
        while queue:
            worker = min(self._workers, key=lambda one: len(one.given), default=None)
            if (worker is None or worker.given) and len(self._workers) < n_workers:
                worker = self._hire()
            ahead = 2 if len(queue) > 2 * n_workers else 1  # at the end none waits behind another
            if worker is None or len(worker.given) >= ahead:
                return
            number = queue.popleft()
            body = to_bytes(self._blocks[number], self._pool.caller, f"block {number}")
            worker.put(BLOCK, number, body)
            worker.given.append(number)
            self._listen(worker)

    def _hire(self) -> WorkerProcess:
        worker = self._pool.take()
        self._workers.append(worker)
        self._selector.register(worker.line, selectors.EVENT_READ, worker)
        worker.ready = False
        worker.put(WORK, 0, self._about, [self._file.fileno()])
        return worker

    def _listen(self, worker: WorkerProcess) -> None:
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.pushing else 0)
        self._selector.modify(worker.line, mask, worker)

    def _patience(self) -> float:
        """Return the seconds until somebody may have to be looked after."""
        if self._timeout is None:
            return _LOOK
        left = (one.patience(self._timeout) for one in self._workers if one.given)
        return max(0.0, min(_LOOK, *left, _LOOK))

    def _hear(self, worker: WorkerProcess, queue: deque[int]) -> Generator[Event]:
        """Yield what a worker has sent, and what its end leaves undone."""
        while True:
            try:
                message = worker.pull()
            except EOFError:
                yield from self._lose(worker, queue, "", _GRACE)
                return
            if message is None:
                return
            yield from self._take(worker, message)
            if worker not in self._workers:
                return

    def _take(self, worker: WorkerProcess, message: Message) -> Generator[Event]:
        kind, number, data = message
        if kind == READY:
            worker.ready = True
            return
        worker.given.popleft()
        outcome = open_outcome(data, self._pool.caller, number)
        yield number, outcome

    def _look_after(self, worker: WorkerProcess, queue: deque[int]) -> Generator[Event]:
        """End a worker that hangs, or that has ended without a word."""
        if worker.gone:
            yield from self._hear(worker, queue)  # its last words
            if worker in self._workers:
                yield from self._lose(worker, queue, "")
        elif worker.given and self._timeout is not None and worker.patience(self._timeout) < 0:
            yield from self._hear(worker, queue)  # it may only not have been listened to
            if worker in self._workers and worker.patience(self._timeout) < 0:
                yield from self._lose(worker, queue, f"it took longer than {self._timeout:g} s")

    def _lose(
        self, worker: WorkerProcess, queue: deque[int], why: str, grace: float = 0.0
    ) -> Generator[Event]:
        """Let go of a worker: the block that ran is lost, the next one only waits again."""
        self._workers.remove(worker)
        self._selector.unregister(worker.line)
        ended = self._pool.drop(worker, grace)
        given = list(worker.given)
        queue.extendleft(reversed(given[1:]))
        if given:
            yield given[0], WorkerLost(why or ended)
