"""Blocks through joblib: processes (loky), threads, or any backend registered there (Ray)."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, MissingExtraError, ResourceError
from trivium.parallel.executor import Executor
from trivium.parallel.processes import WorkerPool
from trivium.parallel.task import BlockTask, Outcome, WorkerLost, listening
from trivium.parallel.wire import Bundle, from_bytes, open_outcome, seal, to_bytes

__all__ = ["JoblibExecutor"]

Event = tuple[int, Outcome | WorkerLost]

_ROUND = 8  # blocks for each worker in a round, where results come in rounds


class JoblibExecutor(Executor):
    """Blocks through joblib, a few at a time.

    `"loky"`: processes of this machine, each watched by itself. One that dies or takes too long
    costs the block that it was running and no other; what is shared lies in one unnamed file that
    all of them map. `"threading"`: threads of this process, which share its memory and cannot be
    ended. Other backends do what joblib does with them: a block counts as hung when nothing has
    ended for `timeout` seconds, and then all that is running is lost and runs again.

    Args:
        n_workers: Workers; as many as there are processors by default.
        backend: `"loky"`, `"threading"`, `"ray"`, or a name registered with joblib.
        retries: As for `Executor`.
        timeout: As for `Executor`; with threads it is an error when nothing has ended for so long.

    Raises:
        ArgumentError: A number out of its range, a backend that joblib does not know, or processes
            where the system cannot have them.
        MissingExtraError: Ray is not installed.
    """

    def __init__(
        self,
        n_workers: int | None = None,
        backend: str = "loky",
        *,
        retries: int = 3,
        timeout: float | None = None,
    ) -> None:
        import joblib

        super().__init__(retries=retries, timeout=timeout)
        asked = joblib.cpu_count() if n_workers is None else n_workers
        self.n_workers = int(
            check_number("JoblibExecutor", "n_workers", asked, "positive", integer=True)
        )
        self.backend = backend
        self.own_memory = backend != "threading"
        self._pool = WorkerPool("JoblibExecutor", self.n_workers) if backend == "loky" else None
        if backend == "ray":
            _register_ray()
        elif backend not in joblib.parallel.BACKENDS:
            raise ArgumentError(
                f"JoblibExecutor: backend must be registered with joblib; got {backend!r}",
                remedy=f"Known are {', '.join(sorted({*joblib.parallel.BACKENDS, 'ray'}))}.",
            )

    def close(self) -> None:
        """End the processes, and wait until they are gone."""
        if self._pool is not None:
            self._pool.close()

    def _run(
        self, task: BlockTask, blocks: Sequence[Any], queue: deque[int], shared: Any
    ) -> Generator[Event]:
        if self._pool is not None:
            yield from self._pool.run(task, blocks, queue, shared, self.timeout)
            return
        if self.backend == "threading":
            run: Callable[..., Any] = partial(_here, task, shared)
        else:
            run = partial(_there, self._packed(task, shared))
        while queue:
            yield from self._through_joblib(run, blocks, queue)

    def _packed(self, task: BlockTask, shared: Any) -> Any:
        """Return what gives a worker the task and what is shared."""
        bundle = Bundle.pack(type(self).__name__, task, shared)
        if self.backend != "ray":
            return bundle
        import ray

        if not ray.is_initialized():
            ray.init(num_cpus=self.n_workers, include_dashboard=False, log_to_driver=False)
        return _Kept(ray.put(bundle))

    def _through_joblib(
        self, run: Callable[..., Any], blocks: Sequence[Any], queue: deque[int]
    ) -> Generator[Event]:
        """Run what is in the queue through joblib, as far as it comes."""
        flying: set[int] = set()
        refused: list[Exception] = []
        calls = self._calls(run, blocks, queue, flying, refused)
        results = self._results(calls)
        lost: Exception | None = None
        try:
            while True:
                try:
                    number, given = next(results)
                except StopIteration:
                    break
                except Exception as error:  # joblib's: those of the function come as values
                    lost = error
                    break
                flying.discard(number)
                caller = type(self).__name__
                ended = isinstance(given, Outcome)
                yield number, given if ended else open_outcome(given, caller, number)
        finally:
            with listening():  # joblib warns that some results are not used
                results.close()
        if refused:
            raise refused[0]
        if lost is not None:
            yield from self._lose(flying, lost)

    def _results(self, calls: Iterator[Any]) -> Generator[tuple[int, Any]]:
        """Yield what joblib gives: each as it ends, or in rounds where it can only give lists."""
        import joblib

        # So that all that is given out runs, and the clock of joblib is that of a block.
        settings = {"timeout": self.timeout, "pre_dispatch": self.n_workers, "batch_size": 1}
        way = {"return_as": "generator_unordered"}
        try:
            pool = joblib.Parallel(self.n_workers, self.backend, **way, **settings)
        except ValueError:  # Ray's
            pool = joblib.Parallel(self.n_workers, self.backend, **settings)
            calls = islice(calls, _ROUND * self.n_workers)
        yield from pool(calls)

    def _calls(
        self,
        run: Callable[..., Any],
        blocks: Sequence[Any],
        queue: deque[int],
        flying: set[int],
        refused: list[Exception],
    ) -> Iterator[Any]:
        """Give joblib the next block when it asks; it must not meet an error here."""
        import joblib

        while queue and not refused:
            number = queue.popleft()
            flying.add(number)
            try:
                block = blocks[number]
                if self.backend != "threading":
                    block = to_bytes(block, type(self).__name__, f"block {number}")
            except Exception as error:
                refused.append(error)
                return
            yield joblib.delayed(run)(number, block)

    def _lose(self, flying: set[int], why: Exception) -> Generator[Event]:
        if self.backend == "threading":
            named = ", ".join(str(number) for number in sorted(flying))
            raise ResourceError(
                f"{type(self).__name__}: a block must end within {self.timeout:g} s of another; "
                "none did, and a thread cannot be ended",
                where=f"block {named}",
                remedy="Use the executor 'processes', whose workers can be, or a longer timeout.",
            ) from why
        said = f"joblib's backend {self.backend!r} failed; {type(why).__name__}: {why}"
        for number in sorted(flying):
            yield number, WorkerLost(said)


@dataclass(frozen=True)
class _Kept:
    """A bundle in Ray's object store, which each machine fetches once."""

    reference: Any

    def open(self) -> tuple[BlockTask, Any]:
        import ray

        return ray.get(self.reference).open()


def _here(task: BlockTask, shared: Any, number: int, block: Any) -> tuple[int, Outcome]:
    try:
        return number, task(block, shared)
    except BaseException as error:  # what ends a thread would be waited for without an end
        return number, Outcome(error, raised=True)


def _there(packed: Bundle | _Kept, number: int, block: bytes) -> tuple[int, bytes]:
    task, shared = packed.open()
    return number, seal("JoblibExecutor", task, from_bytes(block), shared, number)


def _register_ray() -> None:
    try:
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise MissingExtraError(
            "JoblibExecutor: the package ray is needed; it is not installed",
            remedy="Install trivium[ray].",
        ) from error
    register_ray()
