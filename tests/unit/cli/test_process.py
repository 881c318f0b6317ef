"""Faults that need a process of their own: signals, pipes, locale, home, network, hostile names."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trivium.table import demo_table

CLOCK = {"created", "seconds", "bytes", "command"}
FAST = ["--permutations", "199", "--folds", "3"]
COMMAND = [sys.executable, "-m", "trivium"]
NO_NETWORK = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from trivium.cli import main
main(sys.argv[1:])
"""


def without_clock(value: object) -> object:
    if isinstance(value, dict):
        return {k: without_clock(v) for k, v in value.items() if k not in CLOCK}
    return [without_clock(v) for v in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "demo.csv"
    path.write_text(demo_table(300, seed=1).csv, encoding="utf-8")
    return path


def audit_of(data: Path, out: Path) -> list[str]:
    return [*COMMAND, "audit", str(data), "--label", "recommends", "--out", str(out), *FAST]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    out = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(audit_of(data, out), check=True, capture_output=True)
    return without_clock(json.loads((out / "report.json").read_text()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "after", "delay"),
    [
        # Twenty moments more: tests/faults/test_interrupted.py.
        (signal.SIGINT, 130, "read", 0.05),
        (signal.SIGKILL, -9, "fit", 0.05),
    ],
)
def test_a_signal_then_the_same_command_gives_the_same_bits(
    number: signal.Signals,
    code: int,
    after: str,
    delay: float,
    data: Path,
    whole: object,
    tmp_path: Path,
) -> None:
    for attempt in range(5):
        out = tmp_path / f"run {attempt}"
        with subprocess.Popen(audit_of(data, out), stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.split()[:1] == [after]:
                    break
            time.sleep(delay)
            process.send_signal(number)
            rest = process.stderr.read()
            ended = process.wait()
        if ended:  # on a busy machine it may be over by then
            break
    assert ended == code
    if code > 0:
        assert "Run the same command again to resume" in rest
        assert "Traceback" not in rest
    subprocess.run(audit_of(data, out), check=True, capture_output=True)
    assert without_clock(json.loads((out / "report.json").read_text())) == whole


@pytest.mark.slow
def test_plain_locale_no_home_no_network(data: Path, whole: object, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C",
        "LANG": "C",
        "HOME": "/nonexistent/home",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    out = tmp_path / "run"
    command = audit_of(data, out)[len(COMMAND) :]
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, *command],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert without_clock(json.loads((out / "report.json").read_text())) == whole


def test_a_closed_pipe_is_no_fault(data: Path) -> None:
    arguments = [*COMMAND, "depend", str(data), "--target", "recommends", "--permutations", "19"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait() == 0
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@pytest.mark.slow
def test_hostile_names_reach_neither_page_nor_terminal(tmp_path: Path) -> None:
    bad = '<img src=x onerror=alert(1)>\x1b[31m"\u202e'
    path = tmp_path / "<script>alert(1)<!--.csv"
    lines = [f'"{bad.replace(chr(34), chr(34) * 2)}",x,y']
    lines += [f"<b>{i % 3}</b>,{i % 7},=cmd|'{i % 2}'" for i in range(60)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    out = tmp_path / "run"
    command = [*COMMAND, "audit", str(path), "--label", "y", "--out", str(out), *FAST]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\u202e" not in done.stdout + done.stderr
    page = (out / "report.html").read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert json.loads((out / "report.json").read_text())["data"]["classes"][0]["name"] == "=cmd|'0'"
    for line in (out / "rows.csv").read_text().splitlines()[1:]:
        assert not line.split(",")[1].startswith("=")


def test_text_features_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "from trivium.dependence.text_features import text_features as f;"
        "print(f([f'w{i} w{i * 7 % 31} x{i % 5} y{i % 11}' for i in range(90)])[0].numpy()"
        ".tobytes().hex())"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(outs) == 1
