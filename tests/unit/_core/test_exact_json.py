"""JSON that comes back to the last bit."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivium._core.errors import ArgumentError, DataError
from trivium._core.exact_json import digest
from trivium.store import from_json, to_json


def _bits(value):
    return struct.pack("<d", value)


@given(st.floats(allow_nan=False))
def test_floats_keep_their_bits(value):
    assert _bits(from_json(to_json(value))) == _bits(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_values_come_back(value):
    assert from_json(to_json(value)) == value


def test_nan_and_numpy():
    found = from_json(to_json({"a": math.nan, "b": np.float64(-np.inf), "c": np.arange(2)}))
    assert math.isnan(found["a"])
    assert found["b"] == -math.inf
    assert found["c"] == [0, 1]
    assert from_json(to_json((np.bool_(True), 2**70, "\ud800"))) == [True, 2**70, "\ud800"]


@pytest.mark.parametrize("value", [{1: 2}, {"$float": 1}, object(), b"x", {"a": {1, 2}}, 1j])
def test_other_values_are_refused(value):
    with pytest.raises(ArgumentError, match="to_json"):
        to_json(value)


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 1}', "NaN", "[Infinity]", "{", "", '{"$float": "x"}', '{"$float": 1, "b": 2}',
     "[" * 100_000, b"\xff", "1" * 5000],
)  # fmt: skip
def test_damaged_text_is_refused(text):
    with pytest.raises(DataError, match="from_json"):
        from_json(text)


def test_digest_sees_order_and_value():
    assert digest({"a": 1, "b": 2}) != digest({"b": 2, "a": 1})
    assert digest(0.0) != digest(-0.0)
