"""Merging in any order is the whole; weights are repeated rows; taking away returns."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trivium.moment import Moments, merge_tree


@st.composite
def tables(draw):
    n, d = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(n, d)) + draw(st.sampled_from([0.0, 1e3, -1e6]))
    return x, rng.integers(0, draw(st.integers(1, 4)), n), rng.integers(1, 4, n)


def close(a, b, tolerance):
    a, b = np.nan_to_num(np.asarray(a)), np.nan_to_num(np.asarray(b))
    return float(np.abs(a - b).max()) <= tolerance * max(1.0, float(np.abs(b).max()))


@settings(max_examples=60, deadline=None)
@given(tables(), st.lists(st.integers(0, 40), max_size=5), st.randoms(use_true_random=False))
def test_any_cut_in_any_order_is_the_whole(table, cuts, random):
    x, y, w = table
    whole = Moments(x.shape[1], classwise=True).update(x, y, w)
    pieces = np.split(np.arange(len(x)), sorted(min(cut, len(x)) for cut in cuts))
    random.shuffle(pieces)
    parts = [
        Moments(x.shape[1], classwise=True).update(x[i], y[i], w[i])  # may be empty
        for i in pieces
    ]
    merged = merge_tree(parts)
    assert merged.counts.tolist() == whole.counts.tolist()
    assert close(merged.means, whole.means, 1e-12)
    assert close(merged.class_scatter, whole.class_scatter, 1e-9)
    assert close(merged.total, whole.total, 1e-9)


@settings(max_examples=40, deadline=None)
@given(tables())
def test_weights_are_repeated_rows(table):
    x, y, w = table
    weighted = Moments(x.shape[1]).update(x, y, w)
    repeated = Moments(x.shape[1]).update(np.repeat(x, w, 0), np.repeat(y, w))
    assert close(weighted.weights, repeated.weights, 1e-13)
    assert close(weighted.means, repeated.means, 1e-12)
    assert close(weighted.within, repeated.within, 1e-9)


@settings(max_examples=40, deadline=None)
@given(tables(), st.integers(0, 40))
def test_taking_away_returns(table, cut):
    x, y, w = table
    cut = min(cut, len(x))
    m = Moments(x.shape[1], classes=range(4)).update(x[:cut], y[:cut], w[:cut])
    before = m.copy()
    m.update(x[cut:], y[cut:], w[cut:]).downdate(x[cut:], y[cut:], w[cut:])
    assert m.counts.tolist() == before.counts.tolist()
    assert close(m.within, before.within, 1e-9)
    assert close(m.means, before.means, 1e-9)


@settings(max_examples=40, deadline=None)
@given(tables())
def test_scatter_is_symmetric_and_not_negative(table):
    x, y, w = table
    m = Moments(x.shape[1]).update(x, y, w)
    for scatter in (m.within, m.total):
        assert (scatter == scatter.mT).all()
        values = np.linalg.eigvalsh(scatter.numpy())
        assert values.min() >= -1e-9 * max(1.0, values.max())
