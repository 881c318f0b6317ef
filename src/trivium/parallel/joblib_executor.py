"""Blocks through joblib: processes (loky), threads, or any backend registered there (Ray)."""

from collections.abc import Generator, Sequence
from concurrent.futures import TimeoutError as SlowError
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from trivium._core.checks import check_number
from trivium.parallel.executor import Executor
from trivium.parallel.task import BlockTask, Outcome, WorkerLost

__all__ = ["JoblibExecutor"]


class JoblibExecutor(Executor):
    """Blocks through joblib, a few at a time.

    Args:
        n_workers: Workers; as many as there are processors by default.
        backend: `"loky"` (processes), `"threading"`, or a name registered with joblib:
            `ray.util.joblib.register_ray()` makes it `"ray"`.
        retries: As for `Executor`.
        timeout: As for `Executor`.

    Raises:
        ArgumentError: A number out of its range.
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

    def _run(
        self, task: BlockTask, todo: Sequence[tuple[int, Any]], shared: Any
    ) -> Generator[tuple[int, Outcome]]:
        import joblib

        with joblib.parallel_config(self.backend, n_jobs=self.n_workers):
            pool = joblib.Parallel(
                return_as="generator_unordered", timeout=self.timeout, batch_size=1
            )
        calls = (joblib.delayed(_numbered)(task, number, block, shared) for number, block in todo)
        try:
            yield from pool(calls)
        except (BrokenProcessPool, SlowError) as error:
            raise WorkerLost(str(error) or type(error).__name__) from error


def _numbered(task: BlockTask, number: int, block: Any, shared: Any) -> tuple[int, Outcome]:
    return number, task(block, shared)
