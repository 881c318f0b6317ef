"""Category, text or identifier: what a column of words is, told by repetition and by words."""

import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trivium.table.table import Kind

__all__ = ["is_identifier_name", "is_sequence", "kind_of_words"]

_SAMPLE = 2_000
_DENSE_SCRIPTS = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_ID_NAME = re.compile(
    r"(?i:(?:^|[\s_.\-])(?:id|uid|uuid|guid|index|idx|key|rownum|row_?(?:id|no|number)))$"
    r"|[a-z](?:Id|ID)$|^Unnamed: 0$|^__index_level_0__$"
)
_PROSE_WORDS = 4.0
_SHORT_WORDS = 1.5
_MANY = 20


def kind_of_words(levels: pa.Array, n_rows: int) -> Kind:
    """Tell what distinct texts (no missing tokens among them) that fill `n_rows` rows are.

    `infer` has the rule in words.
    """
    n_distinct = len(levels)
    repetition = n_rows / max(n_distinct, 1)
    if repetition >= 10 or n_distinct <= 1:
        return Kind.category
    words, shared = _prose(levels)
    if repetition >= 2:
        return Kind.text if words >= _PROSE_WORDS and n_distinct >= 8 else Kind.category
    if words >= _PROSE_WORDS or (words >= _SHORT_WORDS and shared >= 0.5):
        return Kind.text
    if (n_distinct == n_rows and n_rows >= 5) or n_distinct >= _MANY:
        return Kind.identifier
    return Kind.category


def _prose(levels: pa.Array) -> tuple[float, float]:
    """Mean words a text, and the share of words that stand in another text as well.

    Looks at the first 2,000 texts. Two characters of a script without spaces count as a word.
    """
    sample = levels.slice(0, _SAMPLE)
    spaced = pc.count_substring_regex(sample, r"\S+").to_numpy(zero_copy_only=False)
    dense = pc.count_substring_regex(sample, _DENSE_SCRIPTS).to_numpy(zero_copy_only=False)
    mean = float(np.mean(np.maximum(spaced, dense / 2)))
    if not _SHORT_WORDS <= mean < _PROSE_WORDS:
        return mean, 0.0
    seen: Counter[str] = Counter()
    for text in sample.to_pylist():
        seen.update(set(text.lower().split()))
    total = sum(seen.values())
    return mean, sum(count for count in seen.values() if count > 1) / max(total, 1)


def is_identifier_name(name: str) -> bool:
    """Tell whether a column's name says that it identifies rows.

    Example:
        >>> [is_identifier_name(n) for n in ("id", "Customer ID", "userId", "acid", "width")]
        [True, True, True, False, False]
    """
    return _ID_NAME.search(name.strip()) is not None


def is_sequence(name: str, values: NDArray[np.float64]) -> bool:
    """Tell whether all-distinct whole numbers, in file order, only number the rows.

    They do when there are at least 20 and they step through a dense range: in any order within
    1.1 numbers a row, or rising (falling) throughout within 10 numbers a row; when they are all
    at least 2^53; or, from 5 rows on, when the column's name says so.
    """
    n = len(values)
    if n >= 5 and is_identifier_name(name):
        return True
    if n < _MANY:
        return False
    span = float(values.max() - values.min()) + 1
    steps = np.diff(values)
    one_way = bool((steps > 0).all() or (steps < 0).all())
    huge = bool((np.abs(values) >= 2**53).all())
    return huge or span <= 1.1 * n or (one_way and span <= 10 * n)
