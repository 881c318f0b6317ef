"""The n-gram kernel against counts in a dictionary and against scikit-learn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from trivium.kernel import String
from trivium.kernel import string as module

NGRAMS = [(1, 1), (1, 3), (2, 2), (3, 6)]
ODD = [
    "",
    "a",
    "ab",
    "aaaa",
    "你好，世界",
    "好世你",
    "é",
    "e\u0301",
    "👩‍👩‍👧 family",
    "\x00\U0010ffff",
    "a b",
    "a\tb",
    "",
    "\udc80 alone",
]


def counted(texts, ngram):
    """Cosines of counts, one dictionary for each text."""
    low, high = ngram
    bags = [
        Counter(t[i : i + n] for n in range(low, high + 1) for i in range(len(t) - n + 1))
        for t in texts
    ]
    bags = [bag or Counter([None]) for bag in bags]  # texts without any are alike
    inner = np.array([[sum(a[k] * b[k] for k in a) for b in bags] for a in bags], dtype=float)
    length = np.sqrt(inner.diagonal())
    return inner / length[:, None] / length


def draws(rng, n, letters="abcd ", longest=30):
    return ["".join(rng.choice([*letters], rng.integers(0, longest))) for _ in range(n)]


def gap(kernel, texts):
    rows = kernel.encode(texts)
    found = kernel.gram(rows).numpy()
    assert np.isfinite(found).all()
    half = kernel.gram(rows[:7], rows).numpy()
    expected = counted(texts, kernel.ngram)
    return max(np.abs(found - expected).max(), np.abs(half - expected[:7]).max())


@pytest.mark.parametrize("ngram", NGRAMS)
@pytest.mark.parametrize("letters", ["ab", "abcdefgh ", "的一是不了人我在有他这"])
def test_gram_equals_counts_in_a_dictionary(rng, ngram, letters):
    assert gap(String(ngram), draws(rng, 40, letters)) <= 1e-12
    assert gap(String(ngram), ODD) <= 1e-12


def test_many_letters_are_sorted_and_not_tabled(rng):
    """More pairs of letters than a table would hold."""
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 900)))
    assert gap(String((1, 3)), draws(rng, 60, letters, 40)) <= 1e-12


def test_wide_blocks_are_cut_into_strips(rng, monkeypatch):
    monkeypatch.setattr(module, "_STRIP", 3)
    monkeypatch.setattr(module, "_HEAVY", 0.5)
    assert gap(String(), draws(rng, 40)) <= 1e-12


@pytest.mark.parametrize("ngram", NGRAMS)
def test_gram_equals_scikit_learn(rng, ngram):
    texts = ["abc" + each.replace("  ", " ") for each in draws(rng, 60, "abcd é好")]
    texts = [" ".join(each.split()) for each in texts]  # theirs joins white space
    counts = CountVectorizer(analyzer="char", ngram_range=ngram, lowercase=False)
    expected = cosine_similarity(counts.fit_transform(texts))
    found = String(ngram).gram(String.encode(texts)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_tokens_serve_as_letters(rng):
    rows = torch.from_numpy(rng.integers(0, 10**12, (20, 1)) * np.arange(1, 7))
    rows[3] = rows[5]
    texts = [tuple(row) for row in rows.tolist()]
    np.testing.assert_allclose(
        String((1, 2)).gram(rows).numpy(), counted(texts, (1, 2)), rtol=0, atol=1e-12
    )


# Wrong members: each must differ from the counts.


@dataclass(frozen=True)
class Wrong(String):
    @classmethod
    def examples(cls) -> Sequence["Wrong"]:
        return (cls(),)


@dataclass(frozen=True)
class Colliding(Wrong):
    """n-grams hashed to few places."""

    def _cosines(self, codes):
        counts = super()._cosines(codes).tocoo()
        hashed = module.coo_matrix((counts.data, (counts.row, counts.col % 64)), counts.shape)
        return hashed.tocsr()


@dataclass(frozen=True)
class AcrossTheEnd(Wrong):
    """Runs that go on where a text has ended."""

    def _cosines(self, codes):
        return super()._cosines(np.where(codes < 0, 0, codes))


@dataclass(frozen=True)
class Presence(Wrong):
    """Which n-grams there are, not how many."""

    def _cosines(self, codes):
        counts = super()._cosines(codes)
        counts.data = np.ones_like(counts.data)
        lengths = np.sqrt(np.diff(counts.indptr))
        counts.data /= np.repeat(lengths, np.diff(counts.indptr))
        return counts


@pytest.mark.parametrize("wrong", [Colliding(), AcrossTheEnd(), Presence()])
def test_a_wrong_count_is_seen(rng, wrong):
    assert gap(wrong, draws(rng, 40, "abcdefgh ")) > 1e-3
