"""What the plan counts with: rows, classes, columns with their widths, lengths of texts."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trivium.audit.options import AuditOptions
from trivium.dependence.sequence import MOST_ROWS as MOST_TEXTS
from trivium.dependence.sequence_tokens import LEAST_ROWS, MOST_PLACES, MOST_WORDS, ordered_words
from trivium.dependence.text_features import WIDTH, vocabulary
from trivium.table import Column, Kind, Label, Table, encoded_widths
from trivium.table.encode_text import N_BUCKETS

__all__ = ["ColumnSize", "TableSize", "TextSize", "alike"]

_SAMPLE = 128
_PIECES = 6  # of a word
_KINDS = {
    Kind.number: "number",
    Kind.integer: "number",
    Kind.datetime: "date",
    Kind.text: "text",
}


@dataclass(frozen=True)
class TextSize:
    """Lengths of a column of texts; those of words from up to 128 rows, evenly spaced.

    Args:
        characters: Characters in all.
        vocabulary: Different words, counted up to 257.
        tokens: Words of each text of the sample.
        known: Mean number of different words of a row that the tests of order know.
        shared: Mean number of pairs of known words that two rows share.
    """

    characters: int
    vocabulary: int
    tokens: tuple[int, ...]
    known: float
    shared: float

    @property
    def features(self) -> int:
        """Features of which words are there: one for each, or hashed."""
        return min(self.vocabulary, WIDTH)

    def pieces(self, rows: int) -> float:
        """Different words and pieces of words, counted once for each of so many rows: about."""
        return 0.8 * self.words * rows + 0.6 * self.characters

    def buckets(self, rows: int) -> float:
        """Buckets that these are hashed into: about, and at the most."""
        most = _PIECES * self.vocabulary if self.vocabulary <= WIDTH else N_BUCKETS
        return min(self.pieces(rows), N_BUCKETS, most)

    @property
    def words(self) -> float:
        """Mean number of words of a text."""
        return sum(self.tokens) / max(1, len(self.tokens))

    @classmethod
    def of(cls, column: Column) -> "TextSize":
        """Measure a column of texts."""
        texts = [text for text in column.texts() if text]
        places = np.linspace(0, len(texts) - 1, min(_SAMPLE, len(texts))).round().astype(int)
        rows = [ordered_words(texts[place]) for place in places.tolist()]
        if not rows:
            return cls(0, 0, (), 0.0, 0.0)
        seen = Counter(word for row in rows for word in set(row))
        least = math.ceil(LEAST_ROWS * len(rows) / min(len(texts), MOST_TEXTS))
        known = [word for word, n in seen.most_common(MOST_WORDS) if n >= least]
        index = {word: place for place, word in enumerate(known)}
        there = np.zeros((len(rows), max(1, len(known))))
        for row, words in enumerate(rows):
            near = [index[word] for word in words if word in index][:MOST_PLACES]
            there[row, near] = 1.0
        common = there @ there.T
        apart = common[~np.eye(len(rows), dtype=bool)]
        pairs = apart * (apart - 1) / 2
        return cls(
            sum(len(text) for text in texts),
            vocabulary(texts, WIDTH),
            tuple(len(row) for row in rows),
            float(there.sum(1).mean()),
            float(pairs.mean()) if len(pairs) else 0.0,
        )


@dataclass(frozen=True)
class ColumnSize:
    """One column that later stages use.

    Args:
        name: Its name.
        kind: `"number"`, `"category"`, `"date"` or `"text"`, as the stage depend compares it.
        features: Features after encoding.
        curves: Those of them that trees do not get.
        texts: Lengths, of a column of texts.
    """

    name: str
    kind: str
    features: int
    curves: int = 0
    texts: TextSize | None = None


@dataclass(frozen=True)
class TableSize:
    """The sizes of an audit.

    Args:
        rows: Rows with a label.
        classes: Classes of the label.
        smallest: Rows of the rarest class.
        columns: Columns used.
        folds: Folds asked for.
        permutations: Shifts asked for.
    """

    rows: int
    classes: int
    smallest: int
    columns: tuple[ColumnSize, ...]
    folds: int
    permutations: int

    @classmethod
    def of(cls, used: Table, label: Label, options: AuditOptions) -> "TableSize":
        """Measure a table as it was read.

        Args:
            used: The columns used, at the rows with a label.
            label: The label.
            options: What was asked.

        Cost: O(n log n) for a category or date, O(1) for a number whose distinct texts are
        known, O(n) and 128 texts for text.
        """
        widths = encoded_widths(used, options.text_encoder)
        columns = tuple(
            ColumnSize(
                column.name,
                _KINDS.get(column.kind, "category"),
                widths[column.name].features,
                widths[column.name].curves,
                TextSize.of(column) if column.kind is Kind.text else None,
            )
            for column in used.columns
        )
        counts = np.bincount(label.codes, minlength=len(label.classes))
        return cls(
            len(label.codes),
            len(label.classes),
            int(counts.min()),
            columns,
            min(options.folds, len(label.codes)),
            options.permutations,
        )

    @property
    def features(self) -> int:
        """Features of all columns."""
        return sum(column.features for column in self.columns)

    @property
    def for_trees(self) -> int:
        """Features without curves."""
        return self.features - sum(column.curves for column in self.columns)

    @property
    def texts(self) -> tuple[TextSize, ...]:
        """Lengths of the columns of texts."""
        return tuple(column.texts for column in self.columns if column.texts is not None)

    @property
    def alike(self) -> tuple[tuple[ColumnSize, int], ...]:
        """Columns whose test takes the same work: one of each sort, and how many there are."""
        return alike(self.columns)


def alike(columns: Sequence[ColumnSize]) -> tuple[tuple[ColumnSize, int], ...]:
    """Return one column of each sort of the same work, and how many there are."""
    by_sort: dict[object, list[ColumnSize]] = {}
    for column in columns:
        level = column.features if column.kind == "category" else 0
        by_sort.setdefault((column.kind, level, column.texts), []).append(column)
    return tuple((each[0], len(each)) for each in by_sort.values())
