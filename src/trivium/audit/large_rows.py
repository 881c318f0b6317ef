"""What the passes over all rows do with one block: encode it, add it up, judge each row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int64

from trivium.audit.flags_listed import LIKELY, WORTH
from trivium.audit.intervals import row_log_loss
from trivium.audit.large_odd import (
    Oddity,
    merged_oddities,
    oddities,
    plain_oddities,
    whole_oddities,
)
from trivium.closedform import ClosedFormClassifier, LabelNoise, left_out_logits
from trivium.moment import Moments
from trivium.table import ColumnType, FileBlock, Table, TableEncoder, read_block
from trivium.table.arrow import as_text
from trivium.table.infer import column_as
from trivium.table.levels import Levels
from trivium.table.options import ReadOptions
from trivium.table.read_files import block_places

__all__ = ["LISTED", "Added", "Judge", "Judged", "Reading", "add_block", "block_as", "judge_block"]

LISTED = 2_000
"""Rows that may be listed as suspect, at the most."""


@dataclass(frozen=True, eq=False)
class Reading:
    """How a block becomes numbers; it goes to every worker once.

    Args:
        encoder: Learnt from the sample.
        types: The columns that it takes, and what they were taken for.
        label: The label column.
        classes: Its classes.
        read: How the files are read.
        starts: Rows of the whole table before each file.
    """

    encoder: TableEncoder
    types: Mapping[str, ColumnType]
    label: str
    classes: tuple[str, ...]
    read: ReadOptions
    starts: Mapping[str, int]

    def rows(self, block: FileBlock) -> "Rows":
        """Read and encode the labeled rows of a block."""
        table, cells = block_as(block, self.types, self.read, self.starts)
        levels = Levels.of(as_text(cells[self.label]))
        code_of = {name: code for code, name in enumerate(self.classes)}
        known = [code_of.get(text, -1) for text in levels.texts.to_pylist()]
        codes = np.append(np.array(known, dtype=np.int64), -1)[levels.codes]
        kept = np.flatnonzero(codes >= 0)
        used = table.take(kept)
        X, unknown = self.encoder.encode(used, self.read)
        odd = oddities(table, unknown)
        return Rows(used, X, codes[kept], kept + block.first_row, odd)


def block_as(
    block: FileBlock,
    types: Mapping[str, ColumnType],
    read: ReadOptions,
    starts: Mapping[str, int],
) -> tuple[Table, dict[str, pa.Array]]:
    """Read a block as columns of known types; all its cells beside them, as `read_block` has them.

    Args:
        block: The block.
        types: The columns wanted.
        read: How the files are read.
        starts: Rows of the whole table before each file.
    """
    raw = read_block(block, numbers=True)
    cells = dict(zip(raw.names, raw.cells, strict=True))
    columns = tuple(column_as(name, cells[name], kind, read) for name, kind in types.items())
    places = block_places(block, raw, starts)
    return Table(columns, raw.n_rows, places.files[0], (), None, places), cells


@dataclass(frozen=True, eq=False)
class Rows:
    """The labeled rows of a block.

    Args:
        table: Their cells.
        X: Encoded.
        codes: Their classes.
        numbers: Rows of the whole table (0-based).
        odd: Cells that do not fit.
    """

    table: Table
    X: Float[np.ndarray, "n d"]
    codes: Int64[np.ndarray, " n"]
    numbers: Int64[np.ndarray, " n"]
    odd: tuple[Oddity, ...]


@dataclass(eq=False)
class Added:
    """What the first pass adds up; it merges.

    Attributes:
        moments: Of the encoded rows, by class.
        odd: Cells that do not fit.
    """

    moments: Moments
    odd: tuple[Oddity, ...]

    def copy(self) -> "Added":
        """Return the same, sharing nothing."""
        return Added(self.moments.copy(), self.odd)

    def merge(self, other: "Added") -> "Added":
        """Add the rows behind these."""
        self.moments.merge(other.moments)
        self.odd = merged_oddities(self.odd, other.odd)
        return self

    def plain(self) -> dict[str, Any]:
        """Return it as a journal can keep it."""
        tensors, about = self.moments.state()
        return {"tensors": tensors, "about": about, "odd": plain_oddities(self.odd)}

    @classmethod
    def whole(cls, held: Mapping[str, Any]) -> "Added":
        """Put together what `plain` took apart."""
        moments = Moments.from_state(held["tensors"], held["about"])
        return cls(moments, whole_oddities(held["odd"]))


def add_block(block: FileBlock, reading: Reading) -> Added:
    """Return the moments of one block."""
    rows = reading.rows(block)
    classes = np.arange(len(reading.classes))
    moments = Moments(rows.X.shape[1], classes, dtype="float64")
    if len(rows.codes):
        moments.update(rows.X, rows.codes)
    return Added(moments, rows.odd)


@dataclass(frozen=True, eq=False)
class Judge:
    """What judges the rows of a block.

    Args:
        reading: How a block becomes numbers.
        classifier: The closed form of all rows.
        noise: Under what a label is judged.
        edges: Bounds of the bins of calibration.
    """

    reading: Reading
    classifier: ClosedFormClassifier
    noise: LabelNoise
    edges: Float[np.ndarray, " e"]


@dataclass(eq=False)
class Judged:
    """What the second pass found; it merges.

    Attributes:
        sums: Log-loss, flag probability, and log-loss squared, summed.
        counts: Right ones, flag probabilities of 1 in 20 or more, of a half or more.
        confusion: Rows by given and predicted class.
        bins: For each bin its rows, the sum of the largest probability, and the right ones.
        top: The most suspect rows: `row, code, suggested, predicted, probability, own`, and
            encoded `X`.
        cells: Their cells, column by column.
    """

    sums: Float[np.ndarray, " 3"]
    counts: Int64[np.ndarray, " 3"]
    confusion: Int64[np.ndarray, "c c"]
    bins: Float[np.ndarray, "3 e"]
    top: dict[str, np.ndarray]
    cells: list[list[str]]

    def copy(self) -> "Judged":
        """Return the same, sharing nothing."""
        return Judged.whole(self.plain())

    def merge(self, other: "Judged") -> "Judged":
        """Add the rows behind these; of the suspect ones the most suspect stay."""
        self.sums = self.sums + other.sums
        self.counts = self.counts + other.counts
        self.confusion = self.confusion + other.confusion
        self.bins = self.bins + other.bins
        top = {name: np.concatenate((a, other.top[name])) for name, a in self.top.items()}
        order = np.lexsort((top["row"], -top["probability"]))[:LISTED]
        cells = self.cells + other.cells
        self.top = {name: values[order] for name, values in top.items()}
        self.cells = [cells[place] for place in order.tolist()]
        return self

    def plain(self) -> dict[str, Any]:
        """Return it as a journal can keep it."""
        return {
            "sums": self.sums.copy(),
            "counts": self.counts.copy(),
            "confusion": self.confusion.copy(),
            "bins": self.bins.copy(),
            "top": {name: values.copy() for name, values in self.top.items()},
            "cells": [list(each) for each in self.cells],
        }

    @classmethod
    def whole(cls, held: Mapping[str, Any]) -> "Judged":
        """Put together what `plain` took apart."""
        return cls(**held)


def judge_block(block: FileBlock, judge: Judge) -> Judged:
    """Judge the rows of one block, each by the rule of all other rows."""
    rows, c = judge.reading.rows(block), len(judge.reading.classes)
    codes = rows.codes
    logits = np.zeros((0, c))
    if len(codes):
        logits = left_out_logits(judge.classifier, rows.X, codes)
    wrong, _, other = judge.noise.judge(logits, codes)
    proba = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
    proba /= proba.sum(1, keepdims=True)
    guess = proba.argmax(1) if len(codes) else codes
    top, right = proba.max(1, initial=0.0), guess == codes
    bins = np.searchsorted(judge.edges, top, side="right")
    n_bins = len(judge.edges) + 1
    worth = np.flatnonzero(wrong >= WORTH)
    listed = worth[np.lexsort((worth, -wrong[worth]))][:LISTED]
    loss = row_log_loss(proba, codes)
    return Judged(
        sums=np.array([loss.sum(), wrong.sum(), (loss**2).sum()]),
        counts=np.array([right.sum(), len(worth), (wrong >= LIKELY).sum()], dtype=np.int64),
        confusion=np.bincount(codes * c + guess, minlength=c * c).reshape(c, c),
        bins=np.array([np.bincount(bins, w, minlength=n_bins) for w in (None, top, right)]),
        top={
            "row": rows.numbers[listed],
            "code": codes[listed],
            "suggested": other[listed],
            "predicted": guess[listed],
            "probability": wrong[listed],
            "own": proba[listed, codes[listed]],
            "X": rows.X[listed],
        },
        cells=_cells(rows.table, listed),
    )


def _cells(table: Table, rows: np.ndarray) -> list[list[str]]:
    """Return the cells of some rows as text; empty where one is missing."""
    columns = [[text or "" for text in column.texts()] for column in table.take(rows).columns]
    return [list(each) for each in zip(*columns, strict=True)]
