"""Text as which words and word pieces are in it: hashed counts projected to a dense block.

Order is not in it: two texts of the same words get the same features.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse

from trivium._core.counted import counted
from trivium.table.encode_column import Arrays, ColumnEncoder, Facts, missing_flag, with_missing
from trivium.table.notice import Notice
from trivium.table.table import Column

__all__ = ["TextEncoder"]

N_BUCKETS = 2**14
MAX_DIMS = 64
ROWS_PER_DIM = 5
MAX_CHARACTERS = 20_000
# Scripts written without spaces (Chinese, Japanese, Thai, ...): characters and pairs are the words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN = re.compile(rf"[{_UNSPACED}]+|[^\W{_UNSPACED}]+")
_RUN = re.compile(rf"[{_UNSPACED}]")


def most_dims(present: int, rows: int) -> int:
    """Return the most axes of a column with so many texts in so many rows."""
    return min(MAX_DIMS, present // ROWS_PER_DIM + 1, rows - 1)


class TextEncoder(ColumnEncoder):
    """Words and three-letter pieces, hashed, weighed by rarity, projected to at most 64 features.

    Each text becomes counts of lower-case words and of three-letter pieces inside words; in
    scripts without spaces, of characters and pairs of them. They are hashed (a fixed hash) into
    16,384 buckets, damped `log(1 + count)`, weighed by `log((1 + n) / (1 + n_with)) + 1`, brought
    to length 1, and projected on the leading right singular vectors of the rows learnt from
    (randomized, fixed seed). The logarithm of the number of words is one more feature, as large
    as the largest of the others.

    Args:
        buckets: The buckets that occurred.
        weights: The rarity weight of each.
        axes: One row for each bucket: the projection.
        length: What the logarithm of the number of words is multiplied by.
        missing: Whether missing texts are marked by a feature.
    """

    way = "text"

    def __init__(
        self,
        buckets: np.ndarray,
        weights: np.ndarray,
        axes: np.ndarray,
        length: float,
        missing: bool,
    ) -> None:
        self.buckets = buckets
        self.weights = weights
        self.axes = axes
        self.length = length
        self.missing = missing

    @classmethod
    def fit(cls, column: Column, seed: int) -> "TextEncoder":
        """Learn weights and axes from a column of texts.

        Cost:
            Time O(characters + n r b) for r axes and b words a text; memory O(n b + buckets r).
        """
        from sklearn.utils.extmath import randomized_svd

        texts = column.texts()
        counts = _counts(texts)
        buckets = np.unique(counts.indices)
        present = int((~column.missing).sum())
        rows_with = np.bincount(counts.indices, minlength=N_BUCKETS)[buckets]
        weights = np.log((1 + present) / (1 + rows_with)) + 1
        found = _weigh(counts, buckets, weights)
        n_dims = min(most_dims(present, len(texts)), len(buckets) - 1)
        if n_dims < 1:
            axes = np.zeros((len(buckets), 0), dtype=np.float32)
        else:
            _, _, right = randomized_svd(found, n_dims, n_iter=4, random_state=seed)
            axes = right.T.astype(np.float32)
        spread = float((found @ axes.astype(np.float64)).std(axis=0).max(initial=0.0))
        lengths = _lengths(texts)
        varies = bool(np.ptp(lengths) > 0) if len(texts) else False
        length = spread / float(lengths.std()) if varies else 0.0
        return cls(buckets, weights, axes, length, missing_flag(column.missing))

    @property
    def names(self) -> tuple[str, ...]:
        """The axes, `length`, and `missing`."""
        axes = (f"words {i + 1}" for i in range(self.axes.shape[1]))
        return (*axes, "length", *("missing",) * self.missing)

    def how(self) -> str:
        """Say in words how the column is encoded."""
        return (
            f"words and word pieces, hashed and weighed by rarity, projected to "
            f"{counted(self.axes.shape[1], 'feature')}; number of words; order of words is not seen"
            + ", missing marked"
            * self.missing
        )

    def block(self, column: Column) -> tuple[Float[np.ndarray, "n d"], tuple[Notice, ...]]:
        """Return the projected words, the length, and the mark."""
        texts = column.texts()
        found = _weigh(_counts(texts), self.buckets, self.weights)
        words = found @ self.axes.astype(np.float64)
        block = np.column_stack([words, self.length * _lengths(texts)])
        return with_missing(block, column.missing, flag=self.missing), ()

    def state(self) -> tuple[Arrays, Facts]:
        """Return buckets, weights and axes."""
        arrays = {"buckets": self.buckets, "weights": self.weights, "axes": self.axes}
        return arrays, {"length": self.length, "missing": self.missing}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Any:
        """Make the encoder that `state` described."""
        buckets, weights, axes = arrays["buckets"], arrays["weights"], arrays["axes"]
        if not len(buckets) == len(weights) == len(axes) or axes.ndim != 2:
            raise ValueError("buckets, weights and axes differ in length")
        if np.any((buckets < 0) | (buckets >= N_BUCKETS)):
            raise ValueError("a bucket is out of range")
        return cls(buckets, weights, axes, float(facts["length"]), bool(facts["missing"]))


def pieces(word: str) -> tuple[str, ...]:
    """Return what is counted for one lower-case word, or one run of unspaced script.

    Example:
        >>> pieces("duck"), pieces("帝企鹅")
        (('duck', '^du', 'duc', 'uck', 'ck$'), ('帝', '企', '鹅', '帝企', '企鹅'))
    """
    if _RUN.match(word):
        return (*word, *(word[i : i + 2] for i in range(len(word) - 1)))
    if len(word) < 4:
        return (word,)
    padded = f"^{word[:40]}$"
    return (word, *(padded[i : i + 3] for i in range(len(padded) - 2)))


def _counts(texts: Sequence[str | None]) -> sparse.csr_matrix:
    """How often each bucket occurs in each text; every distinct word is cut and hashed once."""
    from sklearn.utils import murmurhash3_32

    numbers: dict[str, int] = {}
    words: list[int] = []
    ends = [0]
    for text in texts:
        found = _words(text)
        words.extend([numbers.setdefault(word, len(numbers)) for word in found])
        ends.append(len(words))
    shape = (len(texts), len(numbers))
    held = sparse.csr_matrix((np.ones(len(words)), words, ends), shape=shape)
    hashed: list[int] = []
    stops = [0]
    for word in numbers:
        hashed.extend([abs(murmurhash3_32(piece)) % N_BUCKETS for piece in pieces(word)])
        stops.append(len(hashed))
    shape = (len(numbers), N_BUCKETS)
    cut = sparse.csr_matrix((np.ones(len(hashed)), hashed, stops), shape=shape)
    counts = held @ cut
    counts.sort_indices()
    return counts


def _words(text: str | None) -> list[str]:
    return _TOKEN.findall((text or "")[:MAX_CHARACTERS].lower())


def _weigh(
    counts: sparse.csr_matrix, buckets: np.ndarray, weights: np.ndarray
) -> sparse.csr_matrix:
    found = counts[:, buckets]
    found.data = np.log1p(found.data) * weights[found.indices]
    squares = np.asarray(found.multiply(found).sum(axis=1)).ravel()
    found.data /= np.repeat(np.sqrt(squares), np.diff(found.indptr))
    return found


def _lengths(texts: Sequence[str | None]) -> Float[np.ndarray, " n"]:
    return np.log1p(np.array([len(_words(text)) for text in texts], dtype=np.float64))
