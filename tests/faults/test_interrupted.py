"""Signals, a full disk and a crash at any moment: old files whole, and the same bits at the end."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SEED = 20261126
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
MOMENTS = np.random.default_rng(SEED).uniform(0.05, 1, 20).round(3).tolist()
AGAIN = 0.05  # seconds after which a signal that a library lost is raised again


@pytest.fixture(scope="module")
def whole(station, tmp_path_factory, audit, contents):
    """An audit that nothing disturbs: its processor time, its steps on the disk, its files."""
    place = tmp_path_factory.mktemp("whole")
    crash = station.run(*audit, "run", cwd=place, fault=["crash", 0])
    full = station.run(*audit, "again", cwd=place, fault=["full", 0])
    plain = station.run(*audit, "third", cwd=place)
    assert (crash.code, full.code, plain.code) == (0, 0, 0), crash.err + full.err
    assert contents(place / "run") == contents(place / "again") == contents(place / "third")
    return {"cpu": plain.cpu, "crash": crash.steps, "full": full.steps, "place": place / "run"}


def leftovers(place: Path) -> list[str]:
    return [
        str(p.relative_to(place))
        for p in place.rglob("*")
        if p.name.startswith(".trivium-") or p.name in (".journal", ".lock")
    ]


def finish(station: Any, audit: list[str], place: Path) -> str:
    """Give the same command again; return what it said."""
    again = station.run(*audit, "run", cwd=place)
    if again.code == 3:  # it was over before it was stopped: then the same command is refused
        assert json.loads((place / "run" / ".run.json").read_text())["complete"]
        assert "a complete run" in again.err
        # A refusal changes nothing: a run that was killed at its last step has a lock that is free.
        (place / "run" / ".lock").unlink(missing_ok=True)
    else:
        assert again.code == 0, again.err
    assert leftovers(place) == []
    return again.out


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(MOMENTS)))
def test_a_signal_at_a_random_moment(number, whole, station, audit, contents, tmp_path):
    kind = list(SIGNALS)[number % len(SIGNALS)]
    moment = MOMENTS[number] * whole["cpu"]
    for _ in range(3):  # on a busy machine who sends it may come too late
        ended = station.run(*audit, "run", cwd=tmp_path, signal=[int(kind), moment])
        if ended.sent is not None or MOMENTS[number] > 0.8:
            break
        shutil.rmtree(tmp_path / "run")
    # Processor time varies: the last moments may come after the end.
    late = ended.sent is None or ended.sent > ended.cpu - AGAIN
    assert ended.code == SIGNALS[kind] or (ended.code == 0 and late), ended
    assert "Traceback" not in ended.err
    if ended.code > 0:
        assert ended.err.splitlines()[-1].startswith(("error[E-INTERRUPTED]", "error[E-TERMINATED"))
        assert "Run the same command again to resume" in ended.err
    finish(station, audit, tmp_path)
    assert contents(tmp_path / "run") == contents(whole["place"])


def test_a_run_ended_late_goes_on_from_its_journal(whole, station, audit, tmp_path):
    """At four fifths of its steps on the disk, which a busy machine does not move."""
    late = len(whole["crash"]) * 4 // 5
    ended = station.run(*audit, "run", cwd=tmp_path, fault=["crash", late])
    assert ended.code == -9
    journal = {path.stem for path in (tmp_path / "run" / ".journal").glob("*.json")}
    assert len(journal) >= 3
    assert "(resumed)" in finish(station, audit, tmp_path)


def sample(steps: list[str], usual: set[int] | None = None) -> list[int]:
    """Return the first and the last step and some between, or those that are usual.

    With `TRIVIUM_EVERY_STEP=1` all of them, with `TRIVIUM_EVERY_STEP=1-60` these.
    """
    if asked := os.environ.get("TRIVIUM_EVERY_STEP"):
        first, _, last = asked.partition("-")
        return list(range(int(first), min(int(last or len(steps)), len(steps)) + 1))
    middle = np.random.default_rng(SEED).choice(np.arange(2, len(steps)), 10, replace=False)
    return sorted(usual or {1, len(steps), *middle.tolist()})


@pytest.mark.slow
def test_a_crash_at_the_nth_step(whole, station, audit, contents, tmp_path):
    for n in sample(whole["crash"]):
        place = tmp_path / str(n)
        place.mkdir()
        ended = station.run(*audit, "run", cwd=place, fault=["crash", n])
        assert ended.code == -9, (n, ended)
        assert len(ended.steps) == n
        finish(station, audit, place)
        assert contents(place / "run") == contents(whole["place"]), n
        shutil.rmtree(place)


@pytest.mark.slow
def test_a_full_disk_at_the_nth_step(whole, station, audit, contents, tmp_path):
    for n in sample(whole["full"]):
        place = tmp_path / str(n)
        place.mkdir()
        ended = station.run(*audit, "run", cwd=place, fault=["full", n])
        refused(ended, n, len(whole["full"]))
        finish(station, audit, place)
        assert contents(place / "run") == contents(whole["place"]), n
        shutil.rmtree(place)


def refused(ended: Any, n: int, steps: int) -> None:
    """Code 5 in one line; but the last step forces a rename to disk that has happened."""
    if ended.code == 0 and n == steps:
        return
    assert ended.code == 5, (n, ended)
    assert "Traceback" not in ended.err
    line = ended.err.splitlines()[-1]
    assert line.startswith("error[E-RESOURCE]"), line
    assert "No space left" in line or "disk is full" in line


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "crash"])
def test_a_run_written_over_keeps_old_files_or_has_new_ones(
    kind, whole, station, audit, contents, tmp_path
):
    """With --force and another seed: each file is that of one run or of the other, whole."""
    other = station.run(*audit, "other", "--seed", "1", cwd=tmp_path, fault=[kind, 0])
    new, old = contents(tmp_path / "other"), contents(whole["place"])
    files = {"report.json", "rows.csv", "model/tensors.safetensors"}
    assert all(new[name] != old[name] for name in files - {"model/tensors.safetensors"})
    steps = len(other.steps)
    for n in sample(other.steps, {1, 5, steps - 25, steps - 12, steps - 1}):
        place = tmp_path / str(n)
        shutil.copytree(whole["place"], place / "run")
        again = ["run", "--seed", "1", "--force"]
        ended = station.run(*audit, *again, cwd=place, fault=[kind, n])
        assert ended.code == {"full": 5, "crash": -9}[kind], (n, ended)
        found = contents(place / "run")
        for name in files:
            # Between two renames a folder stands beside its place; the next run puts it back.
            kept = found.get(name, found.get(name.replace("model/", ".model.trivium-old/")))
            assert kept in (old[name], new[name]), (n, name)
        assert station.run(*audit, *again, cwd=place).code == 0
        assert contents(place / "run") == new
        assert leftovers(place) == []


def models(place: Path) -> dict[str, bytes] | None:
    """The files of the model; between two renames it stands beside its place."""
    for name in ("model", ".model.trivium-old"):
        if (place / name).is_dir():
            return {file.name: file.read_bytes() for file in (place / name).iterdir()}
    return None


@pytest.mark.parametrize("kind", ["full", "crash"])
def test_a_model_fitted_over_another_is_the_old_or_the_new_one(kind, station, tmp_path):
    """At every step: `trivium fit --force` takes few."""
    for name, times in (("old", 7), ("new", 5)):
        rows = "".join(f"{i * times % 11}.5,{'ab'[i % 2]}\n" for i in range(30))
        (tmp_path / f"{name}.csv").write_text("x,y\n" + rows)
    fit = ["fit", tmp_path / "new.csv", "--label", "y", "--out", "model", "--force"]
    whole = {}
    for name in ("old", "new"):
        place = tmp_path / name
        place.mkdir()
        ended = station.run(*fit[:1], tmp_path / f"{name}.csv", *fit[2:], cwd=place)
        assert ended.code == 0, ended.err
        whole[name] = models(place)
    shutil.copytree(tmp_path / "old", tmp_path / "counted")
    steps = station.run(*fit, cwd=tmp_path / "counted", fault=[kind, 0]).steps
    assert len(steps) >= 14
    assert models(tmp_path / "counted") == whole["new"] != whole["old"]
    for n in range(1, len(steps) + 1):
        place = tmp_path / str(n)
        shutil.copytree(tmp_path / "old", place)
        ended = station.run(*fit, cwd=place, fault=[kind, n])
        refused(ended, n, len(steps)) if kind == "full" else None
        assert kind == "full" or ended.code == -9
        assert models(place) in (whole["old"], whole["new"]), n
        assert station.run(*fit, cwd=place).code == 0
        assert models(place) == whole["new"], n
        assert sorted(os.listdir(place)) == ["model"]


TRAINING = """
import hashlib, sys
import torch
from torch import nn
import trivium.cli
from trivium._core.errors import TriviumError
from trivium.pathkernel import record

def train():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    x, y = torch.randn(12, 3), torch.arange(12) % 2
    loss = nn.functional.cross_entropy
    with record(net, optimizer, loss, store="recording", resume=True, stride=3) as recording:
        for step in range(recording.n_steps, 9):
            ids = torch.arange(step, step + 4) % 12
            recording.batch(ids)
            optimizer.zero_grad()
            loss(net(x[ids]), y[ids]).backward()
            optimizer.step()
    made = recording.made(x[:2])
    seen = [*net.parameters(), torch.as_tensor(made.contributions)]
    print([hashlib.sha256(one.detach().numpy().tobytes()).hexdigest() for one in seen])

def main():
    try:
        train()
    except TriviumError as error:
        print(f"error[{error.code}]: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)

trivium.cli.main = main
"""


@pytest.mark.parametrize("kind", ["full", "crash"])
def test_a_recording_stopped_at_the_nth_step_goes_on_to_the_same_bits(kind, station, tmp_path):
    place = tmp_path / "whole"
    place.mkdir()
    whole = station.run(cwd=place, before=TRAINING, fault=[kind, 0])
    assert whole.code == 0, whole.err
    assert len(whole.steps) > 30
    for n in sample(whole.steps, {2, 5, 9, len(whole.steps) - 1}):
        place = tmp_path / str(n)
        place.mkdir()
        ended = station.run(cwd=place, before=TRAINING, fault=[kind, n])
        refused(ended, n, len(whole.steps)) if kind == "full" else None
        assert kind == "full" or ended.code == -9
        again = station.run(cwd=place, before=TRAINING)
        assert (again.code, again.out) == (0, whole.out), (n, again.err)
        assert not list(place.rglob(".trivium-*"))
