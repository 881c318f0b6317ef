"""The label: which column, which rows have one, which classes; refused where it cannot be one."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trivium._core.counted import counted, noun
from trivium._core.errors import DataError
from trivium.table.levels import Levels
from trivium.table.naming import cut, listed, nearest
from trivium.table.notice import Notice
from trivium.table.numbers import read_numbers
from trivium.table.options import ReadOptions
from trivium.table.table import Table

__all__ = ["Label", "classes_of_counts", "split_label"]

_MANY = 20
_FEW = 4


@dataclass(frozen=True, eq=False)
class Label:
    """What is to be predicted.

    Args:
        name: The column.
        codes: For each kept row its class, an index into `classes`.
        classes: The exact texts of the classes, sorted (by value where all are numbers).
        rows: The rows (0-based) that have a label, in order.
        notices: What was noticed.
    """

    name: str
    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    notices: tuple[Notice, ...] = ()

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many rows each class has."""
        return np.bincount(self.codes, minlength=len(self.classes)).astype(np.int64)


def split_label(table: Table, label: str, options: ReadOptions | None = None) -> Label:
    """Take a column as the label.

    A row whose label is empty or a missing token (`MISSING_TOKENS`, or exactly
    `options.missing`) is set aside and counted. Labels are compared as exact text.

    Args:
        table: The table.
        label: The column's name, exactly.
        options: Only `missing` is used.

    Returns:
        The label.

    Raises:
        DataError: No such column (the nearest names are given), no labels, one class, one label
            a row, or numbers so many that it looks like regression.

    Cost:
        time O(n), memory O(n).
    """
    options = options or ReadOptions()
    if label not in table:
        raise DataError(
            f"split_label: label must be one of the {counted(len(table.columns), 'column')}; got "
            f"{cut(label)}",
            where=table.source,
            remedy=nearest(label, table.names),
            code="E-LABEL",
        )
    where = f"{table.source}, column {label}"
    levels = Levels.of(table.column(label).source)
    gone = levels.tokens(options.tokens)
    aside = levels.rows(gone, absent=True)
    rows = np.flatnonzero(~aside)
    texts: list[str] = levels.subset(~gone).to_pylist() if (~gone).any() else []
    notices = _set_aside(levels, gone, aside, label)
    if len(texts) < 2:
        raise _one_class(texts, where, notices[0].message + ". " if notices else "")
    numeric = _check_classes(texts, len(rows), where)
    order = np.argsort(numeric, kind="stable") if numeric is not None else _by_text(texts)
    rank = np.full(len(levels) + 1, -1, dtype=np.int64)
    rank[np.flatnonzero(~gone)[order]] = np.arange(len(texts))
    codes = rank[levels.codes[rows]]
    classes = tuple(texts[i] for i in order)
    counts = np.bincount(codes, minlength=len(classes))
    notices += _class_notices(classes, counts, label, numbers=numeric is not None)
    return Label(label, codes, classes, rows, tuple(notices))


def classes_of_counts(
    counts: Mapping[str, int], label: str, where: str
) -> tuple[tuple[str, ...], tuple[Notice, ...]]:
    """Return the classes of a label whose texts were counted block by block, and notices.

    Args:
        counts: Rows of each text that is a label.
        label: The column.
        where: The place, for messages.

    Raises:
        DataError: As `split_label`.
    """
    texts = list(counts)
    if len(texts) < 2:
        raise _one_class(texts, where)
    numeric = _check_classes(texts, sum(counts.values()), where)
    order = np.argsort(numeric, kind="stable") if numeric is not None else _by_text(texts)
    classes = tuple(texts[i] for i in order)
    rows = np.array([counts[name] for name in classes])
    return classes, tuple(_class_notices(classes, rows, label, numbers=numeric is not None))


def _one_class(texts: list[str], where: str, aside: str = "") -> DataError:
    found = f"only {cut(texts[0])}" if texts else "none"
    way = "Name a column that has two classes or more" if texts else "Fill it in, or name another"
    return DataError(
        f"split_label: label must have at least 2 classes; got {found}",
        where=where,
        remedy=f"{aside}{way}.",
        code="E-ONE-CLASS",
    )


def _by_text(texts: list[str]) -> NDArray[np.int64]:
    return np.array(sorted(range(len(texts)), key=texts.__getitem__), dtype=np.int64)


def _set_aside(
    levels: Levels, gone: NDArray[np.bool_], aside: NDArray[np.bool_], label: str
) -> list[Notice]:
    n_aside = int(np.count_nonzero(aside))
    if not n_aside:
        return []
    words = gone & ~levels.tokens(frozenset({""}))
    said = f" ({levels.quoted(words)}; say --missing '' if that is a class)" if words.any() else ""
    row = int(np.argmax(aside)) + 1
    have, are = noun(n_aside, "has", "have"), noun(n_aside, "is", "are")
    message = f"{n_aside:,} of {len(aside):,} rows {have} no label and {are} set aside{said}"
    return [Notice("W-MISSING-LABEL", f"column {label}, row {row}", message)]


def _check_classes(texts: list[str], n_rows: int, where: str) -> NDArray[np.float64] | None:
    """Refuse a label that looks like regression; return the classes' values if all are numbers."""
    numbers = read_numbers(pa.array(texts, pa.large_string()))
    numeric = bool(numbers.is_number.all())
    n = len(texts)
    reason = None
    if n == n_rows < _FEW:
        raise DataError(
            f"split_label: label must repeat, as classes do; all {counted(n_rows, 'row')} have "
            "different ones",
            where=where,
            remedy="Add rows: classes need several rows each, and an audit 4 at the least.",
            code="E-TOO-FEW-ROWS",
        )
    if n == n_rows:
        reason = f"each of the {counted(n_rows, 'row')} has a label of its own"
    elif numeric and n > _MANY and not numbers.is_integer.all():
        reason = (
            f"there are {counted(n, 'different number')} with decimals in {counted(n_rows, 'row')}"
        )
    elif numeric and n > _MANY and n > n_rows / 2:
        reason = f"there are {counted(n, 'different number')} in {counted(n_rows, 'row')}"
    if reason is not None:
        raise DataError(
            f"split_label: label must repeat, as classes do; it looks like regression: {reason}",
            where=where,
            remedy="Name another column, or put the values into a few groups first.",
            code="E-REGRESSION",
        )
    return numbers.values if numeric else None


def _class_notices(
    classes: tuple[str, ...], counts: NDArray[np.int64], label: str, *, numbers: bool
) -> list[Notice]:
    where = f"column {label}"
    notices: list[Notice] = []
    if numbers and len(classes) > _MANY:
        message = f"the {counted(len(classes), 'class')} are all numbers; it may be regression"
        notices.append(Notice("W-REGRESSION", where, message))
    lone = np.flatnonzero(counts == 1)
    if len(lone):
        names = listed((cut(classes[i]) for i in lone[:5]), len(lone))
        have = noun(len(lone), "has", "have")
        message = f"{counted(len(lone), 'class')} {have} one row only: {names}"
        notices.append(Notice("W-SMALL-CLASS", where, message))
    folded = ["".join(name.split()).casefold() for name in classes]
    common = {fold for fold, count in Counter(folded).items() if count > 1}
    if common:
        same = [cut(n) for n, fold in zip(classes, folded, strict=True) if fold in common]
        message = f"classes differ by case or space only: {listed(same)}; they are kept apart"
        notices.append(Notice("W-LABEL-SPELLING", where, message))
    return notices
