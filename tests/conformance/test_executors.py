"""Every executor keeps the laws; executors that break one are caught by it."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import pytest
import torch

from trivium.parallel import EXECUTORS, Executor, SerialExecutor, open_executor
from trivium.parallel.task import BlockTask, Outcome
from trivium.testing import check_executor


@pytest.mark.parametrize("name", EXECUTORS)
def test_ours(name: str) -> None:
    if name == "ray":
        pytest.importorskip("ray")
    n_workers = None if name == "serial" else 2
    check_executor(partial(open_executor, name, n_workers=n_workers))


def test_more_workers_than_blocks() -> None:
    check_executor(partial(open_executor, "threads", n_workers=16))


class ByArrival(SerialExecutor):
    def _run(self, task: BlockTask, blocks: Sequence[Any], queue: deque[int], shared: Any) -> Any:
        return super()._run(task, blocks, deque(sorted(queue, key=lambda n: -n)), shared)

    def map(self, function: Callable[..., Any], blocks: Sequence[Any], **more: Any) -> list[Any]:
        return [value for _, value in self.each(function, blocks, **more)]


class LosesTheLast(SerialExecutor):
    def _run(self, task: BlockTask, blocks: Sequence[Any], queue: deque[int], shared: Any) -> Any:
        if len(queue) > 2:
            queue.pop()
        return super()._run(task, blocks, queue, shared)


class RunsTwice(SerialExecutor):
    def each(self, *args: Any, **more: Any) -> Generator[tuple[int, Any]]:
        yield from super().each(*args, **more)
        yield from super().each(*args, **more)


class Each(SerialExecutor):
    """Calls the function in a way of its own."""

    def _run(
        self, task: BlockTask, blocks: Sequence[Any], queue: deque[int], shared: Any
    ) -> Generator[tuple[int, Outcome]]:
        while queue:
            number = queue.popleft()
            yield number, self.call(task, blocks[number], shared)

    def call(self, task: BlockTask, block: Any, shared: Any) -> Outcome:
        raise NotImplementedError


class ManyThreads(Each):
    def call(self, task: BlockTask, block: Any, shared: Any) -> Outcome:
        def several(*args: Any) -> Any:
            torch.set_num_threads(3)
            return task.function(*args)

        return BlockTask(several, task.has_shared)(block, shared)


class SharesACopyInAnotherType(Each):
    def call(self, task: BlockTask, block: Any, shared: Any) -> Outcome:
        if shared is not None:
            shared = shared | {"a": shared["a"].half().float()}
        return task(block, shared)


class WrapsErrors(Each):
    def call(self, task: BlockTask, block: Any, shared: Any) -> Outcome:
        outcome = task(block, shared)
        return Outcome(RuntimeError(str(outcome.value)), True) if outcome.raised else outcome


class ForgetsTheTraceback(Each):
    def call(self, task: BlockTask, block: Any, shared: Any) -> Outcome:
        outcome = task(block, shared)
        return Outcome(outcome.value, outcome.raised, "", outcome.warned)


class IsSilent(Each):
    def call(self, task: BlockTask, block: Any, shared: Any) -> Outcome:
        outcome = task(block, shared)
        return Outcome(outcome.value, outcome.raised, outcome.where)


class OtherBits(Each):
    def call(self, task: BlockTask, block: Any, shared: Any) -> Outcome:
        outcome = task(block, shared)
        if isinstance(outcome.value, torch.Tensor):
            return Outcome(outcome.value * (1 + 2**-23))
        return outcome


class RunsAllAgain(SerialExecutor):
    def each(self, *args: Any, journal: Any = None, **more: Any) -> Generator[tuple[int, Any]]:
        return super().each(*args, **more)


class KeepsWhatWasDropped(SerialExecutor):
    def __init__(self) -> None:
        super().__init__()
        self.old: list[tuple[int, Outcome]] = []

    def _run(
        self, task: BlockTask, blocks: Sequence[Any], queue: deque[int], shared: Any
    ) -> Generator[tuple[int, Outcome]]:
        mine = len(queue)
        ended = [(number, task(blocks[number], shared)) for number in queue]
        queue.clear()
        done = 0
        try:
            for number, outcome in ended:
                done += 1
                late = self.old.pop()[1] if self.old and mine == 4 else outcome
                yield number, late
        finally:
            self.old += ended[done:]


class HurriesAhead(SerialExecutor):
    """Runs the last blocks first, and holds none back."""

    def each(self, *args: Any, ahead: Any = None, **more: Any) -> Generator[tuple[int, Any]]:
        found = list(super().each(*args, **more))
        yield from found if ahead is None else found[::-1]


class TakesTheFirstOnly(SerialExecutor):
    """Does not look again for blocks that were held back."""

    def _run(
        self, task: BlockTask, blocks: Sequence[Any], queue: deque[int], shared: Any
    ) -> Generator[tuple[int, Outcome]]:
        for number in list(queue):
            yield number, task(blocks[number], shared)


WRONG: dict[type[Executor], str] = {
    ByArrival: "bits_of_one_after_the_other",
    LosesTheLast: "bits_of_one_after_the_other",
    RunsTwice: "every_block_once",
    ManyThreads: "one_thread_a_block",
    SharesACopyInAnotherType: "shared_arrives",
    WrapsErrors: "original_error",
    ForgetsTheTraceback: "original_error",
    IsSilent: "warnings_arrive",
    OtherBits: "bits_of_one_after_the_other",
    RunsAllAgain: "journal_spares",
    KeepsWhatWasDropped: "dropped_half_way",
    HurriesAhead: "no_further_than_asked",
    TakesTheFirstOnly: "no_further_than_asked",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_ones_are_caught(wrong: type[Executor]) -> None:
    threads = torch.get_num_threads()
    try:
        with pytest.raises(AssertionError, match=f"law ({WRONG[wrong]}): {wrong.__name__}"):
            check_executor(wrong)
    finally:
        torch.set_num_threads(threads)
