"""A recording in a folder survives being killed, and refuses what is not its own."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from trivium._core.errors import ArgumentError, BusyError, ModelError, OutputError
from trivium.pathkernel import Recording, record

SCRIPT = textwrap.dedent(
    """
    import random, sys, time
    import numpy as np, torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812 - torch's own habit
    from trivium.pathkernel import record

    def train(folder, steps, slow=0.0):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        draw = torch.Generator().manual_seed(1)
        x, y = torch.randn(40, 5, generator=draw), torch.randint(3, (40,), generator=draw)
        net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
        torch.manual_seed(2); random.seed(3); np.random.seed(4)
        with record(net, optimizer, F.cross_entropy, store=folder, resume=True, stride=10,
                    keep={"rate": rate, "draw": draw}) as recording:
            for step in range(recording.n_steps, steps):
                ids = [f"row {int(one)}" for one in torch.randperm(40, generator=draw)[:6]]
                ids[0] = f"row {random.randrange(40)}"
                ids[1] = f"row {np.random.randint(40)}"
                at = [int(one.split()[1]) for one in ids]
                recording.batch(ids)
                optimizer.zero_grad()
                F.cross_entropy(net(x[at]), y[at]).backward()
                optimizer.step()
                rate.step()
                time.sleep(slow)
        return recording, x

    if __name__ == "__main__":
        train(sys.argv[1], 10_000, 0.005)
    """
)


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    space = {"__name__": "train"}
    exec(compile(SCRIPT, str(path), "exec"), space)
    return path, space["train"]


def killed(path, folder, parts):
    """Start a training and kill it once it has written so many parts."""
    child = subprocess.Popen([sys.executable, path, folder], env=os.environ)
    deadline = time.monotonic() + 300
    while len(list(folder.glob("part-*"))) < parts:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, script):
    path, train = script
    folder = tmp_path / "killed"
    killed(path, folder, 3)
    killed(path, folder, 6)
    found = Recording.load(folder, *small("AdamW"), F.cross_entropy).n_steps
    assert found >= 50
    steps = found + 25
    going_on, x = train(folder, steps)
    whole, _ = train(tmp_path / "whole", steps)
    assert going_on.ids == whole.ids
    one, other = going_on.made(x[:3], of="margin"), whole.made(x[:3], of="margin")
    assert torch.equal(one.contributions, other.contributions)
    assert torch.equal(one.after, other.after)
    assert float(one.contributions.abs().max()) > 0


def small(kind="SGD"):
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    return net, getattr(torch.optim, kind)(net.parameters(), lr=0.01)


def trained(steps=25, **settings):
    torch.manual_seed(0)
    net, optimizer = small()
    x, y = torch.randn(20, 5), torch.randint(3, (20,))
    with record(net, optimizer, F.cross_entropy, stride=10, **settings) as recording:
        for _ in range(recording.n_steps, steps):
            ids = torch.randperm(20)[:4]
            recording.batch(ids)
            optimizer.zero_grad()
            F.cross_entropy(net(x[ids]), y[ids]).backward()
            optimizer.step()
    return recording, x


def test_a_saved_recording_says_the_same(tmp_path):
    recording, x = trained()
    recording.save(tmp_path / "run")
    again = Recording.load(tmp_path / "run", *small(), F.cross_entropy)
    a, b = recording.made(x[:2], of="margin"), again.made(x[:2], of="margin")
    assert torch.equal(a.contributions, b.contributions)
    with pytest.raises(OutputError, match="new or empty folder"):
        recording.save(tmp_path / "run")
    with pytest.raises(ArgumentError, match="made with store=FOLDER"):
        trained(30, store=tmp_path / "run", resume=True)


def test_a_recording_that_was_closed_goes_on_as_if_it_had_not(tmp_path):
    trained(25, store=tmp_path / "two", resume=True)
    two, x = trained(50, store=tmp_path / "two", resume=True)
    one, _ = trained(50, store=tmp_path / "one")
    assert two.checkpoints.steps == one.checkpoints.steps == [0, 10, 20, 30, 40, 50]
    assert torch.equal(two.made(x[:2]).contributions, one.made(x[:2]).contributions)


def test_a_folder_is_not_overwritten(tmp_path):
    trained(store=tmp_path / "run")
    with pytest.raises(OutputError, match="resume=True"):
        trained(store=tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        trained(store=tmp_path / "other")
    with pytest.raises(ArgumentError, match="store=FOLDER"):
        record(*small(), F.cross_entropy, resume=True)


def test_another_model_optimizer_or_loss_is_named(tmp_path):
    trained(store=tmp_path / "run")
    net = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Dropout(0.2), nn.Linear(9, 3))
    with pytest.raises(ArgumentError, match=r"model must be the recorded one.*9, 5.*8, 5"):
        Recording.load(
            tmp_path / "run", net, torch.optim.SGD(net.parameters(), 0.1), F.cross_entropy
        )
    with pytest.raises(ArgumentError, match=r"optimizer must be the recorded one.*Adam"):
        Recording.load(tmp_path / "run", *small("Adam"), F.cross_entropy)
    with pytest.raises(ArgumentError, match=r"loss must be the recorded one.*CrossEntropyLoss"):
        Recording.load(tmp_path / "run", *small(), nn.CrossEntropyLoss())
    with pytest.raises(ArgumentError, match=r"settings must be the recorded one"):
        record(*small(), F.cross_entropy, stride=7, store=tmp_path / "run", resume=True)


@pytest.mark.parametrize("name", ["part-00000010", "state-00000020", "recording"])
def test_damage_and_loss_are_named(tmp_path, name):
    folder = tmp_path / "run"
    trained(store=folder)
    path = folder / f"{name}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    if name != "recording":  # it has no tensor whose last byte could change
        with pytest.raises(ModelError, match=r"checksum|intact"):
            Recording.load(folder, *small(), F.cross_entropy).made(torch.randn(1, 5))
    path.unlink()
    with pytest.raises(ModelError, match=r"missing|No such file"):
        Recording.load(folder, *small(), F.cross_entropy)


def test_one_process_records_into_a_folder(tmp_path):
    net, optimizer = small()
    with record(net, optimizer, F.cross_entropy, store=tmp_path / "run"):
        other = record(*small(), F.cross_entropy, store=tmp_path / "run", resume=True)
        with pytest.raises(BusyError, match="another one is at work"):
            other.__enter__()
