"""Readers that leave, streams that are closed or full, a locale of nothing: no verb minds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trivium.cli.interrupt import Interruption, Terminated
from trivium.cli.verbs import COMMANDS
from trivium.cost import KINDS, Law, Machine

COMMAND = [sys.executable, "-m", "trivium"]
SLOW = {"calibrate"}  # it measures for a minute; what it prints goes the same way
MACHINE = Machine(
    dict.fromkeys(KINDS, Law(7e-12, 1e-11, 5e-11, 2e-6, 4e-10, 0.1, (1e2, 1e2), (1e13, 1e12), 9)),
    cache=2.0**20,
    calibrated=True,
    about={"processor": "a chip", "cases": 7, "rounds": 4, "seconds": 12.5},
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, station, audit) -> Path:
    """A folder with a table and the run of an audit of it."""
    made = tmp_path_factory.mktemp("streams")
    lines = [f"{i * 7 % 11}.5,{'ab'[i % 3 % 2]}" for i in range(60)]
    (made / "t.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
    assert station.run("audit", "t.csv", "--label", "y", *audit[1:], "run", cwd=made).code == 0
    label = lines[0][-1]
    (made / "f.csv").write_text(f"row,label,new_label\n1,{label},drop\n")
    MACHINE.save(made / "machine.json")
    return made


VERBS = {
    "audit": ["t.csv", "--label", "y", "--permutations", "19", "--folds", "2", "--force"],
    "cost": ["gpt2", "--machine", "machine.json", "--threads", "1"],
    "demo": ["--rows", "100", "--force"],
    "depend": ["t.csv", "--target", "y", "--permutations", "19"],
    "explain": ["run", "--rows", "1,2,3"],
    "fit": ["t.csv", "--label", "y", "--force", "--out", "m"],
    "gradients": ["--repeats", "8", "--samples", "4"],
    "list": [],
    "position": ["--decay"],
    "predict": ["run", "t.csv"],
    "whatif": ["run", "f.csv"],
}


def test_every_verb_is_here():
    assert set(VERBS) | SLOW == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_reader_that_left_before_the_first_word(verb, place, station):
    more = ["--out", verb] if verb in ("audit", "demo") else []
    ended = station.run(verb, *VERBS[verb], *more, cwd=place, out="broken")
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    if verb in ("audit", "demo"):
        assert list((place / verb).rglob("report.html"))


@pytest.mark.parametrize("last", [["--json"], []])
def test_a_gate_trips_whether_anyone_reads_or_not(last, place, station, audit):
    gate = ["t.csv", "--label", "y", "--fail-on", "accuracy<1.01", "--force", *last]
    ended = station.run("audit", *gate, *audit[1:], "gate", cwd=place, out="broken")
    assert ended.code == 4, ended.err


def test_an_audit_goes_on_when_nobody_reads_its_progress(place, station, audit):
    ended = station.run(
        "audit", "t.csv", "--label", "y", *audit[1:], "quiet", cwd=place, err="broken"
    )
    assert ended.code == 0
    assert "Report: " in ended.out
    refused = station.run("audit", "none.csv", "--label", "y", cwd=place, err="broken")
    assert refused.code == 3


def test_the_process_ends_without_a_word_too(place, station):
    """The interpreter writes what is left in the buffers when it ends."""
    ended = station.run("list", cwd=place, out="broken", finalize=True)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_output_is_named_once(place):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "--help"], stdout=full, stderr=subprocess.PIPE, check=False, text=True
        )
    assert done.returncode == 5
    assert done.stderr.startswith("error[E-RESOURCE]: the disk is full")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "shell",
    [
        "{command} cost gpt2 | head -1",
        "{command} cost gpt2 >&-",
        "{command} cost gpt2 2>&-",
        "{command} cost gpt2 <&- >&- 2>&-",
        "LC_ALL=C LANG=C {command} cost gpt2 < /dev/null",
    ],
)
def test_shells(shell, place):
    line = "set -o pipefail; " + shell.format(command=f"'{sys.executable}' -m trivium")
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, cwd=place
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout or ">&-" in shell


def test_a_terminal_is_not_needed_and_not_steered(place, station, audit):
    ended = station.run("audit", "t.csv", "--label", "y", *audit[1:], "dumb", cwd=place)
    assert ended.code == 0
    assert "\x1b" not in ended.out + ended.err
    assert "\r" not in ended.out + ended.err
    assert len(ended.err.splitlines()) == 8  # a line a stage


def test_signals_before_the_verb_begins():
    """While Python starts nothing of ours runs; from then on SIGINT leaves no traceback."""
    code = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'click': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from trivium.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "error[E-INTERRUPTED]: interrupted\n"


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_lost_signal_is_raised_again(number, kind):
    """Compiled code may drop what a handler raises, or make another error of it."""
    before = signal.getsignal(number), signal.getsignal(signal.SIGALRM)
    with Interruption(own=False) as interruption:
        try:
            os.kill(os.getpid(), number)
        except BaseException as error:
            assert error is interruption.asked  # noqa: PT017 - and dropped here
        with pytest.raises(kind):
            time.sleep(5)
        try:
            try:
                os.kill(os.getpid(), number)
            except kind as error:
                raise ValueError from error
        except ValueError:
            time.sleep(0.15)  # clean-up is let run, whatever the error is called by now
        interruption.stop()
        time.sleep(0.1)
    assert (signal.getsignal(number), signal.getsignal(signal.SIGALRM)) == before


def test_an_interruption_that_became_another_error(station, place):
    lost = (
        "import os, signal\n"
        "import trivium.audit\n"
        "def broken(*_, **__):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except BaseException:\n"
        "        raise ValueError('not a valid buffer')\n"
        "trivium.audit.depend_only = broken\n"
    )
    ended = station.run("depend", "t.csv", "--target", "y", "--json", cwd=place, before=lost)
    assert ended.code == 130
    assert json.loads(ended.err)["error"]["code"] == "E-INTERRUPTED"
