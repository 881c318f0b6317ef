"""Workers that die, hang, starve or cannot say what they mean; and what is left behind."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trivium._core.errors import ArgumentError, ResourceError, TriviumWarning
from trivium.parallel import BlockJournal, Executor, JoblibExecutor, SerialExecutor, open_executor

ROOT = Path(__file__).parents[3]
LINUX = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")


@pytest.fixture(scope="module")
def processes() -> Iterator[JoblibExecutor]:
    with JoblibExecutor(2) as opened:
        yield opened


@pytest.fixture
def hasty(processes: JoblibExecutor) -> Iterator[JoblibExecutor]:
    """With a limit of two seconds for a block: a busy machine takes long for a short one, too."""
    processes.timeout = 2.0
    yield processes
    processes.timeout = None


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "gone"


def children() -> set[int]:
    """Processes of ours, but for the two that Python and loky keep to watch over semaphores."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
            said = (folder / "cmdline").read_text()
        except OSError:
            continue
        if int(parent) == os.getpid() and "resource_tracker" not in said:
            found.add(int(folder.name))
    return found


def once(place: str, name: Any) -> bool:
    """Whether this is the first time, over all workers."""
    try:
        Path(place, str(name)).open("x").close()
    except FileExistsError:
        return False
    return True


def drawn(number: int) -> torch.Tensor:
    return torch.randn(40, 4, generator=torch.Generator().manual_seed(number)).sum(0)


def dies_once(number: int, place: str) -> torch.Tensor:
    if number in {1, 4} and once(place, number):
        os.kill(os.getpid(), signal.SIGKILL)
    return drawn(number)


def stops_once(number: int, place: str) -> torch.Tensor:
    if number == 2 and once(place, f"pid-{os.getpid()}") and len(os.listdir(place)) == 1:
        child = subprocess.Popen(["sleep", "600"])
        Path(place, "child").write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGSTOP)
    return drawn(number)


def starves_once(number: int, place: str) -> torch.Tensor:
    if number == 2 and once(place, number):
        raise MemoryError("no page left")
    if number == 3 and once(place, number):
        torch.empty(1 << 60, dtype=torch.uint8)
    return drawn(number)


def dies(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def naps(number: int, seconds: float) -> torch.Tensor:
    time.sleep(seconds)
    return drawn(number)


def same(found: list[torch.Tensor], n: int) -> bool:
    wanted = [drawn(number) for number in range(n)]
    return all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


# ---- death, hanging, hunger -------------------------------------------------------------------


@pytest.mark.parametrize("function", [dies_once, starves_once])
def test_what_was_lost_runs_again(processes: Executor, tmp_path: Path, function: Any) -> None:
    assert same(processes.map(function, range(6), shared=str(tmp_path)), 6)


@LINUX
def test_a_worker_killed_by_its_pid(processes: JoblibExecutor) -> None:
    running = processes.each(naps, range(8), shared=0.05)
    found = dict([next(running)])
    victim = next(worker.process.pid for worker in processes._pool._all)
    os.kill(victim, signal.SIGKILL)
    found |= dict(running)
    assert same([found[number] for number in range(8)], 8)
    assert state_of(victim) == "gone"


@LINUX
def test_a_worker_that_hangs_is_killed_with_all_it_started(hasty: Executor, tmp_path: Path) -> None:
    assert same(hasty.map(stops_once, range(5), shared=str(tmp_path)), 5)
    pids = [int(path.name[4:]) for path in tmp_path.glob("pid-*")]
    stopped = min(pids, key=lambda pid: (tmp_path / f"pid-{pid}").stat().st_mtime)
    assert state_of(stopped) == "gone"
    assert state_of(int((tmp_path / "child").read_text())) in "gone Z"


def test_the_clock_of_a_block_starts_with_it(hasty: Executor) -> None:
    # Eight blocks of 0.6 s on two workers: the last one ends after the limit of one.
    assert same(hasty.map(naps, range(8), shared=0.6), 8)


def test_a_reader_that_takes_its_time_loses_nobody(hasty: JoblibExecutor) -> None:
    running = hasty.each(naps, range(6), shared=0.02)
    found = dict([next(running)])
    before = {worker.process.pid for worker in hasty._pool._all}
    time.sleep(2.3)  # longer than a block may take
    found |= dict(running)
    assert same([found[number] for number in range(6)], 6)
    assert {worker.process.pid for worker in hasty._pool._all} == before


def test_a_block_that_kills_every_worker_is_named(processes: JoblibExecutor) -> None:
    processes.retries = 1
    try:
        with pytest.raises(ResourceError, match=r"tried 2 times.*SIGKILL \(block 3.*memory") as e:
            processes.map(dies, range(5))
    finally:
        processes.retries = 3
    assert e.value.exit_code == 5


def test_out_of_memory_in_this_process_is_said_at_once(tmp_path: Path) -> None:
    with open_executor("threads", n_workers=2) as threads, pytest.raises(MemoryError, match="page"):
        threads.map(starves_once, range(3), shared=str(tmp_path))


def test_a_thread_cannot_be_ended() -> None:
    with JoblibExecutor(2, "threading", timeout=0.2) as threads:
        begun = time.monotonic()
        with pytest.raises(ResourceError, match=r"a thread cannot be ended.*processes"):
            threads.map(naps, range(2), shared=6.0)
    assert time.monotonic() - begun < 5.5


# ---- what cannot be sent ----------------------------------------------------------------------


class LosesError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)
        self.two = two


def raises_oddly(number: int, place: str) -> None:
    Path(place, f"{number}-{time.time_ns()}").touch()
    raise LosesError("what it said", "more")


def gives_a_lock(number: int, place: str) -> Any:
    Path(place, f"{number}-{time.time_ns()}").touch()
    return threading.Lock()


class Bomb:
    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    raise RuntimeError("not here")


def gives_a_bomb(number: int, place: str) -> Any:
    return Bomb()


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (
            raises_oddly,
            "an error raised in block 0 must pickle.*LosesError: what it said.*__reduce__",
        ),
        (gives_a_lock, "the result of block 0 must pickle.*lock.*serial"),
        (gives_a_bomb, "the result of block 0 must come out of its pickle.*not here"),
    ],
)
def test_what_cannot_come_back(
    processes: Executor, tmp_path: Path, function: Any, says: str
) -> None:
    with pytest.raises(ArgumentError, match=says):
        processes.map(function, range(1), shared=str(tmp_path))
    assert len(os.listdir(tmp_path)) <= 1  # not tried again


def test_what_cannot_go(processes: Executor) -> None:
    lock = threading.Lock()
    with pytest.raises(ArgumentError, match=r"function must pickle.*top of a module"):
        processes.map(lambda number: lock, range(2))
    with pytest.raises(ArgumentError, match=r"shared must pickle.*lock"):
        processes.map(naps, range(2), shared=lock)
    with pytest.raises(ArgumentError, match=r"block 1 must pickle.*lock"):
        processes.map(drawn, [0, lock])
    with pytest.raises(ArgumentError, match=r"must come out of their pickle in a worker.*not here"):
        processes.map(naps, range(2), shared=Bomb())
    assert same(processes.map(drawn, range(3)), 3)


def test_a_function_of_a_script_goes(processes: Executor) -> None:
    assert processes.map(lambda number: number + 1, range(3)) == [1, 2, 3]


def leaves(number: int) -> None:
    print("a word from a block", flush=True)
    raise SystemExit(7)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_a_block_that_prints_and_leaves(name: str, processes: Executor) -> None:
    executor = processes if name == "processes" else JoblibExecutor(2, "threading")
    with pytest.raises(SystemExit, match="7"):
        executor.map(leaves, range(2))


def test_large_blocks_and_results_do_not_wait_for_each_other(processes: Executor) -> None:
    blocks = [torch.full((1 << 20,), float(number)) for number in range(6)]
    found = processes.map(torch.neg, blocks)
    assert all(torch.equal(one, -block) for one, block in zip(found, blocks, strict=True))


def where(number: int, shared: dict[str, Any]) -> tuple[int, int, int, bool]:
    shared["x"][number] = 1.0  # a copy of this worker's own
    return os.getpid(), shared["x"].data_ptr(), shared["y"].ctypes.data, shared["y"].flags.owndata


def test_shared_is_mapped_once_by_each_worker(processes: Executor) -> None:
    shared = {"x": torch.zeros(50_000), "y": torch.zeros(50_000).numpy()}
    found = processes.map(where, range(20), shared=shared)
    assert len({place[:3] for place in found}) == len({place[0] for place in found}) <= 2
    assert not any(place[3] for place in found)
    assert not shared["x"].any()


# ---- threads ----------------------------------------------------------------------------------


def counts(number: int) -> tuple[int, int]:
    warnings.warn(f"block {number}", TriviumWarning, stacklevel=1)
    before = torch.get_num_threads()
    time.sleep(0.001 * (number % 3))
    return before, torch.get_num_threads()


def test_threads_that_overlap_keep_one_thread_and_their_own_warnings() -> None:
    shown, filters, limit = warnings.showwarning, list(warnings.filters), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with JoblibExecutor(4, "threading") as threads, pytest.warns(TriviumWarning) as seen:
            found = threads.map(counts, range(60))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(limit)
    assert {*found} == {(1, 1)}
    assert [str(one.message) for one in seen] == [f"block {number}" for number in range(60)]
    assert (warnings.showwarning, list(warnings.filters)) == (shown, filters)


def interrupts(done: int, total: int) -> None:
    if done == 2:
        raise KeyboardInterrupt


# ---- what is left behind ----------------------------------------------------------------------


@LINUX
def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before, handles = children(), len(os.listdir("/proc/self/fd"))
    with JoblibExecutor(2) as executor:
        dropped = executor.each(naps, range(9), shared=0.3)
        next(dropped)
        assert len(children() - before) == 2
        dropped.close()
        assert len(children() - before) <= 1  # nobody asks for what the other one does
        with pytest.raises(KeyboardInterrupt):
            executor.map(naps, range(9), shared=0.01, progress=interrupts)
    assert children() <= before
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) <= handles + 2  # to the two that watch semaphores


@LINUX
def test_an_executor_forgotten_leaves_nothing() -> None:
    before = children()
    executor = JoblibExecutor(1)
    executor.map(drawn, range(2))
    assert children() - before
    del executor
    assert children() <= before


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
sys.path.insert(0, {root!r})
from tests.unit.parallel.test_workers import drawn, kept_in, naps
from trivium.parallel import JoblibExecutor
with JoblibExecutor(1) as executor:
    for number, _ in executor.each(naps, range(40), shared=0.1, journal=kept_in({place!r})):
        print(number, executor._pool._all.copy().pop().process.pid, flush=True)
"""


def kept_in(place: str) -> BlockJournal:
    return BlockJournal(place, "drawn")


def counted(number: int, place: str) -> torch.Tensor:
    once(place, number)
    return drawn(number)


@LINUX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_parent_killed_goes_on_where_it_was(tmp_path: Path, number: signal.Signals) -> None:
    place, seen = tmp_path / "journal", tmp_path / "seen"
    seen.mkdir()
    script = SCRIPT.format(root=str(ROOT), place=str(place))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        for _ in range(3):
            worker = int(parent.stdout.readline().split()[1])
        parent.send_signal(number)
        assert parent.wait(120) != 0
    until = time.monotonic() + 60
    while state_of(worker) not in "gone Z" and time.monotonic() < until:
        time.sleep(0.05)
    assert state_of(worker) in "gone Z"
    kept = len(list(place.glob("*.safetensors")))
    assert 3 <= kept < 40
    found = SerialExecutor().map(counted, range(40), shared=str(seen), journal=kept_in(str(place)))
    assert same(found, 40)
    assert len(os.listdir(seen)) == 40 - kept


# ---- the journal ------------------------------------------------------------------------------


def test_a_damaged_file_runs_again(tmp_path: Path) -> None:
    journal = kept_in(str(tmp_path))
    SerialExecutor().map(drawn, range(4), journal=journal)
    entry = tmp_path / "00000002.safetensors"
    whole = bytearray(entry.read_bytes())
    whole[-3] ^= 1
    entry.write_bytes(whole)
    (tmp_path / "00000003.safetensors").write_bytes(whole[:50])
    with pytest.warns(TriviumWarning, match="is damaged; the block runs again") as seen:
        assert same(SerialExecutor().map(drawn, range(4), journal=journal), 4)
    assert len(seen) == 2


def test_a_full_disk_keeps_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, calls, real = kept_in(str(tmp_path)), [], os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 5:  # a file and its folder for each block: the third block's file
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ResourceError, match="No space left"):
            SerialExecutor().map(drawn, range(5), journal=journal)
    assert sorted(os.listdir(tmp_path)) == ["00000000.safetensors", "00000001.safetensors"]
    assert same(SerialExecutor().map(drawn, range(5), journal=journal), 5)


def test_a_full_disk_for_what_is_shared(
    processes: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(ResourceError, match="No space left"):
        processes.map(drawn, range(2))
