"""The executor: a function on blocks, retried, journaled, and merged in one fixed tree."""

import warnings
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any

from trivium._core.checks import check_number
from trivium._core.errors import ResourceError
from trivium.moment.tree import MergeTree
from trivium.parallel.journal import BlockJournal
from trivium.parallel.task import BlockTask, Outcome, RemoteTraceback, WorkerLost
from trivium.parallel.window import Window

__all__ = ["Executor", "Progress", "SerialExecutor"]

Progress = Callable[[int, int], None]
"""Told of blocks done and in all."""


class Executor(ABC):
    """Runs a function on blocks; the results do not depend on where, or on how many at once.

    The law: what a block gives depends on the block alone (a seed of its own is part of it), the
    cut into blocks does not depend on the number of workers, and results are put together by the
    blocks' numbers, sums in a fixed tree. So every executor gives the same bits, also after a
    worker's death. A block runs with one thread.

    A block whose worker died, ran out of memory or took longer than `timeout` is run again; an
    error that the function itself raises is raised here at once, with the worker's traceback as
    its cause.

    Args:
        retries: How often one block is run again after it lost its worker; then it is an error.
        timeout: Seconds that one block may take, from when it starts to run, before its worker
            counts as hung and is killed; `None` for as long as it takes.

    Raises:
        ArgumentError: A number out of its range.
    """

    n_workers: int = 1
    own_memory: bool = False
    """Whether a worker's memory is its own, so that a block that found none left may run again."""

    def __init__(self, *, retries: int = 3, timeout: float | None = None) -> None:
        name = type(self).__name__
        self.retries = int(check_number(name, "retries", retries, "non-negative", integer=True))
        self.timeout = (
            None if timeout is None else float(check_number(name, "timeout", timeout, "positive"))
        )

    def __enter__(self) -> "Executor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Let go of workers that this executor started."""

    @abstractmethod
    def _run(
        self, task: BlockTask, blocks: Sequence[Any], queue: deque[int], shared: Any
    ) -> Generator[tuple[int, Outcome | WorkerLost]]:
        """Yield the number of a block and what it gave, or that it lost its worker.

        Blocks are taken from the front of `queue` as there is room for them; between one yield and
        the next more may be put in: those that were lost, and those that were held back.
        """

    def each(
        self,
        function: Callable[..., Any],
        blocks: Sequence[Any],
        *,
        shared: Any = None,
        journal: BlockJournal | None = None,
        progress: Progress | None = None,
        ahead: int | None = None,
    ) -> Generator[tuple[int, Any]]:
        """Yield `(number, result)` of every block as it ends, in any order.

        Args:
            function: Called in a worker as `function(block)`, or `function(block, shared)` where
                something is shared.
            blocks: Small things that say what to do: a range of rows, a part of a file, a seed.
            shared: What all blocks read, sent to each worker once: a matrix, a model.
            journal: Where finished blocks are kept; those that are there already are not run.
            progress: Told of blocks done and in all.
            ahead: How many blocks, from the first that has not ended on, may be handed out; so
                who puts results in order has no more than that to keep. `None` for all.

        Raises:
            ArgumentError: `ahead` is no positive whole number.
            ResourceError: Blocks lost their workers again and again.
            Exception: What the function raised.
        """
        if ahead is not None:
            caller = f"{type(self).__name__}.each"
            ahead = int(check_number(caller, "ahead", ahead, "positive", integer=True))
        total = len(blocks)
        warned: dict[int, tuple[tuple[type[Warning], str], ...]] = {}
        todo: list[int] = []
        done = 0
        for number in range(total):
            kept = None if journal is None else journal.read(number)
            if kept is None:
                todo.append(number)
                continue
            done += 1
            warned[number] = kept.warned
            yield number, kept.value
        if progress is not None:
            progress(done, total)
        task = BlockTask(function, shared is not None)
        with closing(self._persist(task, blocks, Window(todo, ahead), shared)) as outcomes:
            for number, outcome in outcomes:
                if journal is not None:
                    journal.write(number, outcome)
                warned[number] = outcome.warned
                done += 1
                yield number, outcome.value
                if progress is not None:
                    progress(done, total)
        for category, message in dict.fromkeys(w for n in sorted(warned) for w in warned[n]):
            warnings.warn(message, category, stacklevel=3)

    def _persist(
        self, task: BlockTask, blocks: Sequence[Any], window: Window, shared: Any
    ) -> Generator[tuple[int, Outcome]]:
        """Run blocks until all have ended, again where workers were lost."""
        lost: Counter[int] = Counter()
        with closing(self._run(task, blocks, window.queue, shared)) as events:
            for number, event in events:
                if isinstance(event, Outcome):
                    if not event.raised:
                        window.end(number)
                        yield number, event
                        continue
                    if not (event.starved and self.own_memory):
                        error: BaseException = event.value
                        error.add_note(f"raised in block {number} of {len(blocks)}")
                        raise error from RemoteTraceback(event.where)
                    event = WorkerLost(f"out of memory; {event.value}")  # noqa: PLW2901
                lost[number] += 1
                if lost[number] > self.retries:
                    raise self._given_up(lost, number, event) from event
                window.queue.append(number)

    def _given_up(self, lost: Counter[int], number: int, why: WorkerLost) -> ResourceError:
        others = ", ".join(str(n) for n in sorted(lost) if n != number)
        return ResourceError(
            f"{type(self).__name__}: a block must end on a worker that lives; "
            f"it was tried {lost[number]} times, and at last {why}",
            where=f"block {number}" + (f"; also lost once or more: {others}" if others else ""),
            remedy="Give a worker more memory (fewer workers, smaller blocks), or a block more "
            "time (timeout). With a journal, the blocks that have ended are kept.",
        )

    def map(
        self,
        function: Callable[..., Any],
        blocks: Sequence[Any],
        *,
        shared: Any = None,
        journal: BlockJournal | None = None,
        progress: Progress | None = None,
    ) -> list[Any]:
        """Return the result of every block, in the order of the blocks.

        Args:
            function: As for `each`.
            blocks: As for `each`.
            shared: As for `each`.
            journal: As for `each`.
            progress: As for `each`.

        Raises:
            ResourceError: Blocks lost their workers again and again.
            Exception: What the function raised.

        Example:
            >>> SerialExecutor().map(abs, [-1, 2, -3])
            [1, 2, 3]
        """
        found: list[Any] = [None] * len(blocks)
        for number, value in self.each(
            function, blocks, shared=shared, journal=journal, progress=progress
        ):
            found[number] = value
        return found

    def merge(
        self,
        function: Callable[..., Any],
        blocks: Sequence[Any],
        *,
        shared: Any = None,
        journal: BlockJournal | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """Merge what the blocks give, in the fixed tree of `merge_tree`, as they come.

        Args:
            function: As for `each`; gives something with `copy` and `merge`, as `Moments` has.
            blocks: As for `each`.
            shared: As for `each`.
            journal: As for `each`.
            progress: As for `each`.

        Raises:
            ArgumentError: No block at all.
            ResourceError: Blocks lost their workers again and again.
            Exception: What the function raised.

        Cost:
            One merge a block; memory of the parts whose neighbors have not come yet, as a rule
            log₂ of their number.

        Example:
            >>> import torch
            >>> from trivium.moment import Moments
            >>> rows = torch.arange(6.0).reshape(3, 2, 1)
            >>> SerialExecutor().merge(lambda i: Moments(1).update(rows[i]), range(3)).mean
            tensor([2.5000], dtype=torch.float64)
        """
        tree: MergeTree[Any] = MergeTree()
        for number, part in self.each(
            function, blocks, shared=shared, journal=journal, progress=progress
        ):
            tree.add(number, part)
        return tree.total()


class SerialExecutor(Executor):
    """One block after the other, in this process.

    Args:
        retries: Not used: a worker that dies here is the program.
        timeout: Not used, for the same reason.
    """

    def _run(
        self, task: BlockTask, blocks: Sequence[Any], queue: deque[int], shared: Any
    ) -> Generator[tuple[int, Outcome | WorkerLost]]:
        while queue:
            number = queue.popleft()
            yield number, task(blocks[number], shared)
