"""One run at a time, refused where something is in the way, resumed after a kill."""

import errno
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from trivium._core import file_lock
from trivium._core.errors import (
    ArgumentError,
    BusyError,
    OutputError,
    ResourceError,
    TriviumWarning,
)
from trivium.store import (
    RunFolder,
    atomic_write,
    fingerprint_of,
    save_model,
    write_csv,
)


def test_new_run_leaves_only_its_files_and_mark(tmp_path):
    with RunFolder(tmp_path / "a" / "run", "f") as run:
        assert not run.resumed
        assert run.journal("read", lambda: (1, 0.1)) == [1, 0.1]
        (run.path / "report.json").write_text("{}")
        run.finish()
    assert sorted(os.listdir(tmp_path / "a" / "run")) == [".run.json", "report.json"]


def test_unfinished_run_resumes_with_the_same_values(tmp_path):
    value = {"x": [0.1 + 0.2, float("inf"), -0.0], "n": float("nan")}
    with RunFolder(tmp_path / "run", "f") as run:
        first = run.journal("fit", lambda: value)
    with RunFolder(tmp_path / "run", "f") as run:
        assert run.resumed
        assert run.has("fit")
        assert not run.has("flag")
        again = run.journal("fit", lambda: pytest.fail("computed again"))
    assert repr(first) == repr(again) == repr(value)


def test_a_stage_that_raises_leaves_no_entry(tmp_path):
    with RunFolder(tmp_path / "run", "f") as run:
        with pytest.raises(ZeroDivisionError):
            run.journal("fit", lambda: 1 / 0)
        assert not run.has("fit")
        with pytest.raises(ArgumentError, match="lower-case"):
            run.journal("../x", lambda: 1)
        with pytest.raises(ArgumentError, match="to_json"):
            run.journal("fit", object)


def _make_obstacle(path, kind):
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
        (path / "mine").write_text("mine")
    elif kind == "link":
        (path.parent / "target").mkdir()
        path.symlink_to(path.parent / "target")
    elif kind == "dangling":
        path.symlink_to(path.parent / "nowhere")
    else:
        with RunFolder(path, "f" if kind == "complete" else "other") as run:
            run.journal("read", lambda: 1)
            if kind == "complete":
                run.finish()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling", "complete", "other"])
def test_existing_output_is_refused_unless_forced(tmp_path, kind):
    path = tmp_path / "run"
    _make_obstacle(path, kind)
    before = sorted(os.listdir(tmp_path)), sorted(os.listdir(path)) if path.is_dir() else None
    with pytest.raises(OutputError, match="got a") as caught:
        RunFolder(path, "f")
    assert caught.value.exit_code == 3
    after = sorted(os.listdir(tmp_path)), sorted(os.listdir(path)) if path.is_dir() else None
    assert before == after
    with RunFolder(path, "f", force=True) as run:
        assert not run.resumed
        assert not run.has("read")
        assert not path.is_symlink()
        run.finish()
    if kind == "folder":
        assert (path / "mine").read_text() == "mine"
    if kind == "link":
        assert os.listdir(tmp_path / "target") == []


def test_empty_folder_is_taken(tmp_path):
    with RunFolder(tmp_path, "f") as run:
        assert not run.resumed


def test_unwritable_places_are_output_errors(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not write"):
        RunFolder(tmp_path / "file" / "run", "f")

    def refuse(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        RunFolder(tmp_path / "run", "f", force=True)


def test_disk_full_keeps_the_earlier_journal(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunFolder(tmp_path / "run", "f") as run:
        run.journal("read", lambda: 1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(ResourceError):
                run.journal("fit", lambda: 2)
        assert run.has("read")
        assert not run.has("fit")


def test_second_run_is_busy_and_first_goes_on(tmp_path):
    with RunFolder(tmp_path / "run", "f") as run:
        for force in (False, True):
            with pytest.raises(BusyError, match="another one"):
                RunFolder(tmp_path / "run", "f", force=force)
        assert run.journal("read", lambda: 1) == 1
    RunFolder(tmp_path / "run", "f").close()


def test_without_fcntl_a_lock_file_serves(tmp_path, monkeypatch):
    monkeypatch.setattr(file_lock, "fcntl", None)
    with RunFolder(tmp_path / "run", "f"), pytest.raises(BusyError, match="delete"):
        RunFolder(tmp_path / "run", "f")
    with RunFolder(tmp_path / "run", "f") as run:
        assert run.resumed


@pytest.mark.skipif(file_lock.fcntl is None, reason="POSIX locks")
def test_a_file_system_without_locks_warns(tmp_path, monkeypatch):
    def no_locks(*_args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_lock.fcntl, "flock", no_locks)
    with pytest.warns(TriviumWarning, match="no locks"):
        RunFolder(tmp_path / "run", "f").close()

    def broken(*_args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(file_lock.fcntl, "flock", broken)
    with pytest.raises(OutputError, match="Input/output"):
        RunFolder(tmp_path / "run", "f")


def test_damaged_journal_is_computed_again(tmp_path):
    with RunFolder(tmp_path / "run", "f") as run:
        run.journal("fit", lambda: {"x": 1.25})
        entry = run.path / ".journal" / "fit.json"
        intact = entry.read_bytes()
        for damaged in (intact[:-1], intact.replace(b"1.25", b"1.75"), b"", b"\xff", b"[]"):
            entry.write_bytes(damaged)
            with pytest.warns(TriviumWarning, match="journal of stage fit is damaged"):
                assert run.journal("fit", lambda: {"x": 2.5}) == {"x": 2.5}
        entry.write_bytes(intact)
        assert run.journal("fit", lambda: None) == {"x": 1.25}


def test_an_entry_of_another_run_or_stage_is_not_used(tmp_path):
    with RunFolder(tmp_path / "run", "f") as run:
        run.journal("fit", lambda: 1)
        (run.path / ".journal" / "fit.json").rename(run.path / ".journal" / "flag.json")
        with pytest.warns(TriviumWarning, match="damaged"):
            assert run.journal("flag", lambda: 2) == 2


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("moment", ["before", "inside", "after"])
def test_killed_run_resumes(tmp_path, moment):
    code = (
        "import os, signal, sys\n"
        "from trivium.store import RunFolder\n"
        "kill = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "path, moment = sys.argv[1:]\n"
        "run = RunFolder(path, 'f')\n"
        "run.journal('read', lambda: 1)\n"
        "if moment == 'before': kill()\n"
        "if moment == 'inside': os.replace = kill\n"
        "run.journal('fit', lambda: 2)\n"
        "kill()\n"
    )
    path = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", code, str(path), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    with RunFolder(path, "f") as run:
        assert run.resumed
        assert run.journal("read", lambda: pytest.fail("computed again")) == 1
        assert run.journal("fit", lambda: 2) == 2
        run.finish()
    assert os.listdir(path) == [".run.json"]


def test_fingerprint_sees_every_part():
    assert fingerprint_of(1, "a") != fingerprint_of(1, "b")
    assert fingerprint_of({"seed": 0}) == fingerprint_of({"seed": 0})


def _whole_run(path):
    with RunFolder(path, "f") as run:
        rows = run.journal("read", lambda: {"rows": 3})
        run.journal("fit", lambda: [0.1 + 0.2, rows["rows"]])
        write_csv(run.path / "rows.csv", ["row"], [["=1"]])
        save_model(run.path / "model", {"w": np.eye(2)}, {"a": 1}, overwrite=True)
        atomic_write(run.path / "report.json", "{}")
        run.finish()


def _content(path):
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_disk_full_at_any_step_resumes_to_the_same_files(tmp_path, monkeypatch, step):
    _whole_run(tmp_path / "straight")
    real = getattr(os, step)
    for n in range(1, 100):
        calls = []

        def full(*arguments, calls=calls, n=n):
            calls.append(arguments)
            if len(calls) == n:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        path = tmp_path / f"{step}-{n}"
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            try:
                _whole_run(path)
            except ResourceError:
                assert not list(path.rglob("*.tmp"))
        if len(calls) < n:  # every step has had its turn
            break
        marked = path / ".run.json"
        if not marked.exists() or b'"complete": false' in marked.read_bytes():
            _whole_run(path)
        assert _content(path) == _content(tmp_path / "straight")
    assert n > 6


def test_of_many_at_once_one_gets_the_folder(tmp_path):
    barrier = threading.Barrier(8)
    held, busy = [], []

    def start():
        barrier.wait()
        try:
            held.append(RunFolder(tmp_path / "run", "f"))
        except BusyError as error:
            busy.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(busy)) == (1, 7)
    held[0].close()
