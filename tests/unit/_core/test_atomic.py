"""A file or folder appears whole or not at all, whatever goes wrong on the way."""

import contextlib
import errno
import os
import signal
import subprocess
import sys

import pytest

from trivium._core import file_lock
from trivium._core.atomic import remove_leftovers
from trivium._core.errors import OutputError, ResourceError
from trivium.store import atomic_folder, atomic_open, atomic_write


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write(path, "one")
    atomic_write(path, b"two \xff")
    assert path.read_bytes() == b"two \xff"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_text_is_utf8_whatever_the_locale(tmp_path):
    atomic_write(tmp_path / "a", "企鹅")
    assert (tmp_path / "a").read_bytes() == "企鹅".encode()


def test_a_link_is_replaced_not_followed(tmp_path):
    (tmp_path / "target").write_text("keep")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    atomic_write(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "keep"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "error", "code"),
    [
        (errno.ENOSPC, ResourceError, 5),
        (errno.EDQUOT, ResourceError, 5),
        (errno.EIO, OutputError, 3),
    ],
)
def test_a_failing_step_leaves_the_old_file(tmp_path, monkeypatch, step, number, error, code):
    path = tmp_path / "a"
    atomic_write(path, "old")

    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(error, match="could not write") as caught:
        atomic_write(path, "new")
    assert caught.value.exit_code == code
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_missing_folder_and_file_as_folder_are_output_errors(tmp_path):
    with pytest.raises(OutputError, match="could not write"):
        atomic_write(tmp_path / "no" / "a", "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not write"):
        atomic_write(tmp_path / "file" / "a", "x")


def _python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_real_limit_on_file_size_is_a_resource_error(tmp_path):
    pytest.importorskip("resource")
    atomic_write(tmp_path / "a", "old")
    code = (
        "import sys, resource; from trivium.store import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n"
        "try: atomic_write(sys.argv[1], b'x' * 1000000)\n"
        "except Exception as e: print(type(e).__name__, e.exit_code)\n"
    )
    result = _python(code, tmp_path / "a")
    assert result.stdout.split() == ["ResourceError", "5"], result.stderr
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_before_the_rename_leaves_the_old_file(tmp_path):
    atomic_write(tmp_path / "a", "old")
    code = (
        "import sys, os, signal; from trivium.store import atomic_write\n"
        "os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "atomic_write(sys.argv[1], b'new')\n"
    )
    assert _python(code, tmp_path / "a").returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["a"]


def test_folder_appears_at_the_end(tmp_path):
    with atomic_folder(tmp_path / "model") as aside:
        (aside / "sub").mkdir()
        (aside / "sub" / "x").write_text("1")
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "model" / "sub" / "x").read_text() == "1"
    assert os.listdir(tmp_path) == ["model"]


def test_folder_refuses_what_exists_unless_told(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("")
    with pytest.raises(OutputError, match="path must be free"), atomic_folder(target):
        pass
    with atomic_folder(target, overwrite=True) as aside:
        (aside / "new").write_text("")
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["model"]
    for name in ("link", "file"):
        path = tmp_path / name
        path.symlink_to(target) if name == "link" else path.write_text("")
        with pytest.raises(OutputError, match="got a"), atomic_folder(path, overwrite=True):
            pass


def test_a_block_that_fails_leaves_the_old_folder(tmp_path):
    target = tmp_path / "model"
    with atomic_folder(target) as aside:
        (aside / "x").write_text("old")
    with pytest.raises(KeyError), atomic_folder(target, overwrite=True):
        raise KeyError
    with (
        pytest.raises(ResourceError),
        atomic_folder(target, overwrite=True) as aside,
    ):
        raise OSError(errno.ENOSPC, "full")
    assert (target / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_every_rename_of_an_overwrite_may_fail(tmp_path, monkeypatch):
    target = tmp_path / "model"
    with atomic_folder(target) as aside:
        (aside / "x").write_text("old")
    real, calls = os.replace, []

    def fail_second(source, to):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(errno.EIO, "broken")
        real(source, to)

    monkeypatch.setattr(os, "replace", fail_second)
    with pytest.raises(OutputError), atomic_folder(target, overwrite=True) as aside:
        (aside / "x").write_text("new")
    assert (target / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_the_old_folder_is_put_back_after_a_kill_between_the_renames(tmp_path):
    old = tmp_path / ".model.trivium-old"
    old.mkdir()
    (old / "x").write_text("old")
    with pytest.raises(OutputError, match="must be free"), atomic_folder(tmp_path / "model"):
        pass
    assert (tmp_path / "model" / "x").read_text() == "old"


WRITES = {
    "file": "with atomic_open(sys.argv[1]) as file:\n    file.write(b'half')\n    file.flush()\n",
    "folder": "with atomic_folder(sys.argv[1], overwrite=True) as aside:\n"
    "    (aside / 'half').mkdir()\n    (aside / 'half' / 'x').write_text('half')\n",
}
KILL = "    os.kill(os.getpid(), signal.SIGKILL)\n"
WAIT = "    print('open', flush=True)\n    sys.stdin.readline()\n"
HEAD = "import os, signal, sys\nfrom trivium._core.atomic import atomic_folder, atomic_open\n"


def write(kind, path, text="whole"):
    if kind == "file":
        atomic_write(path, text)
        return
    with atomic_folder(path, overwrite=True) as aside:
        (aside / "x").write_text(text)


def read(kind, path):
    return (path if kind == "file" else path / "x").read_text()


posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and locks")


@posix
@pytest.mark.parametrize("kind", WRITES)
def test_the_next_writer_of_a_target_removes_what_the_dead_left(kind, tmp_path):
    for name in ("a", "a", "b"):
        killed = _python(HEAD + WRITES[kind] + KILL, tmp_path / name)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = sorted(os.listdir(tmp_path))
    assert len(left) == 2  # the second found that of the first
    write(kind, tmp_path / "a")
    assert len(os.listdir(tmp_path)) == 2  # that of b may be for somebody who writes b
    write(kind, tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert read(kind, tmp_path / "a") == "whole"


@posix
@pytest.mark.parametrize("kind", WRITES)
def test_what_the_living_build_is_left_alone(kind, tmp_path):
    code = HEAD + WRITES[kind] + WAIT
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "open\n"
        (aside,) = os.listdir(tmp_path)
        for number in range(3):
            write(kind, tmp_path / "a", f"mine {number}")
            assert sorted(os.listdir(tmp_path)) == [aside, "a"]
        child.communicate("\n")
    assert child.returncode == 0
    assert os.listdir(tmp_path) == ["a"]
    assert (
        read(kind, tmp_path / "a") == "half" if kind == "file" else (tmp_path / "a/half").is_dir()
    )


@posix
@pytest.mark.parametrize("kind", WRITES)
def test_what_is_not_ours_to_remove_stays(kind, tmp_path, monkeypatch):
    _python(HEAD + WRITES[kind] + KILL, tmp_path / "a")
    (left,) = os.listdir(tmp_path)

    def stays():
        write(kind, tmp_path / "a")
        assert sorted(os.listdir(tmp_path)) == [left, "a"]

    with monkeypatch.context() as change:  # a file system without locks
        change.setattr(file_lock.fcntl, "flock", _refuse_lock)
        stays()
    with monkeypatch.context() as change:
        change.setattr(os, "geteuid", lambda: os.getuid() + 1)
        stays()
    with monkeypatch.context() as change:
        change.setattr("platform.node", lambda: "another machine")
        stays()
    write(kind, tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]
    (tmp_path / "kept").mkdir()
    (tmp_path / left).symlink_to(tmp_path / "kept")
    write(kind, tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == [left, "a", "kept"]


def _refuse_lock(*_):
    raise OSError(errno.ENOLCK, "No locks available")


def test_more_writers_of_one_target_than_there_are_known_names(tmp_path):
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(atomic_open(tmp_path / "a")) for _ in range(11)]
        assert len(os.listdir(tmp_path)) == 11
        for number, file in enumerate(files):
            file.write(b"%d" % number)
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "0"  # the stack ends with the first


@pytest.mark.parametrize("kind", WRITES)
def test_one_who_fails_after_another_took_its_name_leaves_it_alone(kind, tmp_path, monkeypatch):
    """An interruption right after the rename: the hidden name may be the next writer's by then."""
    real = os.replace

    def replaced(source, to):
        real(source, to)
        if kind == "file":
            source.write_text("the next one's")
        else:
            source.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replaced)
    with pytest.raises(KeyboardInterrupt):
        write(kind, tmp_path / "a")
    assert len(os.listdir(tmp_path)) == 2
    assert read(kind, tmp_path / "a") == "whole"
