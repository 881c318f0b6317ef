"""Categories against scikit-learn's one-hot encoder; rare, unknown and many levels."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.preprocessing import OneHotEncoder

from trivium.table import column_as
from trivium.table.encode_category import CategoryEncoder
from trivium.table.table import Column, Kind


def _column(cells):
    missing = np.array([cell is None for cell in cells], dtype=bool)
    return Column("c", Kind.category, pa.array(cells, pa.string()), None, missing)


def test_frequent_levels_are_one_hot():
    cells = [*"abcab", *"abcab", *"acb"] * 3
    found, notices = CategoryEncoder.fit(_column(cells)).block(_column(cells))
    wanted = OneHotEncoder(sparse_output=False).fit_transform(np.array(cells)[:, None])
    np.testing.assert_array_equal(found, wanted)
    assert notices == ()


def test_rare_levels_share_a_feature_with_unknown_ones():
    encoder = CategoryEncoder.fit(_column(["a"] * 5 + ["b"] * 4 + ["x", "y", "y"]))
    assert encoder.names == ("= a", "= b", "rare")
    block, notices = encoder.block(_column(["a", "x", "new", None]))
    np.testing.assert_array_equal(block, [[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0]])
    assert notices == ()


def test_an_unknown_level_is_zeros_and_named_where_none_was_rare():
    encoder = CategoryEncoder.fit(_column(["a"] * 5 + ["b"] * 4 + [None]))
    block, notices = encoder.block(_column(["new", "a", "new", None, "企鹅"]))
    np.testing.assert_array_equal(block, [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]])
    assert [notice.code for notice in notices] == ["W-UNKNOWN-LEVEL"]
    assert "3 rows" in notices[0].message
    assert "'new'" in notices[0].message


def test_a_small_table_keeps_every_level():
    assert CategoryEncoder.fit(_column(["a", "b", "a"])).names == ("= a", "= b")


@pytest.mark.parametrize("n_levels", [64, 65, 1000])
def test_many_levels_are_hashed(n_levels):
    cells = [f"level {i}" for i in range(n_levels)] * 3
    encoder = CategoryEncoder.fit(_column(cells))
    block, _ = encoder.block(_column(cells))
    assert block.shape[1] == len(encoder.names) == (64 if n_levels == 64 else 64 + 32)
    np.testing.assert_array_equal(block.sum(axis=1), 1)
    assert ("hashed" in encoder.how()) == (n_levels > 64)


def test_the_order_of_rows_does_not_matter():
    cells = [f"{i % 90}" for i in range(400)]
    first = CategoryEncoder.fit(_column(cells))
    second = CategoryEncoder.fit(_column(cells[::-1]))
    assert first.state() == second.state()


def test_missing_is_a_level_of_its_own():
    encoder = CategoryEncoder.fit(_column([None] * 3 + ["missing"] * 3))
    assert encoder.names == ("= missing", "missing")
    np.testing.assert_array_equal(encoder.block(_column([None, "missing"]))[0], [[0, 1], [1, 0]])


def test_many_new_levels_are_counted():
    n = 100_000
    encoder = CategoryEncoder(("a", "b"), (), rare=False, missing=False)
    texts = pa.array([*(f"new {i:06d}" for i in range(n)), "a"], pa.large_string())
    block, notices = encoder.block(column_as("x", texts, "category"))
    assert block.sum() == 1
    assert f"{n:,} rows with levels" in notices[0].message
    assert notices[0].message.endswith(f"'new 000004' and {n - 5} more")
