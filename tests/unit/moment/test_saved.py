"""Moments in files: bits kept, everything damaged refused, writing whole or not at all."""

import os

import numpy as np
import pytest
import torch

from trivium._core.errors import ModelError, OutputError, ResourceError
from trivium.moment import Moments


def moments(labels, **options):
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    return Moments(3, **options).update(x, None if labels is None else np.resize(labels, 30))


@pytest.mark.parametrize("labels", [None, [3, 1], ["b", "ä"], [True, False], [0.5, 2.0]])
@pytest.mark.parametrize("classwise", [False, True])
def test_round_trip_goes_on_as_if_never_saved(tmp_path, labels, classwise):
    m = moments(labels, classwise=classwise, dtype="float64")
    m.save(tmp_path / "m.safetensors")
    again = Moments.load(tmp_path / "m.safetensors")
    assert torch.equal(again.within, m.within)
    assert (again.classes is None) == (labels is None)
    assert labels is None or again.classes.tolist() == m.classes.tolist()
    more = np.ones((2, 3)), None if labels is None else labels
    assert torch.equal(again.update(*more).within, m.update(*more).within)
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_nothing_held_round_trips(tmp_path):
    Moments(2).save(tmp_path / "m")
    assert Moments.load(tmp_path / "m").counts.tolist() == []


def test_every_damaged_byte_and_length_is_refused(tmp_path):
    path = tmp_path / "m"
    moments(["a", "b"]).save(path)
    data = path.read_bytes()
    for cut in (0, 4, 20, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ModelError):
            Moments.load(path)
    for place in range(0, len(data), 37):
        damaged = bytearray(data)
        damaged[place] ^= 0x20
        path.write_bytes(bytes(damaged))
        try:
            found = Moments.load(path)
        except ModelError:
            continue
        assert torch.equal(found.within, moments(["a", "b"]).within), place  # a blank of the header
    with pytest.raises(ModelError, match="FileNotFound"):
        Moments.load(tmp_path / "none")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m"
    moments(None).save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trivium._core.atomic.os.replace", fail)
    with pytest.raises(ResourceError, match="No space left"):
        moments(["a"]).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]
    with pytest.raises(OutputError):
        moments(None).save(tmp_path / "no" / "folder")
