"""Texts as rows of numbers: words by rank, rare ones by a fixed hash, padding on the right."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64
from sklearn.utils import murmurhash3_32
from torch import Tensor

from trivium.audit.plan_text import LONGEST
from trivium.dependence.sequence_tokens import ordered_words

__all__ = ["Vocabulary"]

_MOST, _BUCKETS = 2048, 128
_LEAST_TEXTS = 3  # that have a word, for a place of its own


@dataclass(frozen=True)
class Vocabulary:
    """The words that have a place of their own; all others share 128 places by a fixed hash.

    It is learnt without labels.

    Args:
        known: The words, the most frequent first.
    """

    known: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> "Vocabulary":
        """Learn the words of some texts: at most 2,048, each in at least 3 of them."""
        seen = Counter(word for text in texts for word in set(ordered_words(text or "")[:LONGEST]))
        ranked = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
        return cls(tuple(word for word, n in ranked[:_MOST] if n >= _LEAST_TEXTS))

    def __len__(self) -> int:
        """Return how many places there are."""
        return len(self.known) + _BUCKETS

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.known)}

    def _place(self, word: str) -> int:
        found = self._places.get(word)
        return (
            len(self.known) + murmurhash3_32(word, positive=True) % _BUCKETS
            if found is None
            else found
        )

    def rows(self, texts: Sequence[str | None]) -> "Rows":
        """Return texts as rows of places, at most 128 words of each."""
        return Rows(
            [[self._place(word) for word in ordered_words(text or "")[:LONGEST]] for text in texts]
        )


class Rows:
    """Texts as places.

    Args:
        places: The places of each text's words; a text without words has none.
    """

    def __init__(self, places: Sequence[Sequence[int]]) -> None:
        self.lengths = np.array([len(row) for row in places], dtype=np.int64)
        self._flat = np.array([place for row in places for place in row], dtype=np.int64)
        self._starts = np.concatenate([[0], self.lengths.cumsum()])

    def __len__(self) -> int:
        """Return how many texts there are."""
        return len(self.lengths)

    def batch(self, rows: Int64[np.ndarray, " b"]) -> tuple[Tensor, Tensor]:
        """Return places `(b, s)` with zeros on padding, and lengths `(b)`; no row may be empty."""
        lengths = self.lengths[rows]
        found = np.zeros((len(rows), int(lengths.max())), dtype=np.int64)
        inside = np.arange(found.shape[1]) < lengths[:, None]
        starts = self._starts[rows]
        found[inside] = np.concatenate(
            [self._flat[start : start + n] for start, n in zip(starts, lengths, strict=True)]
        )
        return torch.from_numpy(found), torch.from_numpy(lengths)
