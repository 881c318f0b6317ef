"""Pairs of words that share a row: which comes first, and how far apart they are."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trivium.dependence.sequence_tokens import LEAST_ROWS, Tokens

__all__ = ["WordPairs"]


@dataclass(frozen=True)
class WordPairs:
    """Pairs of words that share rows: one entry for each row and pair.

    Args:
        row: Row of the entry.
        pair: The pair, an index into `names`.
        gap: Place of the second word minus that of the first; never 0.
        names: The two words of each pair.
        n_rows: Rows in all.
    """

    row: NDArray[np.int64]
    pair: NDArray[np.int64]
    gap: NDArray[np.float64]
    names: tuple[tuple[str, str], ...]
    n_rows: int

    @classmethod
    def of(cls, tokens: Tokens) -> "WordPairs":
        """Take the first place of each word of a row, and all pairs of them."""
        width = max(1, len(tokens.words))
        first = np.unique(tokens.row * width + tokens.code, return_index=True)[1]
        row, code, place = tokens.row[first], tokens.code[first], tokens.place[first]
        starts = np.searchsorted(row, np.arange(len(tokens.length) + 1))
        rows, keys, gaps = [], [], []
        for i, (low, high) in enumerate(pairwise(starts)):
            left, right = np.triu_indices(high - low, 1)
            rows.append(np.full(len(left), i))
            keys.append(code[low:high][left] * width + code[low:high][right])
            gaps.append(place[low:high][right] - place[low:high][left])
        key = np.concatenate([*keys, np.empty(0, np.int64)]).astype(np.int64)
        found, pair, counts = np.unique(key, return_inverse=True, return_counts=True)
        enough = counts >= LEAST_ROWS
        new = np.cumsum(enough) - 1
        use = enough[pair]
        names = tuple(
            (tokens.words[int(k) // width], tokens.words[int(k) % width]) for k in found[enough]
        )
        row = np.concatenate([*rows, np.empty(0, np.int64)]).astype(np.int64)
        gap = np.concatenate([*gaps, np.empty(0)]).astype(np.float64)
        return cls(row[use], new[pair[use]], gap[use], names, len(tokens.length))

    def order(self) -> NDArray[np.float64]:
        """Which word comes first, less how often it does in that pair."""
        return self._centered(np.sign(self.gap), self.pair)

    def distance(self) -> NDArray[np.float64]:
        """The logarithm of the gap, less its mean in that pair and order."""
        return self._centered(np.log(np.abs(self.gap)), 2 * self.pair + (self.gap > 0))

    def matrix(self, values: NDArray[np.float64]) -> csr_matrix:
        """One row for each text, one column for each pair."""
        shape = (self.n_rows, len(self.names))
        return csr_matrix((values, (self.row, self.pair)), shape=shape)

    def gram(
        self, values: NDArray[np.float64], weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Inner products of the texts over all pairs, each pair with its weight."""
        left = self.matrix(values)
        right = left if weights is None else left.multiply(weights)
        found: NDArray[np.float64] = (right @ left.T).toarray()
        return found

    def _centered(
        self, values: NDArray[np.float64], group: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        counts = np.maximum(np.bincount(group), 1)
        means: NDArray[np.float64] = np.bincount(group, values) / counts
        return values - means[group]
