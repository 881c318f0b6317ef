"""Blocks through Dask: a cluster at an address, or a local one."""

from collections.abc import Generator, Sequence
from typing import Any

from trivium._core.checks import check_number
from trivium._core.errors import MissingExtraError
from trivium.parallel.executor import Executor
from trivium.parallel.task import BlockTask, Outcome

__all__ = ["DaskExecutor"]


class DaskExecutor(Executor):
    """Blocks through the distributed scheduler of Dask.

    Args:
        scheduler: Address of a scheduler, `tcp://host:8786`; a cluster on this machine by default.
        n_workers: Workers of the local cluster; as many as there are processors by default.
        retries: As for `Executor`.
        timeout: As for `Executor`.

    Raises:
        ArgumentError: A number out of its range.
        MissingExtraError: Dask's scheduler is not installed.
    """

    def __init__(
        self,
        scheduler: str | None = None,
        n_workers: int | None = None,
        *,
        retries: int = 3,
        timeout: float | None = None,
    ) -> None:
        try:
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise MissingExtraError(
                "DaskExecutor: the package distributed is needed; it is not installed",
                remedy="Install trivium[dask].",
            ) from error
        super().__init__(retries=retries, timeout=timeout)
        self._cluster = None
        if scheduler is None:
            wanted = (
                None
                if n_workers is None
                else int(
                    check_number("DaskExecutor", "n_workers", n_workers, "positive", integer=True)
                )
            )
            self._cluster = LocalCluster(
                n_workers=wanted, threads_per_worker=1, dashboard_address=":0"
            )
        self._client = Client(scheduler if self._cluster is None else self._cluster)
        self.n_workers = max(1, len(self._client.scheduler_info()["workers"]))

    def close(self) -> None:
        """Let go of the cluster where it is ours, and of the client."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _run(
        self, task: BlockTask, todo: Sequence[tuple[int, Any]], shared: Any
    ) -> Generator[tuple[int, Outcome]]:
        from distributed import as_completed

        given = self._client.scatter(shared, hash=False) if shared is not None else None
        futures = {
            self._client.submit(task, block, given, pure=False): number for number, block in todo
        }
        for future in as_completed(list(futures)):
            yield futures.pop(future), future.result()
