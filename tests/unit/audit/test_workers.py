"""An audit on workers: the same bits on all, after a worker's death, and after its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trivium.audit import AuditOptions, AuditResult, audit, fit_stage
from trivium.audit.state import Silent
from trivium.parallel import Executor, SerialExecutor, open_executor

Report = Callable[[Any], Any]
FILES = ("rows.csv", "fixes.csv", "model/tensors.safetensors", "model/manifest.json")


def options_of(data: Path) -> AuditOptions:
    return AuditOptions(data=data, label="y", metric="macro_f1", folds=2, permutations=19)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> AuditOptions:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3))
    labels = np.where(X[:, 0] * X[:, 1] + 0.7 * X[:, 2] > 0, "same", "other")
    words = rng.choice(["bar", "pool", "desk", "gym", "lift", "sauna"], size=(90, 4))
    lines = [
        f"{a:.4f},{b:.4f},{c:.4f},2020-0{1 + i % 9}-1{i % 10},{' '.join(said)},{y}"
        for i, ((a, b, c), said, y) in enumerate(zip(X, words, labels, strict=True))
    ]
    data = tmp_path_factory.mktemp("data") / "t.csv"
    data.write_text("\n".join(["a,b,c,day,note,y", *lines]) + "\n")
    return options_of(data)


@pytest.fixture(scope="module")
def serial(options: AuditOptions, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return audit(options, tmp_path_factory.mktemp("runs") / "run")


def assert_same(found: AuditResult, serial: AuditResult, without_clock: Report) -> None:
    assert without_clock(found.report) == without_clock(serial.report)
    for name in FILES:
        assert (found.folder / name).read_bytes() == (serial.folder / name).read_bytes(), name


class Kills(Silent):
    """A listener that kills a worker, once, when two blocks of a stage have ended."""

    def __init__(self, executor: Executor, stage: str) -> None:
        self.executor, self.stage = executor, stage
        self.now, self.killed = "", 0

    def begin(self, name: str) -> None:
        self.now = name

    def step(self, done: int, total: int) -> None:
        if self.now == self.stage and done >= 2 and not self.killed:
            self.killed = worker_pid(self.executor)
            os.kill(self.killed, signal.SIGKILL)


def worker_pid(executor: Any) -> int:
    """The process of one of the workers."""
    if getattr(executor, "_pool", None) is not None:
        return next(iter(executor._pool._all)).process.pid
    pids: dict[str, int] = executor._client.run(os.getpid)
    return next(iter(pids.values()))


@pytest.mark.parametrize(
    ("name", "workers"), [("processes", 2), ("dask", 2)], ids=["processes", "dask"]
)
def test_a_killed_worker_changes_no_bit(
    name: str,
    workers: int,
    options: AuditOptions,
    serial: AuditResult,
    tmp_path: Path,
    without_clock: Report,
) -> None:
    if name == "dask":
        pytest.importorskip("distributed")
    with open_executor(name, n_workers=workers) as executor:
        listener = Kills(executor, "fit")
        found = audit(options, tmp_path / "run", executor=executor, listener=listener)
    assert listener.killed
    assert_same(found, serial, without_clock)


@pytest.mark.parametrize(("name", "workers"), [("processes", 1), ("threads", 2)])
def test_every_executor_gives_the_same_bits(
    name: str,
    workers: int,
    options: AuditOptions,
    serial: AuditResult,
    tmp_path: Path,
    without_clock: Report,
) -> None:
    with open_executor(name, n_workers=workers) as executor:
        found = audit(options, tmp_path / "run", executor=executor)
    assert_same(found, serial, without_clock)


class Dies(Silent):
    """A listener with which the audit ends itself when four blocks of a stage have ended."""

    def __init__(self, stage: str, how: int) -> None:
        self.stage, self.how, self.now = stage, how, ""

    def begin(self, name: str) -> None:
        self.now = name

    def step(self, done: int, total: int) -> None:
        if self.now == self.stage and done == 4:
            os.kill(os.getpid(), self.how)


def die(data: str, out: str) -> None:
    """Run in a process of its own: an audit that is killed half-way."""
    audit(options_of(Path(data)), Path(out), listener=Dies("fit", signal.SIGKILL))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_audit_goes_on_where_it_was_block_by_block(
    how: int,
    options: AuditOptions,
    serial: AuditResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_clock: Report,
) -> None:
    if how == signal.SIGINT:
        # A test that runs behind a shell's `&` begins with SIGINT ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                audit(options, tmp_path / "run", listener=Dies("fit", how))
        finally:
            signal.signal(signal.SIGINT, before)
    else:
        call = (
            f"from test_workers import die; die({str(options.data)!r}, {str(tmp_path / 'run')!r})"
        )
        place = {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
        ended = subprocess.run([sys.executable, "-c", call], env=os.environ | place, check=False)
        assert ended.returncode == -signal.SIGKILL
    again: list[Any] = []
    fold = fit_stage._fit_fold

    def counted(block: Any, given: Any) -> Any:
        again.append(block)
        return fold(block, given)

    monkeypatch.setattr(fit_stage, "_fit_fold", counted)
    found = audit(options, tmp_path / "run")
    assert found.resumed
    assert len(again) == 4 * 2 - 4
    assert_same(found, serial, without_clock)
    assert not (found.folder / ".journal").exists()


def test_the_comparison_of_bits_can_fail(
    options: AuditOptions, serial: AuditResult, tmp_path: Path, without_clock: Report
) -> None:
    class Wrong(SerialExecutor):
        def map(self, function: Any, blocks: Any, **how: Any) -> list[Any]:
            found = super().map(function, blocks, **how)
            for part in found:
                if isinstance(part, dict) and "probabilities" in part:
                    part["probabilities"] = part["probabilities"] * (1 + 1e-15)
            return found

    found = audit(options, tmp_path / "run", executor=Wrong())
    with pytest.raises(AssertionError):
        assert_same(found, serial, without_clock)


def test_several_files_are_one_table(
    options: AuditOptions, serial: AuditResult, tmp_path: Path, without_clock: Report
) -> None:
    assert isinstance(options.data, Path)
    header, *lines = options.data.read_text().splitlines()
    folder = tmp_path / "parts"
    folder.mkdir()
    for part, start in enumerate(range(0, len(lines), 40)):
        text = "\n".join([header, *lines[start : start + 40]]) + "\n"
        (folder / f"{part}.csv").write_text(text)
    (folder / "_SUCCESS").write_text("")
    found = audit(options_of(folder), tmp_path / "run")
    assert found.report["data"]["source"] == "0.csv and 2 more files"
    whole = json.dumps(without_clock(found.report)).replace("0.csv and 2 more files", "t.csv")
    assert json.loads(whole) == json.loads(json.dumps(without_clock(serial.report)))
    for name in FILES:
        assert (found.folder / name).read_bytes() == (serial.folder / name).read_bytes(), name
