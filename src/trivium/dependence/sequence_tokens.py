"""Texts and sequences as tokens in their order, over a vocabulary that is seen often enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium._core.errors import DataError
from trivium.dependence.text_features import WORD

__all__ = ["Tokens", "as_tokens", "ordered_words"]

LEAST_ROWS = 5
MOST_WORDS = 200
MOST_PLACES = 64


@dataclass(frozen=True)
class Tokens:
    """The known tokens of every row, one after the other.

    Args:
        words: The vocabulary, most rows first: tokens in at least 5 rows, at most 200 of them.
        row: Row of each token.
        place: Its place among all tokens of its row, known or not.
        code: Its place in `words`.
        length: Number of tokens of each row, known or not.
        bag: Rows with the same number are the same tokens in some order.
        missing: Rows without a text.
    """

    words: tuple[str, ...]
    row: NDArray[np.int64]
    place: NDArray[np.int64]
    code: NDArray[np.int64]
    length: NDArray[np.int64]
    bag: NDArray[np.int64]
    missing: NDArray[np.bool_]


def ordered_words(text: str) -> list[str]:
    """Return the words of a text in their order, without case; characters where no spaces are.

    Example:
        >>> ordered_words("Not good, the cat")
        ['not', 'good', 'the', 'cat']
    """
    return WORD.findall(text.casefold())


def as_tokens(texts: Sequence[Any]) -> Tokens:
    """Split texts, or take sequences of whole numbers, and keep what is seen often enough.

    Of each row at most 64 known tokens are kept, the first ones: all others are at a distance.

    Args:
        texts: One string, sequence of whole numbers or `None` for each row.

    Raises:
        DataError: A row of another kind.

    Cost: O(total tokens).
    """
    index: dict[Any, int] = {}
    rows = [[index.setdefault(t, len(index)) for t in _split(x, i)] for i, x in enumerate(texts)]
    length = np.array([len(row) for row in rows], dtype=np.int64)
    bags: dict[tuple[int, ...], int] = {}
    bag = np.array([bags.setdefault(tuple(sorted(row)), len(bags)) for row in rows], dtype=np.int64)
    code = np.array([t for row in rows for t in row], dtype=np.int64)
    row = np.repeat(np.arange(len(rows)), length)
    place = np.arange(len(code)) - np.repeat(np.cumsum(length) - length, length)
    words = list(index)
    seen = np.unique(row * max(1, len(words)) + code)
    counts = np.bincount(seen % max(1, len(words)), minlength=len(words))
    kept = np.argsort(-counts, kind="stable")[:MOST_WORDS]
    kept = kept[counts[kept] >= LEAST_ROWS]
    known = np.full(len(words) + 1, -1)
    known[kept] = np.arange(len(kept))
    code = known[code]
    row, place, code = row[code >= 0], place[code >= 0], code[code >= 0]
    start = np.searchsorted(row, np.arange(len(rows)))
    near = np.arange(len(row)) - start[row] < MOST_PLACES
    missing = np.array([text is None for text in texts], dtype=bool)
    names = tuple(str(words[i]) for i in kept)
    return Tokens(names, row[near], place[near], code[near], length, bag, missing)


def _split(text: Any, row: int) -> list[Any]:
    if text is None:
        return []
    if isinstance(text, str):
        return ordered_words(text)
    values = np.asarray(text)
    if values.ndim == 1 and (values.size == 0 or values.dtype.kind in "iu"):
        return values.tolist()
    raise DataError(
        "sequence_tests: texts must be strings, sequences of whole numbers or None; "
        f"got {text!r:.60}",
        where=f"row {row}",
    )
