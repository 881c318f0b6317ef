"""A sample that merges: uniform, the same for every partition, kept in plain form."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trivium._core.coded import CodedLabels
from trivium._core.errors import ArgumentError, ModelError, ShapeError
from trivium.moment import RowSample

ROWS = np.arange(600.0).reshape(200, 3)
LABELS = np.array(["a", "bb", "c"])[np.arange(200) % 3]


def offered(sample, start, stop):
    return sample.offer(np.arange(start, stop), ROWS[start:stop], LABELS[start:stop])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 200), max_size=8),
    st.randoms(),
    st.sampled_from([None, 200]),
    st.integers(1, 60),
)
def test_no_partition_and_no_order_changes_it(cuts, random, n_rows, size):
    whole = offered(RowSample(size, 3), 0, 200)
    edges = sorted({0, 200, *cuts})
    parts = [offered(RowSample(size, 3, n_rows), a, b) for a, b in pairwise(edges)]
    random.shuffle(parts)
    total = RowSample(size, 3, n_rows)
    for part in parts:
        total.merge(part)
    assert total.numbers.tolist() == whole.numbers.tolist()
    assert len(total) == size
    assert total.x.tolist() == ROWS[whole.numbers].tolist()
    assert total.y.tolist() == LABELS[whole.numbers].tolist()


def test_each_row_and_each_pair_is_as_likely():
    n, size, draws = 12, 4, 6_000
    pairs = np.zeros((n, n))
    for seed in range(draws):
        kept = RowSample(size, seed).offer(np.arange(n), np.zeros((n, 1))).numbers
        pairs[np.ix_(kept, kept)] += 1
    expected = np.full((n, n), draws * size * (size - 1) / (n * (n - 1)))
    np.fill_diagonal(expected, draws * size / n)
    # Each count is binomial; 78 of them, at 5 deviations: one false alarm in 20,000 seeds.
    spread = np.sqrt(expected * (1 - expected / draws))
    assert (np.abs(pairs - expected) < 5 * spread).all()


def test_known_length_keeps_little():
    part = RowSample(50, 0, n_rows=1_000_000).offer(np.arange(1_000), np.zeros((1_000, 2)))
    assert len(part._keys) < 5
    assert len(RowSample(50, 0).offer(np.arange(1_000), np.zeros((1_000, 2)))) == 50


def test_sources_agree():
    numbers = np.arange(200)
    codes = CodedLabels(np.arange(200) % 3, np.array(["a", "bb", "c"]))
    one = RowSample(9).offer(numbers, torch.from_numpy(ROWS), codes, np.ones(200))
    two = RowSample(9).offer(numbers, ROWS, LABELS, np.ones(200))
    for name in ("numbers", "x", "y", "weight"):
        assert getattr(one, name).tolist() == getattr(two, name).tolist()
    assert RowSample(9).x is None


@pytest.mark.parametrize("labels", [None, LABELS, np.arange(200), np.arange(200) % 2 == 0])
def test_state_round_trips(labels):
    sample = RowSample(20, 5, 200).offer(np.arange(150), ROWS[:150].astype("f4"), _cut(labels, 150))
    again = RowSample.from_state(*sample.copy().state())
    for each in (sample, again):
        each.offer(np.arange(150, 200), ROWS[150:], None if labels is None else labels[150:])
    assert again.x.tolist() == sample.x.tolist()
    assert labels is None or again.y.tolist() == sample.y.tolist()


def _cut(labels, stop):
    return None if labels is None else labels[:stop]


def test_nothing_round_trips():
    assert len(RowSample.from_state(*RowSample(4).state())) == 0


def test_refusals():
    sample = offered(RowSample(5), 0, 10)
    with pytest.raises(ArgumentError, match="size"):
        RowSample(0)
    with pytest.raises(ArgumentError, match="n_rows"):
        RowSample(5, 0, -1)
    with pytest.raises(ShapeError, match="10 in numbers but 9 in y"):
        sample.offer(np.arange(10), ROWS[:10], LABELS[:9])
    with pytest.raises(ArgumentError, match="numbers, x, y as earlier"):
        sample.offer(np.arange(200), ROWS)
    with pytest.raises(ArgumentError, match=r"RowSample\.merge: size"):
        sample.merge(RowSample(6))
    tensors, about = sample.state()
    with pytest.raises(ModelError, match="damaged"):
        RowSample.from_state({"numbers": tensors["numbers"]}, about)
    with pytest.raises(ModelError, match="damaged"):
        RowSample.from_state(tensors, {**about, "size": 0})
    with pytest.raises(ModelError, match="damaged"):
        RowSample.from_state({**tensors, "y": tensors["y"] + 7}, about)
