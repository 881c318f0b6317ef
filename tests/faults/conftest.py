"""A station that runs the command line in children, and what of a run must come back the same."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))  # for what children of the tests run, too

CLOCK = {"created", "seconds", "bytes", "command", "milliseconds"}
CLOCK |= {"predicted_seconds", "predicted_low", "predicted_high", "machine"}
FAST = ["--permutations", "19", "--folds", "2"]


@dataclass
class Ended:
    """How a child ended."""

    code: int
    cpu: float
    out: str
    err: str
    steps: list[str]
    sent: float | None
    """Processor time when the signal was sent; `None` where it had ended by then."""


class Station:
    """Runs `trivium ARGUMENTS`, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "station.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def run(self, *arguments: object, cwd: Path, **how: Any) -> Ended:
        """Run to the end. `how`: signal, fault, memory, before, env, out, err,
        timeout, finalize."""
        places = {name: self.folder / name for name in ("out", "err", "log", "end")}
        for place in places.values():
            place.unlink(missing_ok=True)
        asked = {
            "arguments": [str(a) for a in arguments],
            "cwd": str(cwd),
            "env": {},
            "signal": None,
            "fault": None,
            "memory": 0,
            "before": "",
            "timeout": 120,
            "finalize": False,
            **{name: str(place) for name, place in places.items()},
            **how,
        }
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        found = json.loads(self._line())
        texts = [
            place.read_text("utf-8", "replace") if place.exists() else ""
            for place in places.values()
        ]
        cpu = float(texts[3]) if texts[3] else found["cpu"]
        steps = texts[2].splitlines()
        return Ended(found["code"], cpu, texts[0], texts[1], steps, found["sent"])

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    made = Station(tmp_path_factory.mktemp("station"))
    yield made
    made.close()


def without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_clock(v) for k, v in value.items() if k not in CLOCK}
    return [without_clock(v) for v in value] if isinstance(value, list) else value


def _contents(run: Path) -> dict[str, Any]:
    """Every file of a run: bytes, but the report without its clock, and the page only as there."""
    found: dict[str, Any] = {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file()
    }
    if "report.json" in found:
        found["report.json"] = without_clock(json.loads(found["report.json"]))
    if "report.html" in found:
        found["report.html"] = found["report.html"][-8:]
    return found


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, Any]]:
    return _contents


@pytest.fixture(scope="session")
def audit() -> list[str]:
    """The arguments of an audit of the bundled table, all but where to."""
    return ["audit", *FAST, "--out"]
