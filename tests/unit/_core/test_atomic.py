"""A file or folder appears whole or not at all, whatever goes wrong on the way."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from trivium._core.atomic import remove_leftovers
from trivium._core.errors import OutputError, ResourceError
from trivium.store import atomic_folder, atomic_write


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
