"""Text as features: which words are present, whatever their order and number."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import coo_matrix
from torch import Tensor

__all__ = ["WIDTH", "WORD", "text_features", "vocabulary", "words_of"]

WIDTH = 256
# Scripts written without spaces count by character, all others by word.
_ALONE = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{_ALONE}]|(?:(?![{_ALONE}])[^\W_])+")


def words_of(text: str) -> set[str]:
    """Return the set of words of a text, without case; of characters where there are no spaces.

    Example:
        >>> sorted(words_of("The cat, the CAT"))
        ['cat', 'the']
    """
    return set(WORD.findall(text.casefold()))


def vocabulary(texts: Sequence[str | None], most: int) -> int:
    """Return how many different words texts have, counting no further than `most` + 1.

    Cost: O(total words), or as many as it takes to find `most` + 1 different ones.

    Example:
        >>> vocabulary(["a cat", None, "A dog"], 9), vocabulary(["a b c", "d e"], 2)
        (3, 3)
    """
    found: set[str] = set()
    for text in texts:
        if text:
            found |= words_of(text)
            if len(found) > most:
                return most + 1
    return len(found)


def text_features(texts: Sequence[str | None]) -> tuple[Float[Tensor, "r n"], str, float]:
    """Cosine between sets of words with inverse-frequency weights.

    A word in `m` of `n` texts weighs `log((1 + n) / (1 + m)) + 1`; each text has length one. Up to
    256 words, the features are the words; above, words are added with a sign to 256 places by a
    fixed hash, a projection that keeps inner products on average. Missing and empty texts share a
    level of their own.

    Args:
        texts: One text for each row, `None` for missing.

    Returns:
        Features, the kernel in words, and 0: a hash leaves nothing of the trace out, it adds noise.

    Cost: O(total words) time, O(256 n) memory.
    """
    index: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    for row, text in enumerate(texts):
        # Sorted: a set's order differs from process to process, and with it the last bits.
        for word in sorted(words_of(text)) if text else ():
            rows.append(row)
            columns.append(index.setdefault(word, len(index)))
    n = len(texts)
    if not index:
        return torch.ones(1, n, dtype=torch.float64), "no words", 0.0
    place, row_of = np.array(columns), np.array(rows)
    weight = np.log((1 + n) / (1 + np.bincount(place))) + 1
    length = np.sqrt(np.bincount(row_of, weight[place] ** 2, minlength=n))
    value = weight[place] / length[row_of]
    kernel = f"Cosine({len(index)} words)"
    if len(index) > WIDTH:
        codes = np.array([_hash(word) for word in index])
        value = value * np.where(codes >= 2**31, 1.0, -1.0)[place]
        place = (codes % WIDTH)[place]
        kernel = f"Cosine({len(index)} words hashed to {WIDTH})"
    width = min(len(index), WIDTH)
    dense = coo_matrix((value, (place, row_of)), shape=(width, n)).toarray()
    empty = (length == 0).astype(np.float64)[None]
    features = np.concatenate([dense, empty]) if empty.any() else dense
    return torch.from_numpy(features), kernel, 0.0


def _hash(word: str) -> int:
    """32 bits, all as good as independent: a checksum's are not for words like w1, w2."""
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "little")
