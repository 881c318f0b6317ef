"""What to know before any model: leaking, duplicate, constant and identifying columns."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trivium._core.counted import counted, noun
from trivium.table.label import Label
from trivium.table.levels import Levels
from trivium.table.naming import cut, listed
from trivium.table.notice import Notice
from trivium.table.numbers import read_numbers
from trivium.table.table import Column, Kind, Table

__all__ = ["duplicate_groups", "inspect_columns", "leaking_columns"]

_LEAK_CHANCE = -6.0


def inspect_columns(table: Table, label: Label) -> tuple[Notice, ...]:
    """Say what should be known first: leakage, then conflicts and duplicates, then columns.

    Args:
        table: The table, with the label's column.
        label: From `split_label`.

    Returns:
        Notices, the most important first: `W-LEAK`, `W-CONFLICTING-LABELS`, `W-DUPLICATE-ROWS`,
        `W-CONSTANT`, `W-IDENTIFIER`.

    Cost:
        time O(n d), memory O(n).
    """
    others = [column for column in table.columns if column.name != label.name]
    leaks = [note for column in others if (note := _leak(column, label)) is not None]
    leaks.sort(key=lambda note: "equal" not in note.message)
    groups = duplicate_groups(table, ignore=(label.name,))
    states = [note for column in others if (note := _state(column)) is not None]
    states.sort(key=lambda note: note.code != "W-CONSTANT")
    return (*leaks, *_duplicates(groups, label, table), *states)


def leaking_columns(table: Table, label: Label) -> tuple[str, ...]:
    """Return the columns that are equal to the label or determine it."""
    return tuple(
        column.name
        for column in table.columns
        if column.name != label.name and _leak(column, label) is not None
    )


def duplicate_groups(table: Table, ignore: Iterable[str] = ()) -> NDArray[np.int64]:
    """Return a group for each row: rows of one group have the same text in every column.

    Identifier columns do not count (they differ by construction), nor do those of `ignore`
    (the label, say). Groups are numbered in the order of their first rows.

    Cost:
        time O(n d), mostly less: it stops once all rows differ; memory O(n).

    Example:
        >>> import pyarrow as pa
        >>> from trivium.table.frame import from_frame
        >>> t = from_frame(pa.table({"x": [1, 2, 1], "y": ["a", "b", "a"]}))
        >>> duplicate_groups(t).tolist()
        [0, 1, 0]
    """
    skipped = set(ignore)
    used = [
        column
        for column in table.columns
        if column.name not in skipped and column.kind not in {Kind.identifier, Kind.constant}
    ]
    if not used:
        return np.arange(table.n_rows, dtype=np.int64)
    groups = np.zeros(table.n_rows, dtype=np.int64)
    n_groups = 1
    for column in used:
        levels = Levels.of(column.source)
        groups = groups * (len(levels) + 1) + levels.codes + 1
        found, groups = np.unique(groups, return_inverse=True)
        n_groups = len(found)
        if n_groups == table.n_rows:
            break
    first = np.full(n_groups, table.n_rows, dtype=np.int64)
    np.minimum.at(first, groups, np.arange(table.n_rows))
    rank = np.empty(n_groups, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(n_groups)
    return rank[groups]


def _leak(column: Column, label: Label) -> Notice | None:
    """Note a column whose every value goes with one label, when chance would not do that.

    With n rows and k values, n − k rows agree with an earlier row of their value; under
    independence each does with probability Σ pₖ² (p: the shares of the classes), so that all do
    with (Σ pₖ²)^(n − k), which must be below 1e-6.
    """
    if column.kind is Kind.constant:
        return None
    levels = Levels.of(column.source)
    codes = levels.codes[label.rows]
    n, n_classes = len(codes), len(label.classes)
    shares = label.counts / n
    if (n - len(levels)) * math.log10(float(shares @ shares)) > _LEAK_CHANCE:
        return None
    n_values = len(np.unique(codes))
    n_pairs = len(np.unique(codes * n_classes + label.codes))
    chance = (n - n_values) * math.log10(float(shares @ shares))
    if n_pairs != n_values or chance > _LEAK_CHANCE:
        return None
    where = f"column {column.name}"
    if n_values == n_classes:
        texts = levels.texts.to_pylist()
        first = np.unique(label.codes, return_index=True)[1]
        same = all(
            code >= 0 and texts[code].strip() == label.classes[c].strip()
            for c, code in enumerate(codes[first])
        )
        what = "is equal to the label" if same else "is equal to the label but for its names"
        message = f"{cut(column.name)} {what} {cut(label.name)}: left out, unless --keep uses it"
        return Notice("W-LEAK", where, message)
    message = (
        f"{cut(column.name)} determines the label {cut(label.name)}: each of its {n_values:,} "
        "values goes with one class. That may be leakage; left out, unless --keep uses it"
    )
    return Notice("W-LEAK", where, message)


def _duplicates(groups: NDArray[np.int64], label: Label, table: Table) -> list[Notice]:
    """Count rows that repeat, and groups of equal rows whose labels differ."""
    sizes = np.bincount(groups)
    n_extra = int((sizes - 1).sum())
    if n_extra == 0:
        return []
    notices = []
    kept = groups[label.rows]
    pairs = np.unique(kept * len(label.classes) + label.codes)
    n_labels = np.bincount(pairs // len(label.classes), minlength=len(sizes))
    conflicting = n_labels > 1
    if conflicting.any():
        rows = label.rows[conflicting[kept]]
        message = (
            f"{counted(n := int(conflicting.sum()), 'group')} of equal rows "
            f"({counted(len(rows), 'row')}) {noun(n, 'has', 'have')} labels "
            f"that contradict each other: rows {listed((str(r + 1) for r in rows[:6]), len(rows))}"
        )
        notices.append(Notice("W-CONFLICTING-LABELS", table.source, message))
    repeats = np.flatnonzero(sizes[groups] > 1)
    message = (
        f"{counted(n_extra, 'row')} {noun(n_extra, 'repeats', 'repeat')} an earlier row in all "
        "columns but the label and identifiers; "
        f"equal rows stay together in folds: rows "
        f"{listed((str(r + 1) for r in repeats[:6]), len(repeats))}"
    )
    notices.append(Notice("W-DUPLICATE-ROWS", table.source, message))
    return notices


def _state(column: Column) -> Notice | None:
    """Note a column that cannot help: constant, or naming the rows."""
    where = f"column {column.name}"
    if column.kind is Kind.constant:
        if column.missing.all():
            message = f"{cut(column.name)} is empty; left out"
        else:
            text = cut(str(column.source[0].as_py()))
            message = f"{cut(column.name)} is constant: all cells are {text}; left out"
        return Notice("W-CONSTANT", where, message)
    if column.kind is Kind.identifier:
        present = len(column) - column.n_missing
        share = "all" if column.n_distinct == present else f"{column.n_distinct:,} of {present:,}"
        numbers = read_numbers(Levels.of(column.strings).texts).is_number.all()
        ways = "--category, --text or --number" if numbers else "--category or --text"
        message = (
            f"{cut(column.name)} identifies rows ({share} values differ); left out. {ways} uses it"
        )
        return Notice("W-IDENTIFIER", where, message)
    return None
