"""Texts: counts against scikit-learn's hasher, order not seen, Chinese as well as English."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import TfidfTransformer

from trivium.table.encode_text import (
    N_BUCKETS,
    TextEncoder,
    _counts,
    _weigh,
    _words,
    pieces,
)
from trivium.table.table import Column, Kind

WORDS = ["penguin", "egg", "nest", "blood", "sample", "isotope", "adult", "island", "snow", "krill"]
CHINESE = ("企鹅在岛上孵蛋", "今天股票价格上涨")


def _column(cells):
    missing = np.array([cell is None for cell in cells], dtype=bool)
    return Column("c", Kind.text, pa.array(cells, pa.string()), None, missing)


def _texts(n, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(3, 9))) for _ in range(n)]


def test_counts_are_those_of_scikit_learns_hasher():
    texts = [*_texts(30), "企鹅 eggs", "", "a a a"]
    hasher = FeatureHasher(N_BUCKETS, input_type="string", alternate_sign=False)
    wanted = hasher.transform([p for w in _words(text) for p in pieces(w)] for text in texts)
    assert abs(_counts(texts) - wanted).max() == 0


def test_weights_are_those_of_scikit_learns_tf_idf():
    texts = _texts(40)
    counts = _counts(texts)
    encoder = TextEncoder.fit(_column(texts), 0)
    damped = counts[:, encoder.buckets].copy()
    damped.data = np.log1p(damped.data)
    wanted = TfidfTransformer().fit_transform(damped)
    assert abs(_weigh(counts, encoder.buckets, encoder.weights) - wanted).max() < 1e-12


def test_the_projection_keeps_leading_directions():
    column = _column(_texts(200))
    encoder = TextEncoder.fit(column, 0)
    found = _weigh(_counts(column.texts()), encoder.buckets, encoder.weights).toarray()
    n_dims = encoder.axes.shape[1]
    exact = np.linalg.svd(found, compute_uv=False)
    kept = np.linalg.norm(found @ encoder.axes.astype(float)) ** 2
    assert kept > 0.999 * (exact[:n_dims] ** 2).sum()
    np.testing.assert_allclose(encoder.axes.T @ encoder.axes, np.eye(n_dims), atol=1e-5)


def test_order_of_words_is_not_seen():
    texts = _texts(60)
    encoder = TextEncoder.fit(_column(texts), 0)
    turned = [" ".join(reversed(text.split())) for text in texts]
    found, _ = encoder.block(_column(texts))
    np.testing.assert_allclose(encoder.block(_column(turned))[0], found, atol=1e-12)


def test_chinese_is_told_apart_by_its_characters():
    texts = ["".join(np.random.default_rng(i).permutation(list(CHINESE[i % 2]))) for i in range(40)]
    encoder = TextEncoder.fit(_column(texts), 0)
    block, _ = encoder.block(_column([*CHINESE, "企鹅", "股票"]))
    words = block[:, :-1]
    assert words[0] @ words[2] > words[0] @ words[3]
    assert words[1] @ words[3] > words[1] @ words[2]


def test_missing_empty_unknown_and_wordless_texts():
    texts = [*_texts(30), None, "", "!!!"]
    encoder = TextEncoder.fit(_column(texts), 0)
    assert encoder.names[-2:] == ("length", "missing")
    block, notices = encoder.block(_column([None, "", "?!", "zzzz qqqq", "\x00"]))
    assert block[:, -1].tolist() == [1, 0, 0, 0, 0]
    assert np.isfinite(block).all()
    assert notices == ()


@pytest.mark.parametrize(
    "texts", [["same words here"] * 9, [""] * 4, ["a"], [None, None], ["x", "y"]]
)
def test_degenerate_columns_are_finite(texts):
    encoder = TextEncoder.fit(_column(texts), 0)
    block, _ = encoder.block(_column(texts))
    assert block.shape == (len(texts), len(encoder.names))
    assert np.isfinite(block).all()


def test_same_seed_same_bits():
    column = _column(_texts(100))
    for seed in (0, 1):
        first, second = (TextEncoder.fit(column, seed) for _ in range(2))
        np.testing.assert_array_equal(first.axes, second.axes)


def test_a_long_text_is_cut():
    long = "word " * 1_000_000
    assert len(_words(long)) == 4000


@pytest.mark.parametrize(
    "change",
    [
        {"buckets": np.array([1])},
        {"axes": np.zeros(3, dtype=np.float32)},
        {"buckets": np.full(3, N_BUCKETS), "weights": np.ones(3), "axes": np.ones((3, 1))},
    ],
)
def test_a_state_that_does_not_fit_is_refused(change):
    arrays, facts = TextEncoder.fit(_column(_texts(20)), 0).state()
    with pytest.raises(ValueError, match="bucket"):
        TextEncoder.from_state(arrays | change, facts)
