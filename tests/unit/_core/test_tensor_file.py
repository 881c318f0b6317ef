"""Tensors in a file: what is written comes back, and nothing else does."""

import pytest
import torch

from trivium._core.errors import ModelError, OutputError
from trivium._core.tensor_file import checksum, read_tensors, write_tensors

KIND = "trivium.test/1"
TENSORS = {
    "a": torch.arange(6, dtype=torch.float64).reshape(2, 3).mT,
    "n": torch.tensor(3),
    "empty": torch.zeros(0, 2),
}


def test_round_trip(tmp_path):
    write_tensors("t", tmp_path / "f", KIND, TENSORS, {"x": [1, None, 0.1]})
    tensors, about = read_tensors("t", tmp_path / "f", KIND)
    assert about == {"x": [1, None, 0.1]}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_checksum_sees_names_shapes_dtypes_and_words():
    a = TENSORS["a"]
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
    write_tensors("t", path, KIND, TENSORS, {"x": 1})
    data = path.read_bytes()
    refused = 0
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 0x11
        path.write_bytes(broken)
        try:
            tensors, about = read_tensors("t", path, KIND)
        except ModelError:
            refused += 1
            continue
        # A byte that means nothing, such as the padding of the header.
        assert about == {"x": 1}
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert refused > 0.9 * len(data)


def test_other_kinds_and_places_are_refused(tmp_path):
    write_tensors("t", tmp_path / "f", KIND, TENSORS, {})
    with pytest.raises(ModelError, match=r"must hold trivium\.test/2; got 'trivium\.test/1'"):
        read_tensors("t", tmp_path / "f", "trivium.test/2")
    with pytest.raises(ModelError, match="FileNotFoundError"):
        read_tensors("t", tmp_path / "none", KIND)
    with pytest.raises(OutputError, match="cannot write"):
        write_tensors("t", tmp_path / "no" / "f", KIND, TENSORS, {})
    with pytest.raises(OutputError, match="cannot write"):
        write_tensors("t", tmp_path, KIND, TENSORS, {})
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
