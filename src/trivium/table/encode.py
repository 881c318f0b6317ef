"""A mixed table as one matrix: each column a block of features with the same total variance."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, ModelError, TriviumWarning
from trivium._core.random import RandomState, check_seed, derive
from trivium.parallel import Progress
from trivium.table.encode_block import Block, Packer, unpack
from trivium.table.encode_category import CategoryEncoder
from trivium.table.encode_column import ColumnEncoder
from trivium.table.encode_curve import N_CURVES
from trivium.table.encode_number import DateEncoder, NumberEncoder
from trivium.table.encode_sentence import PREFIX, SentenceEncoder, check_sentences
from trivium.table.encode_text import TextEncoder
from trivium.table.infer import column_as
from trivium.table.naming import cut, listed, nearest
from trivium.table.notice import Notice
from trivium.table.options import ReadOptions
from trivium.table.table import Column, ColumnType, Kind, Table
from trivium.table.told import told

__all__ = ["TableEncoder", "as_learnt"]

_MAX_CURVED = 256
_ROUNDING = 1e-12
_LEFT_OUT = {Kind.identifier: "left out: an identifier", Kind.constant: "left out: constant"}


class TableEncoder:
    """Learn from one table how to turn tables into numbers.

    | kind | features |
    |---|---|
    | number, integer | standardized value (normal score where the tails are heavy), and three curves of the rank that show what is not monotone; more than 256 such columns get no curves |
    | category | one for each frequent level, hashed buckets beyond 64 levels, one for the rare |
    | datetime | smooth trend, and sines and cosines of the year, the week and the day, where the dates span and resolve them |
    | text | hashed words and word pieces, projected to at most 64; or an installed sentence encoder |
    | identifier, constant | none |

    Missing cells are zeros and, where some were missing when learning, marked by a feature.

    The rule of scales: each column's block is centered and multiplied by one number so that its
    variances over the rows learnt from add to 1. A ridge then believes a priori that a number, a
    category with 40 levels and a text matter alike. Within a block rougher features are smaller.

    Args:
        text_encoder: `"hashed"`, or `"sentence-transformers:NAME"` with the name or path of an
            installed model.
        random_state: Seed of the randomized projection of texts.

    Raises:
        ArgumentError: Another text encoder.

    Example:
        >>> from trivium.table.bundled import penguins_path
        >>> from trivium.table import read_table
        >>> table = read_table(penguins_path())
        >>> encoder = TableEncoder().fit(table.drop(["Sex"]))
        >>> X = encoder.transform(table)
        >>> X.shape == (344, len(encoder.feature_names))
        True
    """  # noqa: E501 - a table

    def __init__(self, text_encoder: str = "hashed", random_state: RandomState = 0) -> None:
        if text_encoder != "hashed" and not text_encoder.startswith(PREFIX):
            raise ArgumentError(
                "TableEncoder: text_encoder must be 'hashed' or 'sentence-transformers:NAME'; "
                f"got {text_encoder!r}"
            )
        self.text_encoder = text_encoder
        self.seed = check_seed(random_state)
        self._blocks: tuple[Block, ...] = ()
        self._left_out: tuple[dict[str, Any], ...] = ()

    def fit(self, table: Table, *, progress: Progress | None = None) -> "TableEncoder":
        """Learn from the table's columns, telling of those done and in all; drop the label first.

        Raises:
            DataError: No column can be used.
            MissingExtraError: A sentence encoder is asked for and not installed.

        Cost:
            Time O(n log n) a column, and for text see `TextEncoder.fit`; memory O(n d).
        """
        n_curves = curves_of(table)
        used = [column for column in table.columns if column.kind not in _LEFT_OUT]
        self._left_out = tuple(
            _explained(column.name, column.kind, 0, _LEFT_OUT[column.kind])
            for column in table.columns
            if column.kind in _LEFT_OUT
        )
        if not used or table.n_rows == 0:
            raise DataError(
                f"TableEncoder: at least one column must carry information; "
                f"got {counted(len(table.columns), 'column')}, {counted(table.n_rows, 'row')}",
                where=table.source,
                remedy="Add a column that is neither constant nor an identifier.",
                code="E-NO-COLUMNS",
            )
        self._blocks = tuple(self._fit_block(column, n_curves) for column in told(used, progress))
        return self

    def _fit_block(self, column: Column, n_curves: int) -> Block:
        encoder = self._fit_column(column, n_curves)
        found, _ = encoder.block(column)
        total = float(found.var(axis=0).sum())
        # What varies by rounding alone does not vary.
        varies = total > _ROUNDING * float((found**2).mean(axis=0).sum())
        scale = total**-0.5 if varies else 0.0
        return Block(column.name, str(column.kind), encoder, found.mean(axis=0), scale)

    def _fit_column(self, column: Column, n_curves: int) -> ColumnEncoder:
        if column.kind in {Kind.number, Kind.integer}:
            return NumberEncoder.fit(column, n_curves)
        if column.kind is Kind.datetime:
            return DateEncoder.fit(column, n_curves)
        if column.kind is Kind.category:
            return CategoryEncoder.fit(column)
        if self.text_encoder != "hashed":
            return SentenceEncoder.fit(column, self.text_encoder.removeprefix(PREFIX))
        return TextEncoder.fit(column, derive(self.seed, "text", column.name) % 2**32)

    def transform(
        self, table: Table, options: ReadOptions | None = None, *, progress: Progress | None = None
    ) -> Float[np.ndarray, "n d"]:
        """Return the features of a table, columns matched by name, others ignored.

        A column that was taken for another kind this time (a few rows look constant) is read
        again as the kind learnt. A cell that does not fit (text in a number column, a new level)
        counts as missing or rare, with a `TriviumWarning`; `encode` returns the notices instead.

        Args:
            table: Any table with the columns learnt from.
            options: How the table's file was read: decimal mark, order of dates, missing tokens.
            progress: Told of columns done and in all.

        Raises:
            DataError: A column is missing; the message names it and the nearest.
        """
        found, notices = self.encode(table, options, progress=progress)
        for notice in notices:
            message = f"TableEncoder: {notice.where}: {notice.message}"
            warnings.warn(message, TriviumWarning, stacklevel=2)
        return found

    def encode(
        self, table: Table, options: ReadOptions | None = None, *, progress: Progress | None = None
    ) -> tuple[Float[np.ndarray, "n d"], tuple[Notice, ...]]:
        """Return the features and notices about cells that do not fit their column.

        Raises:
            DataError: A column is missing, or nothing was learnt yet.
        """
        self.check_columns(table.names, table.source)
        found = np.empty((table.n_rows, len(self.feature_names)))
        notices: list[Notice] = []
        start = 0
        for block in told(self._blocks, progress):
            column, odd = as_learnt(table.column(block.name), block.type, options)
            values, unknown = block.encoder.block(column)
            stop = start + values.shape[1]
            np.multiply(values - block.center, block.scale, out=found[:, start:stop])
            notices += odd + unknown
            start = stop
        return found, tuple(notices)

    def check_sentences(self) -> None:
        """Refuse a sentence encoder learnt with that is not on this machine.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ArgumentError: There is no such model.
        """
        if any(block.encoder.way == SentenceEncoder.way for block in self._blocks):
            check_sentences(self.text_encoder, texts=True)

    def check_columns(self, names: Sequence[str], source: str) -> None:
        """Refuse a table that lacks a column.

        Args:
            names: Its columns.
            source: Where it is from.

        Raises:
            DataError: A column is missing, or nothing was learnt yet.
        """
        if not self._blocks:
            raise DataError("TableEncoder: fit must come before transform")
        there = set(names)
        missing = [block.name for block in self._blocks if block.name not in there]
        if missing:
            lacking = listed([cut(name) for name in missing])
            raise DataError(
                f"TableEncoder: the table must have the columns learnt from; missing {lacking}",
                where=source,
                remedy=nearest(missing[0], names),
                code="E-COLUMN",
            )

    @property
    def types(self) -> dict[str, ColumnType]:
        """The columns learnt from, and what each was taken for."""
        return {block.name: block.type for block in self._blocks}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature: the column and what of it."""
        return tuple(
            f"{block.name}: {name}" for block in self._blocks for name in block.encoder.names
        )

    @property
    def column_of_feature(self) -> tuple[str, ...]:
        """The column that each feature comes from."""
        return tuple(block.name for block in self._blocks for _ in block.encoder.names)

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """Columns by role, `number, date, category, text`, to read a new file the same way."""
        found: dict[str, list[str]] = {"number": [], "date": [], "category": [], "text": []}
        for block in self._blocks:
            role = {"sentence": "text"}.get(block.encoder.way, block.encoder.way)
            found[role].append(block.name)
        return {role: tuple(names) for role, names in found.items()}

    def explain(self) -> list[dict[str, Any]]:
        """Return for each column `column, kind, features, how`, in words."""
        used = [
            _explained(b.name, b.kind, len(b.encoder.names), b.encoder.how()) for b in self._blocks
        ]
        return used + [dict(entry) for entry in self._left_out]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return tensors and a JSON manifest from which `from_state` makes the same encoder."""
        packer = Packer()
        blocks = []
        for block in self._blocks:
            arrays, facts = block.encoder.state()
            packed = packer.add({**arrays, "center": block.center})
            entry = {"name": block.name, "kind": block.kind, "way": block.encoder.way}
            blocks.append({**entry, "scale": block.scale, "facts": facts, "arrays": packed})
        manifest = {
            "text_encoder": self.text_encoder,
            "seed": self.seed,
            "blocks": blocks,
            "left_out": [dict(entry) for entry in self._left_out],
        }
        return packer.tensors(), manifest

    @classmethod
    def from_state(
        cls, tensors: Mapping[str, np.ndarray], manifest: Mapping[str, Any]
    ) -> "TableEncoder":
        """Make the encoder that `state` described.

        Raises:
            ModelError: The two do not describe an encoder.
        """
        try:
            encoder = cls(manifest["text_encoder"], manifest["seed"])
            encoder._blocks = tuple(unpack(tensors, entry) for entry in manifest["blocks"])
            encoder._left_out = tuple(dict(entry) for entry in manifest["left_out"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ModelError(
                f"TableEncoder.from_state: the state must describe an encoder; {error!r}"
            ) from error
        return encoder


def curves_of(table: Table) -> int:
    """Return how many curves a number of the table gets."""
    numbers = sum(column.kind in {Kind.number, Kind.integer} for column in table.columns)
    return N_CURVES if numbers <= _MAX_CURVED else 0


def as_learnt(
    column: Column, learnt: ColumnType, options: ReadOptions | None
) -> tuple[Column, tuple[Notice, ...]]:
    """Read a column again where it was taken for something else than when learning.

    Dates with slashes keep the order learnt, unless the options have one: what does not fit it is
    named, where another order found in the file would turn the other dates round in silence.
    """
    numbers = {Kind.number, Kind.integer}
    said = options is not None and options.date_order is not None
    as_before = said or learnt.date_order is None or column.date_order in {None, learnt.date_order}
    if (column.kind is learnt.kind and as_before) or {column.kind, learnt.kind} <= numbers:
        return column, ()
    again = column_as(column.name, column.source, learnt, options)
    return again, tuple(note for note in again.notes if note.severity == "warning")


def _explained(column: str, kind: str, features: int, how: str) -> dict[str, Any]:
    return {"column": column, "kind": str(kind), "features": features, "how": how}
