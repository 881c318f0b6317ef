"""Dask: workers that die or hang, clusters that are not ours, addresses where nobody is."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trivium._core.errors import ArgumentError, MissingExtraError, ResourceError, TriviumWarning
from trivium.parallel import DaskExecutor, dask_cluster

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskExecutor]:
    with DaskExecutor(n_workers=2) as opened:
        yield opened


def address_of(executor: DaskExecutor) -> str:
    return executor._client.scheduler_info()["address"]


def drawn(number: int) -> torch.Tensor:
    return torch.randn(40, 4, generator=torch.Generator().manual_seed(number)).sum(0)


def naps(number: int, seconds: float) -> torch.Tensor:
    time.sleep(seconds)
    return drawn(number)


def stops_once(number: int, place: str) -> torch.Tensor:
    if number == 1 and not Path(place, "pid").exists():
        Path(place, "pid").write_text(str(os.getpid()))
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGSTOP)
    return drawn(number)


def pid(number: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def same(found: list[torch.Tensor], n: int) -> bool:
    wanted = [drawn(number) for number in range(n)]
    return all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_a_worker_killed_by_its_pid(dask: DaskExecutor) -> None:
    victim = dask.map(pid, range(1))[0]
    running = dask.each(naps, range(12), shared=0.05)
    found = dict([next(running)])
    os.kill(victim, signal.SIGKILL)
    found |= dict(running)
    assert same([found[number] for number in range(12)], 12)


def test_a_worker_that_hangs_is_killed(dask: DaskExecutor, tmp_path: Path) -> None:
    dask.timeout = 3.0
    try:
        assert same(dask.map(stops_once, range(4), shared=str(tmp_path)), 4)
    finally:
        dask.timeout = None
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_worker_of_a_cluster_at_an_address_that_hangs(dask: DaskExecutor, tmp_path: Path) -> None:
    with DaskExecutor(address_of(dask), timeout=3.0) as guest:
        assert same(guest.map(stops_once, range(4), shared=str(tmp_path)), 4)
    assert gone(int((tmp_path / "pid").read_text()))


def test_many_blocks_do_not_pile_up(dask: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    ask = dask._client.map

    def counted(*args: Any, **more: Any) -> Any:
        nonlocal most
        futures = ask(*args, **more)
        most = max(most, len(dask._client.futures))
        return futures

    monkeypatch.setattr(dask._client, "map", counted)
    assert same(dask.map(drawn, range(300)), 300)
    assert most <= 2 * 2 * 16 + 2  # in flight, and as many that have just come


def test_a_cluster_at_an_address_goes_on(dask: DaskExecutor) -> None:
    with DaskExecutor(address_of(dask)) as guest:
        assert guest.n_workers >= 1
        assert same(guest.map(drawn, range(3)), 3)
    assert same(dask.map(drawn, range(3)), 3)


def test_a_worker_with_other_versions(dask: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(torch, "__version__", "0.9")
        with pytest.raises(ArgumentError, match=r"versions of this process; got torch .* for 0\.9"):
            DaskExecutor(address_of(dask))
    with monkeypatch.context() as patched:
        patched.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "other")
        with pytest.warns(TriviumWarning, match="last bits of sums may differ"):
            DaskExecutor(address_of(dask)).close()


def test_a_worker_without_trivium() -> None:
    class Stranger:
        def run(self, function: Any, on_error: str) -> dict[str, Any]:
            return {"tcp://there": ModuleNotFoundError("No module named 'trivium'")}

    with pytest.raises(ArgumentError, match="workers must have trivium; got ModuleNotFoundError"):
        dask_cluster.check_same(Stranger(), "tcp://here")


def test_a_worker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute:
        def run(self, function: Any, on_error: str) -> dict[str, Any]:
            raise OSError("no route")

    monkeypatch.setattr(dask_cluster, "_ANSWER", 0.1)
    with pytest.raises(ResourceError, match=r"say their versions within 0\.1 s; got OSError"):
        dask_cluster.check_same(Mute(), "tcp://here")


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "_ANSWER", 0.5)
    with pytest.raises(ResourceError, match=r"within 0\.5 s; none did \(tcp://127\.0\.0\.1:1\)"):
        DaskExecutor("tcp://127.0.0.1:1")
    with pytest.raises(ArgumentError, match="scheduler must be an address"):
        DaskExecutor("nowhere at all")
    with pytest.raises(ArgumentError, match="n_workers must not come with an address"):
        DaskExecutor("tcp://127.0.0.1:1", 2)


def test_dask_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"Install trivium\[dask\]"):
        DaskExecutor()


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "_ANSWER", 0.5)
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address=":0", silence_logs=60
        ) as empty,
        pytest.raises(ResourceError, match="must have a worker within"),
    ):
        DaskExecutor(empty.scheduler_address)
