"""The first look at all rows of a large table: labels, constant columns, and a sample to hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from trivium._core.counted import noun
from trivium._core.errors import DataError
from trivium.audit.large import Large, sample_rows
from trivium.audit.large_numbers import renumbered
from trivium.moment import RowSample
from trivium.parallel import Executor, Progress
from trivium.table import FileBlock, Label, Notice, Parts, Table, read_block
from trivium.table.arrow import as_text, is_number
from trivium.table.label import classes_of_counts
from trivium.table.levels import Levels
from trivium.table.naming import cut
from trivium.table.places import Places
from trivium.table.raw import CELL_TYPE, RawTable
from trivium.table.read import build_table
from trivium.table.read_files import block_places, file_starts, joined_places, shown_name

__all__ = ["Sampled", "look_through"]

_CHUNK = 1 << 20
_MOST_CLASSES = 100_000
_EACH = 2  # rows of every class that the sample has, where there are so many


@dataclass(frozen=True, eq=False)
class _Look:
    """What the look at every block needs: the label, the rows wanted, what means missing."""

    label: str | None
    picked: Int64[np.ndarray, " m"]
    tokens: frozenset[str]
    starts: Mapping[str, int]


def _look(block: FileBlock, given: _Look) -> dict[str, Any]:
    """Read a block once: count its labels, look for what is constant, take rows of the sample."""
    raw = read_block(block, numbers=True)
    stop = block.first_row + raw.n_rows
    low, high = np.searchsorted(given.picked, [block.first_row, stop])
    rows = given.picked[low:high] - block.first_row
    wanted = pa.array(rows)
    places = block_places(block, raw, given.starts)
    found: dict[str, Any] = {
        "cells": [as_text(cells.take(wanted)).to_pylist() for cells in raw.cells],
        "rows": rows + block.first_row,
        "places": places.take(rows),
        "same": [_same(cells) for cells in raw.cells],
        "notices": raw.notices,
    }
    if given.label is None:
        return found
    levels = Levels.of(as_text(raw.cells[raw.names.index(given.label)]))
    gone = levels.tokens(given.tokens)
    aside = levels.rows(gone, absent=True)
    texts = levels.texts.to_pylist()
    order = np.argsort(levels.codes, kind="stable")
    starts = np.searchsorted(levels.codes[order], np.arange(len(texts)))
    firsts = {
        text: (np.sort(order[at : at + min(_EACH, n)]) + block.first_row).tolist()
        for text, at, n, out in zip(
            texts, starts.tolist(), levels.counts.tolist(), gone.tolist(), strict=True
        )
        if not out
    }
    return found | {
        "counts": {
            text: n
            for text, n, out in zip(texts, levels.counts.tolist(), gone.tolist(), strict=True)
            if not out
        },
        "firsts": firsts,
        "aside": int(aside.sum()),
        "first_aside": _first(aside, block.first_row, places),
    }


def _first(mask: np.ndarray, before: int, places: Places) -> str:
    """Say where the first row of a mask stands; empty where there is none."""
    if not mask.any():
        return ""
    row = int(np.argmax(mask))
    return f"row {before + row + 1} ({places.at(row)})"


def _same(cells: pa.Array) -> list[str | None] | None:
    """Return the one text of all cells, `[None]` where all are null; `None` where they differ."""
    if not len(cells):
        return []
    if is_number(cells.type):
        least, most = pc.min_max(cells).values()
        if pc.less(least, most).as_py():
            return None
        cells = as_text(cells)  # of equal numbers 0 and -0 differ, and NaN is none
    first = cells[0].as_py()
    if first is None:
        return [None] if cells.null_count == len(cells) else None
    same = cells.null_count == 0 and pc.all(pc.equal(cells, cells[0])).as_py()
    return [first] if same else None


@dataclass(frozen=True, eq=False)
class Sampled:
    """What the look at all rows found.

    Args:
        table: The sample: columns with kinds.
        rows: Rows of the whole table (0-based) that it has, in order.
        label: Labels of the sample's rows that have one, by place in the sample.
        large: All rows.
        notices: What was noticed about all rows.
        of_label: What was noticed about their label.
    """

    table: Table
    rows: Int64[np.ndarray, " m"]
    label: Label | None
    large: Large
    notices: tuple[Notice, ...]
    of_label: tuple[Notice, ...] = ()

    def global_label(self) -> Label:
        """Return the labels with the rows of the whole table."""
        assert self.label is not None
        return replace(self.label, rows=self.rows[self.label.rows])

    def numbered(self, notices: Sequence[Notice]) -> list[Notice]:
        """Return notices about the sample with the row numbers of the whole table."""
        places = self.table.places
        assert places is not None
        found = []
        for note in notices:
            where = places.told(note.where)
            found.append(
                replace(
                    note,
                    where=renumbered(where, self.rows),
                    message=renumbered(note.message, self.rows),
                )
            )
        return found


def _picked(n_rows: int, size: int, seed: int) -> Int64[np.ndarray, " m"]:
    """Return the rows of the sample: those with the smallest keys."""
    sample = RowSample(size, seed=seed, n_rows=n_rows)
    for start in range(0, n_rows, _CHUNK):
        numbers = np.arange(start, min(n_rows, start + _CHUNK), dtype=np.int64)
        sample.offer(numbers, numbers[:, None])
    return np.sort(sample.numbers)


def look_through(
    parts: Parts,
    label: str | None,
    hold: int,
    seed: int,
    executor: Executor,
    progress: Progress | None = None,
) -> Sampled:
    """Look at all rows once, block by block; hold a sample of them.

    Args:
        parts: The files.
        label: The label; `None` where there is none.
        hold: Cells held at once.
        seed: Seed of the sample.
        executor: Reads the blocks.
        progress: Told of blocks done and in all.

    Raises:
        DataError: The label or the rows are refused.
    """
    if label is not None:
        parts.check_column("audit", label)
    size = sample_rows(hold, len(parts.names))
    starts, read = file_starts(parts), parts.options
    given = _Look(label, _picked(parts.n_rows, size, seed), read.tokens, starts)
    looks = executor.map(_look, parts.blocks, shared=given, progress=progress)
    found, counts = None, np.empty(0, dtype=np.int64)
    of_label: tuple[Notice, ...] = ()
    if label is not None:
        sums = _summed(looks, label, parts)
        classes, said = classes_of_counts(sums, label, f"{parts.source}, column {label}")
        of_label = (*_set_aside(looks, label, parts), *said)
        looks = _with_rare(looks, classes, sums, parts, given, executor)
        counts = np.array([sums[name] for name in classes])
    table, rows = _table(looks, parts)
    if label is not None:
        found = _label(table, label, classes)
    own = dict.fromkeys(note for look in looks for note in look["notices"])
    notices = (*parts.notices, *own, *_constant(looks, table))
    return Sampled(table, rows, found, Large(parts, counts), notices, of_label)


def _summed(looks: Sequence[Mapping[str, Any]], label: str, parts: Parts) -> dict[str, int]:
    sums: dict[str, int] = {}
    for look in looks:
        for text, n in look["counts"].items():
            sums[text] = sums.get(text, 0) + n
        if len(sums) > _MOST_CLASSES:
            raise DataError(
                f"audit: the label must repeat, as classes do; it has more than "
                f"{_MOST_CLASSES:,} different texts",
                where=f"{parts.source}, column {label}",
                remedy="Name another column, or put the values into a few groups first.",
                code="E-REGRESSION",
            )
    return sums


def _set_aside(looks: Sequence[Mapping[str, Any]], label: str, parts: Parts) -> list[Notice]:
    aside = sum(look["aside"] for look in looks)
    if not aside:
        return []
    first = next(look["first_aside"] for look in looks if look["first_aside"])
    have, are = noun(aside, "has", "have"), noun(aside, "is", "are")
    message = f"{aside:,} of {parts.n_rows:,} rows {have} no label and {are} set aside"
    return [Notice("W-MISSING-LABEL", f"column {label}, {first}", message)]


def _with_rare(
    looks: list[dict[str, Any]],
    classes: Sequence[str],
    sums: Mapping[str, int],
    parts: Parts,
    given: _Look,
    executor: Executor,
) -> list[dict[str, Any]]:
    """Add the first rows of classes of which the sample has too few: all models must know them."""
    at = parts.names.index(given.label or "")
    have: dict[str, int] = {}
    for look in looks:
        for text in look["cells"][at]:
            have[text] = have.get(text, 0) + 1
    wanted: list[int] = []
    for name in classes:
        if have.get(name, 0) < min(_EACH, sums[name]):
            firsts = [row for look in looks for row in look["firsts"].get(name, ())]
            wanted += sorted(firsts)[:_EACH]
    if not wanted:
        return looks
    picked = np.union1d(given.picked, np.array(wanted, dtype=np.int64))
    ends = [block.first_row + block.n_rows for block in parts.blocks]
    again = sorted({int(place) for place in np.searchsorted(ends, wanted, side="right")})
    blocks = [parts.blocks[place] for place in again]
    for place, look in zip(
        again, executor.map(_look, blocks, shared=replace(given, picked=picked)), strict=True
    ):
        looks[place] = look
    return looks


def _table(
    looks: Sequence[Mapping[str, Any]], parts: Parts
) -> tuple[Table, Int64[np.ndarray, " m"]]:
    """Make the sample a table, and find out what its columns are."""
    cells = [
        pa.array([text for look in looks for text in look["cells"][place]], CELL_TYPE)
        for place in range(len(parts.names))
    ]
    rows = np.concatenate([look["rows"] for look in looks])
    name = shown_name(parts.files)
    table = build_table(RawTable(list(parts.names), cells, len(rows)), parts.options, name, name)
    return replace(table, places=joined_places([look["places"] for look in looks])), rows


def _label(table: Table, label: str, classes: Sequence[str]) -> Label:
    """Return the labels of the sample, by the classes of all rows."""
    levels = Levels.of(table.column(label).source)
    code_of = {name: code for code, name in enumerate(classes)}
    known = [code_of.get(text, -1) for text in levels.texts.to_pylist()]
    codes = np.append(np.array(known, dtype=np.int64), -1)[levels.codes]
    rows = np.flatnonzero(codes >= 0)
    return Label(label, codes[rows], tuple(classes), rows)


def _constant(looks: Sequence[Mapping[str, Any]], table: Table) -> list[Notice]:
    """Say which columns are constant in the sample and yet vary: no model here sees that."""
    found = []
    for place, column in enumerate(table.columns):
        if str(column.kind) != "constant":
            continue
        seen = [look["same"][place] for look in looks if look["same"][place] != []]
        if any(same is None or same != seen[0] for same in seen):
            message = (
                f"{cut(column.name)} is constant in the sample and not in all rows: it varies too "
                "rarely to be learnt from; left out"
            )
            found.append(Notice("W-CONSTANT", f"column {column.name}", message))
    return found
