"""The clusters behind `DaskExecutor`: one of our own on this machine, or one at an address."""

import logging
import platform
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from trivium._core.errors import ArgumentError, ResourceError, TriviumWarning

__all__ = ["LocalWorkers", "check_same", "connect", "versions"]

_RESTART = 30.0  # seconds for a worker to start
_PAUSE = 0.2  # seconds
_ANSWER = 10.0  # seconds for a scheduler to answer, and for a first worker to be there


@dataclass(frozen=True)
class LocalWorkers:
    """A quiet cluster of processes on this machine, one thread each.

    Args:
        cluster: Scheduler and workers.
        client: The connection to them.
        folder: Where workers put what does not fit in memory.
        n_workers: How many there are to be.
    """

    cluster: Any
    client: Any
    folder: tempfile.TemporaryDirectory[str]
    n_workers: int

    @classmethod
    def start(cls, n_workers: int | None) -> "LocalWorkers":
        """Start the cluster.

        Raises:
            ResourceError: It does not start.
        """
        import dask
        import joblib
        from distributed import Client, LocalCluster

        n_workers = n_workers or joblib.cpu_count()
        folder = tempfile.TemporaryDirectory(prefix="trivium-dask-", ignore_cleanup_errors=True)
        cluster = None
        # A death is told at once, so that `retries` counts here and not in the scheduler too.
        settings = {"distributed.scheduler.allowed-failures": 0}
        try:
            with dask.config.set(settings):
                cluster = LocalCluster(
                    n_workers=n_workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # its port is asked for in any case
                    scheduler_kwargs={"dashboard": False},
                    silence_logs=logging.CRITICAL + 1,
                    local_directory=folder.name,
                )
                client = Client(cluster, set_as_default=False)
        except BaseException as error:
            if cluster is not None:
                cluster.close()
            folder.cleanup()
            if not isinstance(error, OSError | RuntimeError | TimeoutError):
                raise
            raise ResourceError(
                f"DaskExecutor: a cluster on this machine must start; got {error}",
                remedy="Use fewer workers, or the executor 'processes' or 'serial'. A script needs "
                "`if __name__ == '__main__':` around its work.",
            ) from error
        return cls(cluster, client, folder, n_workers)

    def tend(self) -> None:
        """Start workers again where Dask does not: a nanny gives up when one dies at its start."""
        if len(self.cluster.workers) < self.n_workers:
            self.cluster.scale(self.n_workers)
        for nanny in list(self.cluster.workers.values()):
            process = getattr(nanny, "process", None)
            ended = process is not None and process.status.name in ("stopped", "failed")
            if ended and nanny.status.name in ("running", "starting"):
                with suppress(TimeoutError):
                    self.cluster.sync(nanny.restart, timeout=_RESTART)

    def close(self) -> None:
        """End client, workers and scheduler, and remove their folder."""
        try:
            self.client.close()
        finally:
            try:
                self.cluster.close()
            finally:
                self.folder.cleanup()


def connect(address: str) -> Any:
    """Return a client of the scheduler at an address that has workers.

    Raises:
        ArgumentError: The address is none.
        ResourceError: Nobody answers there, or there are no workers.
    """
    from distributed import Client

    remedy = "Start one with `dask scheduler`, and workers with `dask worker ADDRESS`."
    try:
        client = Client(address, timeout=_ANSWER, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ResourceError(
            f"DaskExecutor: a scheduler must answer within {_ANSWER:g} s; none did",
            where=str(address),
            remedy=f"Check the address and the network. {remedy}",
        ) from error
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            "DaskExecutor: scheduler must be an address such as tcp://host:8786; "
            f"got {address!r}: {error}"
        ) from error
    try:
        client.wait_for_workers(1, timeout=_ANSWER)
    except TimeoutError as error:
        client.close()
        raise ResourceError(
            f"DaskExecutor: a scheduler must have a worker within {_ANSWER:g} s; it has none",
            where=str(address),
            remedy="Start workers with `dask worker ADDRESS`.",
        ) from error
    return client


def versions() -> dict[str, str]:
    """Return what decides the bits of a result in this process."""
    import numpy as np
    import torch

    python = ".".join(platform.python_version_tuple()[:2])
    return {
        "Python": python,
        "trivium": import_module("trivium").__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


def _asked(client: Any, address: str) -> dict[str, Any]:
    """Return what each worker says of itself; one that is on its way out or in is asked again."""
    until = time.monotonic() + _ANSWER
    while True:
        try:
            found = client.run(versions, on_error="return")
            odd = [one for one in found.values() if not isinstance(one, dict | ImportError)]
            problem = odd[0] if odd else None
        except Exception as error:  # whatever a worker that dies just now makes of it
            found, problem = {}, error
        if problem is None:
            return found
        if time.monotonic() > until:
            raise ResourceError(
                f"DaskExecutor: workers must say their versions within {_ANSWER:g} s; "
                f"got {type(problem).__name__}: {problem}",
                where=str(address),
                remedy="Look at the workers' logs.",
            ) from problem
        time.sleep(_PAUSE)


def check_same(client: Any, address: str) -> None:
    """Check that every worker has the versions of this process.

    Raises:
        ArgumentError: One has others, or has no trivium.
        ResourceError: One does not answer.
    """
    ours = versions()
    for worker, theirs in _asked(client, address).items():
        if isinstance(theirs, BaseException):
            raise ArgumentError(
                f"DaskExecutor: workers must have trivium; got {type(theirs).__name__}: {theirs}",
                where=f"worker {worker} of {address}",
                remedy="Install there what is installed here.",
            ) from theirs
        others = [name for name in ours if theirs.get(name) != ours[name]]
        if not others:
            continue
        said = ", ".join(f"{name} {theirs.get(name)} for {ours[name]}" for name in others)
        if others == ["processor"]:
            warnings.warn(
                f"DaskExecutor: worker {worker} has {said}; the last bits of sums may differ",
                TriviumWarning,
                stacklevel=4,
            )
            continue
        raise ArgumentError(
            f"DaskExecutor: workers must have the versions of this process; got {said}",
            where=f"worker {worker} of {address}",
            remedy="Install there what is installed here: other versions give other bits.",
        )
