"""Nested plain data comes back as it went in."""

import json
import math

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError
from trivium._core.packed import pack, unpack


def test_everything_comes_back_to_the_same_bits() -> None:
    value = {
        "a": [1, -2.5, 1e-320, True, None, "text"],
        "t": (torch.arange(3), (np.array([[0.1, math.nan]]), np.array([True]))),
        "odd": {"$tensor": "not one", "$float": 1},
        "far": [math.inf, -math.inf, np.float64(0.1), np.int32(7)],
    }
    tensors, facts = pack(value)
    again = unpack(tensors, json.loads(json.dumps(facts, allow_nan=False)))
    assert again["a"] == value["a"]
    assert again["odd"] == value["odd"]
    assert again["far"] == [math.inf, -math.inf, 0.1, 7]
    assert torch.equal(again["t"][0], torch.arange(3))
    assert again["t"][1][0].tobytes() == value["t"][1][0].tobytes()
    assert again["t"][1][1].dtype == bool
    assert math.isnan(unpack(*pack(math.nan)))


@pytest.mark.parametrize("value", [{1: 2}, object(), np.array(["a"]), {"a": {1, 2}}])
def test_what_no_file_can_hold_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match="pack: "):
        pack(value)


def test_a_missing_tensor_is_named() -> None:
    with pytest.raises(DataError, match="tensor '0' must be there"):
        unpack({}, {"$tensor": "0"})
