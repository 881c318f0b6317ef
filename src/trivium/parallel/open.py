"""An executor by its name, as the command line asks for one."""

from trivium._core.checks import check_choice
from trivium._core.errors import ArgumentError
from trivium.parallel.executor import Executor, SerialExecutor

__all__ = ["EXECUTORS", "open_executor"]

EXECUTORS = ("serial", "processes", "threads", "ray", "dask")


def open_executor(
    name: str = "serial",
    *,
    n_workers: int | None = None,
    scheduler: str | None = None,
    retries: int = 3,
    timeout: float | None = None,
) -> Executor:
    """Return an executor; use it in a `with` block, or close it.

    Args:
        name: One of `EXECUTORS`.
        n_workers: Workers; as many as there are processors by default. Not with an address.
        scheduler: Address of a Dask scheduler; `dask` without one starts a local cluster.
        retries: As for `Executor`.
        timeout: As for `Executor`.

    Raises:
        ArgumentError: Another name, or options that do not go together.
        MissingExtraError: The package behind it is not installed.
    """
    check_choice("open_executor", "name", name, EXECUTORS)
    if scheduler is not None and name != "dask":
        raise ArgumentError(f"open_executor: scheduler must come with 'dask'; got it with {name!r}")
    if name == "serial":
        return SerialExecutor(retries=retries, timeout=timeout)
    if name == "dask":
        from trivium.parallel.dask_executor import DaskExecutor

        return DaskExecutor(scheduler, n_workers, retries=retries, timeout=timeout)
    from trivium.parallel.joblib_executor import JoblibExecutor

    backend = {"processes": "loky", "threads": "threading", "ray": "ray"}[name]
    return JoblibExecutor(n_workers, backend, retries=retries, timeout=timeout)
