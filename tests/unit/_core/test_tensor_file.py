"""One file for tensors: bits kept, anything else refused, written whole or not at all."""

import os

import pytest
import torch

from trivium._core.errors import ModelError, OutputError, ResourceError
from trivium._core.tensor_file import checksum, read_tensors, write_tensors

TENSORS = {"a": torch.tensor([[1.5, -2.0], [0.1, 3.0]]).mT, "b": torch.arange(3)}


SHAPES = {
    "a": torch.arange(6, dtype=torch.float64).reshape(2, 3).mT,
    "n": torch.tensor(3),
    "empty": torch.zeros(0, 2),
}


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "held"
    write_tensors("save", target, "numbers/1", TENSORS, {"n": 2, "text": "ä"})
    return target


def test_bits_and_words_come_back(path):
    tensors, about = read_tensors("load", path, "numbers/1")
    assert about == {"n": 2, "text": "ä"}
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert os.listdir(path.parent) == ["held"]


def test_permissions_are_those_of_any_new_file(path, tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_another_kind_is_named(path):
    with pytest.raises(ModelError, match=r"load: the file must hold other/1; got 'numbers/1'"):
        read_tensors("load", path, "other/1")


def test_every_damaged_byte_of_the_tensors_is_refused(path):
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for place in range(start, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x20
        path.write_bytes(bytes(damaged))
        with pytest.raises(ModelError, match="checksum does not fit"):
            read_tensors("load", path, "numbers/1")


def test_a_changed_word_is_refused(path):
    data = path.read_bytes()
    path.write_bytes(data.replace(b'\\"n\\": 2', b'\\"n\\": 3'))
    assert path.read_bytes() != data
    with pytest.raises(ModelError, match="checksum does not fit"):
        read_tensors("load", path, "numbers/1")


@pytest.mark.parametrize("data", [b"", b"words", b"\xff" * 40, b"\x02" + b"\0" * 7 + b"{}"])
def test_other_files_are_refused(path, data):
    path.write_bytes(data)
    with pytest.raises(ModelError, match="load: the file must be an intact numbers/1"):
        read_tensors("load", path, "numbers/1")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match="FileNotFoundError"):
        read_tensors("load", tmp_path / "none", "numbers/1")


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trivium._core.atomic.os.fsync", fail)
    with pytest.raises(ResourceError, match=r"save: could not write; No space left"):
        write_tensors("save", path, "numbers/1", {"a": torch.zeros(1)}, {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["held"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"save: could not write; No such file"):
        write_tensors("save", tmp_path / "no" / "file", "numbers/1", TENSORS, {})


def test_checksum_sees_names_shapes_dtypes_and_words():
    a = SHAPES["a"]
    others = [
        checksum({"b": a}, ""),
        checksum({"a": a.reshape(-1)}, ""),
        checksum({"a": a.float()}, ""),
        checksum({"a": a + 1e-12}, ""),
        checksum({"a": a}, " "),
    ]
    assert checksum({"a": a}, "") not in others
    assert len(set(others)) == len(others)
    assert checksum({"a": a.clone()}, "") == checksum({"a": a}, "")


def test_every_byte_is_watched(tmp_path):
    path = tmp_path / "f"
    write_tensors("t", path, "numbers/1", SHAPES, {"x": 1})
    data = path.read_bytes()
    refused = 0
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 0x11
        path.write_bytes(broken)
        try:
            tensors, about = read_tensors("t", path, "numbers/1")
        except ModelError:
            refused += 1
            continue
        # A byte that means nothing, such as the padding of the header.
        assert about == {"x": 1}
        assert all(torch.equal(tensors[name], SHAPES[name]) for name in SHAPES)
    assert refused > 0.9 * len(data)
