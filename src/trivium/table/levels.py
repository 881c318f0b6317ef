"""The distinct texts of a column: what inference looks at, once a text instead of once a row."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trivium._core.counted import counted
from trivium.table.matching import FEW
from trivium.table.naming import cut, listed

__all__ = ["Levels"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Levels:
    """Distinct texts, where they stand, and how often.

    Args:
        texts: The distinct texts, in the order of first sight; no nulls.
        codes: For each row the index of its text, -1 where there is none.
        counts: How many rows have each text.
    """

    texts: pa.Array
    codes: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, cells: pa.Array) -> "Levels":
        """Find the distinct texts of a column.

        Cost:
            time O(n), memory O(n).
        """
        if len(cells) <= FEW:
            return cls._of_few(cells)
        encoded = pc.dictionary_encode(cells)
        indices = encoded.indices
        if indices.null_count:
            indices = indices.fill_null(-1)
        codes = indices.to_numpy(zero_copy_only=False).astype(np.int64)
        counts = np.bincount(codes + 1, minlength=len(encoded.dictionary) + 1)[1:]
        return cls(encoded.dictionary, codes, counts)

    @classmethod
    def _of_few(cls, cells: pa.Array) -> "Levels":
        """The same by Python: a call into Arrow costs more than a few cells do."""
        index: dict[str, int] = {}
        codes = np.array(
            [-1 if t is None else index.setdefault(t, len(index)) for t in cells.to_pylist()],
            dtype=np.int64,
        )
        counts = np.bincount(codes + 1, minlength=len(index) + 1)[1:]
        return cls(pa.array(list(index), cells.type), codes, counts)

    def __len__(self) -> int:
        return len(self.texts)

    def tokens(self, tokens: frozenset[str]) -> Mask:
        """Which texts, spaces around them aside, are one of these."""
        if len(self) <= FEW:
            return np.array([t.strip() in tokens for t in self.texts.to_pylist()], dtype=np.bool_)
        bare = pc.utf8_trim_whitespace(self.texts)
        wanted = pa.array(sorted(tokens), self.texts.type)
        found: Mask = pc.is_in(bare, value_set=wanted).to_numpy(zero_copy_only=False)
        return found

    def subset(self, mask: Mask) -> pa.Array:
        """Return the texts where `mask` says so."""
        return self.texts if mask.all() else self.texts.filter(pa.array(mask))

    def rows(self, mask: Mask, *, absent: bool = False) -> Mask:
        """Spread a mask over texts to rows; rows without text get `absent`."""
        spread: Mask = np.append(mask, absent)[self.codes]
        return spread

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Spread a value a text to rows; NaN where a row has no text."""
        spread: NDArray[np.float64] = np.append(values, np.nan)[self.codes]
        return spread

    def n_rows(self, mask: Mask) -> int:
        """How many rows have a text where `mask` says so."""
        return int(self.counts[mask].sum())

    def first(self, mask: Mask) -> tuple[int, str]:
        """Return the first row (1-based) whose text is in `mask`, and that text for a message."""
        row = int(np.argmax(self.rows(mask)))
        return row + 1, cut(self.texts[int(self.codes[row])].as_py())

    def examples(self, mask: Mask) -> str:
        """Name the first few rows (1-based) whose text is in `mask`."""
        rows = np.flatnonzero(self.rows(mask))
        found = (
            f"{cut(self.texts[int(self.codes[row])].as_py(), 30)} in row {row + 1}"
            for row in rows[:5]
        )
        return listed(found, len(rows))

    def quoted(self, mask: Mask) -> str:
        """Name the texts in `mask` with their counts, the commonest first."""
        order = np.flatnonzero(mask)
        order = order[np.argsort(-self.counts[order], kind="stable")]
        found = (
            f"{cut(self.texts[int(i)].as_py(), 30)} in {counted(self.counts[i], 'row')}"
            for i in order[:5]
        )
        return listed(found, len(order))
