"""`trivium calibrate` and `trivium cost --machine`: files, refusals, what is printed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trivium.cli import main
from trivium.cost import KINDS, Law, Machine

MACHINE = Machine(
    dict.fromkeys(KINDS, Law(7e-12, 1e-11, 5e-11, 2e-6, 4e-10, 0.1, (1e2, 1e2), (1e13, 1e12), 9)),
    cache=2.0**20,
    calibrated=True,
    about={"processor": "a chip", "cases": 7, "rounds": 4, "seconds": 12.5},
)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Calibrations that were asked for; none is run."""
    found: list[dict[str, Any]] = []

    def calibrated(**given: Any) -> Machine:
        given["progress"](3, 10)
        found.append(given)
        return MACHINE

    monkeypatch.setattr(Machine, "calibrate", calibrated)
    return found


def test_a_file_and_a_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, asked: list[dict[str, Any]]
) -> None:
    path = tmp_path / "machine.json"
    arguments = ("calibrate", "--seconds", 20, "--threads", 2, "--seed", 5, "--out", path)
    assert call(*arguments) == 0
    captured = capsys.readouterr()
    assert Machine.load(path) == MACHINE
    assert "GFLOP/s" in captured.out
    assert "142.9" in captured.out
    assert f"Machine file: {path}" in captured.out
    assert captured.err.strip() == "calibrate  7 calls, each at least 4 times  [12.5 s]"
    (given,) = asked
    assert (given["seconds"], given["threads"], given["dtype"]) == (20.0, 2, "float32")
    assert given["random_state"] == 5
    assert {case.operation.kind for case in given["cases"]} == {
        "linear attention",
        "causal linear attention",
    }
    assert call(*arguments) == 3
    assert "E-EXISTS" in capsys.readouterr().err
    assert call(*arguments, "--force") == 0
    assert len(asked) == 2


def test_one_object(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, asked: list[dict[str, Any]]
) -> None:
    path = tmp_path / "machine.json"
    assert call("calibrate", "--out", path, "--json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["file"] == str(path)
    assert found["laws"]["linear"]["flops"] == 7e-12
    assert captured.err == ""


def test_the_usual_place(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[dict[str, Any]],
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert call("calibrate") == 0
    assert Machine.load() == MACHINE
    assert call("calibrate") == 0  # what it knew of the machine is measured again
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert call("calibrate") == 3
    assert "--out FILE" in capsys.readouterr().err
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.delenv("HOME")
    assert call("calibrate") == 2
    assert "HOME or XDG_DATA_HOME must be set" in capsys.readouterr().err
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--seconds", "3"], 2, "seconds must be a finite number from 10"),
        (["--seconds", "nan"], 2, "seconds must be"),
        (["--threads", "0"], 2, "threads must be at least 1"),
        (["--dtype", "int8"], 2, "dtype must be one of float32"),
        (["--out", "no-such-folder/machine.json"], 3, "could not write"),
    ],
)
def test_refused_before_it_measures(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    asked: list[dict[str, Any]],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "machine.json")]
    assert call("calibrate", *arguments, *out) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not asked


def test_cost_with_a_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    MACHINE.save(path)
    arguments = ("cost", "bert-base-uncased", "--attention", "sdpa", "--machine", path)
    assert call(*arguments, "--lengths", "128,512", "--threads", 1) == 0
    out = " ".join(capsys.readouterr().out.split())
    for text in (
        "time",
        "In FLOPs: ffn = attention at n = 1,536; in time: n = ",
        "Use the fused path: sdpa computes the same as eager and saves",
        "In seconds",
    ):
        assert text in out
    assert "These are counts" not in out
    assert call(*arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["seconds"]) == 3
    assert found["comparison"]["designs"][0]["seconds"][0] > 0


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--threads", "4"], 2, "threads must be 1"),
        (["--itemsize", "2"], 2, "itemsize must be 4"),
        (["--mode", "train"], 2, "mode must be forward, prefill or decode"),
    ],
)
def test_a_machine_of_another_kind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, more: list[str], code: int, said: str
) -> None:
    path = tmp_path / "machine.json"
    MACHINE.save(path)
    assert call("cost", "gpt2", "--machine", path, *more) == code
    assert said in capsys.readouterr().err


def test_a_file_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text("{}")
    assert call("cost", "gpt2", "--machine", tmp_path / "machine.json") == 3
    assert "error[E-MACHINE]" in capsys.readouterr().err
    assert call("cost", "gpt2", "--machine", tmp_path / "none.json") == 3
    assert call("cost", "gpt2", "--threads", 1) == 2
    assert "give --machine FILE" in capsys.readouterr().err


def test_seconds_import_no_torch_either(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    MACHINE.save(path)
    code = (
        "import sys\nfrom trivium.cli import main\n"
        f"try: main(['cost', 'gpt2', '--machine', {str(path)!r}])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "print([m for m in ('torch', 'numpy') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
