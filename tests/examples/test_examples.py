"""Every example runs as it stands, from anywhere, without a network, and says something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# Whoever reaches for another machine gets an error instead of a download.
OFFLINE = """
import socket

LOCAL = (None, "", "127.0.0.1", "::1", "localhost")

def barred(call, place):
    def checked(*arguments, **options):
        at = arguments[place]
        if (at[0] if isinstance(at, tuple) else None if call is connect else at) not in LOCAL:
            raise OSError(f"an example must work without a network; it asked for {at!r}")
        return call(*arguments, **options)
    return checked

connect = socket.socket.connect
socket.socket.connect = barred(connect, 1)
socket.getaddrinfo = barred(socket.getaddrinfo, 0)
"""


def run(script: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a script in an empty folder, on one thread, with no network."""
    barred = folder / "offline"
    barred.mkdir()
    (barred / "sitecustomize.py").write_text(OFFLINE)
    work = folder / "work"
    work.mkdir()
    path = os.pathsep.join(filter(None, [str(barred), os.environ.get("PYTHONPATH")]))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return subprocess.run(
        [sys.executable, str(script), "--quick", *options],
        cwd=work,
        env=os.environ | dict.fromkeys(names, "1") | {"PYTHONPATH": path, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_example(script: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    draws = '"--out"' in script.read_text("utf-8")
    done = run(script, tmp_path, *(["--out", str(picture)] if draws else []))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert picture.exists() == draws
    assert not list((tmp_path / "work").iterdir())  # nothing is left where it was started


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise SystemExit(3)", ""),
        ("import socket; socket.create_connection(('192.0.2.1', 9))", "without a network"),
        ("import urllib.request as r; r.urlopen('http://example.org')", "without a network"),
    ],
)
def test_a_bad_example_fails(line: str, said: str, tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text(line)
    done = run(script, tmp_path)
    assert done.returncode != 0
    assert said in done.stderr


def test_a_worker_on_this_machine_may_be_asked(tmp_path: Path) -> None:
    script = tmp_path / "local.py"
    script.write_text(
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(server.getsockname())\n"
        "socket.socketpair()\n"
    )
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
