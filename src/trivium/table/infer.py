"""The one type inference: over the text of the whole column, by rules that are written here.

The kind of a column is the first of these that holds. "Present" cells are those that are not
missing; a missing token is one of `MISSING_TOKENS` (spaces around it aside).

1. **said**: the column was named in `text`, `date`, `category` or `number` of `ReadOptions`.
2. **constant**: no cell is present, or all cells have one text and none is missing.
3. **number** or **integer**: every present cell is a number by syntax (digits, one decimal mark,
   an exponent, a sign), at least one is finite, and there are at least two different ones. The
   column is an integer when every cell is digits with at most a sign. Not a number: a column
   where a cell has a leading zero (`007`), or an integer beyond 64 bits. `inf` and `1e400` count
   as missing, with a warning. All-distinct integers that only number the rows are
   **identifier** (`is_sequence`).
4. **datetime**: every present cell is a possible moment in one of the formats of `dates`.
5. **text**, with a warning that names the first cell in the way, when at least half of the
   present cells, but not all, are numbers (or dates), or all are and rule 3 (or 4) refused.
   A column of leading zeros is the exception: it goes on to rule 6.
6. Words. With r rows a distinct text and w words a text on average: **category** when r >= 10;
   or r >= 2 and not (w >= 4 with at least 8 distinct texts). **text** when w >= 4, or w >= 1.5
   and half of the words stand in other texts too. **identifier** when all texts differ (5 rows
   or more) or r < 2 with at least 20 distinct texts. Else **category**.

**Missing.** An empty cell, a JSON or Parquet null and a key that is not there are missing in
every column. In number, datetime, text and identifier columns so is every missing token. In a
category a token may be a name (`NA` is Namibia, `None` an answer), so it is **kept** as a category
of its own, with a warning that lists it; only in the label column it is set aside, counted.
Whoever says `missing=(...)` is obeyed in every column. The text that was written is never lost:
`Column.source` has it.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa

from trivium._core.counted import counted, noun
from trivium._core.errors import DataError
from trivium.table.arrow import as_text, is_number, text_values
from trivium.table.draft import Draft
from trivium.table.infer_date import date_column, known_dates
from trivium.table.naming import cut
from trivium.table.numbers import Numbers, dressed_numbers, read_numbers
from trivium.table.options import ReadOptions
from trivium.table.table import Column, ColumnType, Kind
from trivium.table.words import is_sequence, kind_of_words

__all__ = ["column_as", "infer_column"]

_NUMBERS = {Kind.number, Kind.integer}


def infer_column(name: str, cells: pa.Array, options: ReadOptions | None = None) -> Column:
    """Tell what a column is and read its values.

    Args:
        name: The column's name.
        cells: Arrow strings, the exact text; null where the source has none.
        options: What the user said.

    Returns:
        The column; its `notes` say everything that a reader should know.

    Raises:
        DataError: The user said that it is a number and a cell is none.

    Cost:
        time O(n) for Arrow's passes over the distinct texts, memory O(n).

    Example:
        >>> import pyarrow as pa
        >>> infer_column("x", pa.array(["1.5", "NA", "2"], pa.large_string())).kind.value
        'number'
    """
    options = options or ReadOptions()
    draft = Draft.of(name, cells, options)
    for kind in (Kind.text, Kind.category, Kind.number, Kind.datetime):
        role = "date" if kind is Kind.datetime else kind.value
        if name in getattr(options, role):
            return _as(draft, kind)
    present = draft.levels.n_rows(~draft.token)
    if present == 0 or (len(draft.levels) == 1 and present == len(cells)):
        return draft.build(Kind.constant)
    if int(np.count_nonzero(~draft.token)) == 1:
        return _category(draft)
    return _number(draft) or date_column(draft) or _words(draft)


def column_as(
    name: str, cells: pa.Array, kind: ColumnType | Kind | str, options: ReadOptions | None = None
) -> Column:
    """Read a column as a kind that is known already, as a saved model does with a new file.

    Cells that do not fit a number or datetime are missing, with a warning that lists them.

    Args:
        name: The column's name.
        cells: Arrow strings, the exact text, null where the source has none; or Arrow numbers,
            which are read as their text would be.
        kind: What it is to be, or `Column.type` of the column that it is to be read like. Where
            neither that nor the options have an order for dates with slashes, it is found out as
            for a whole column; a cell that could be both is missing, with a warning.
        options: Missing tokens, decimal mark, order of dates.

    Example:
        >>> import pyarrow as pa
        >>> column_as("x", pa.array(["1", "b"], pa.large_string()), "integer").values.tolist()
        [1.0, nan]
    """
    options = options or ReadOptions()
    known = kind if isinstance(kind, ColumnType) else ColumnType(Kind(kind))
    kind = known.kind
    if kind in _NUMBERS and is_number(cells.type):
        column = _plain_numbers(name, cells, kind, options)
        if column is not None:
            return column
    draft = Draft.of(name, as_text(cells), options)
    if kind in _NUMBERS:
        numbers = read_numbers(draft.texts, draft.options.decimal)
        return _with_numbers(draft, kind, numbers).build_lossy(numbers.is_number)
    if kind is Kind.datetime:
        return known_dates(draft, known.date_order)
    return _category(draft) if kind is Kind.category else draft.build(kind)


def _plain_numbers(name: str, cells: pa.Array, kind: Kind, options: ReadOptions) -> Column | None:
    """Take Arrow numbers as they are, where their text has nothing else to say."""
    if options.decimal != "." or _has_number(options.tokens):
        return None
    values = text_values(cells)
    return None if values is None else Column(name, kind, cells, values, np.isnan(values))


@cache
def _has_number(tokens: frozenset[str]) -> bool:
    """Whether a number may mean missing."""
    return bool(read_numbers(pa.array(sorted(tokens), pa.large_string())).is_number.any())


def _as(draft: Draft, kind: Kind) -> Column:
    """Make what the user said."""
    if kind is Kind.text:
        return draft.build(kind)
    if kind is Kind.category:
        return _category(draft)
    if kind is Kind.datetime:
        return date_column(draft, said=True) or draft.build(Kind.text)
    numbers = read_numbers(draft.texts, draft.options.decimal)
    if not numbers.is_number.all():
        row, text = draft.levels.first(draft.all_levels(~numbers.is_number))
        raise DataError(
            f"read_table: column {cut(draft.name)} was said to hold numbers; got {text}",
            where=f"row {row}",
            remedy="Mend the cell, add it to the missing tokens, or do not name the column.",
            code="E-NOT-NUMBER",
        )
    return _with_numbers(draft, _number_kind(numbers), numbers).build_lossy(numbers.is_number)


def _number_kind(numbers: Numbers) -> Kind:
    return Kind.integer if numbers.is_integer.all() else Kind.number


def _with_numbers(draft: Draft, kind: Kind, numbers: Numbers) -> Draft:
    """Take the values, and note what float64 does to them."""
    levels = draft.levels
    finite = np.isfinite(numbers.values)
    draft = replace(draft, kind=kind, values=np.where(finite, numbers.values, np.nan))
    infinite = draft.all_levels(numbers.is_number & ~finite)
    if infinite.any():
        row, _ = levels.first(infinite)
        message = (
            f"{counted(levels.n_rows(infinite), 'cell')} not finite, counted as missing: "
            f"{levels.examples(infinite)}"
        )
        draft = draft.noted("W-NOT-FINITE", message, row=row)
    for mask, code, what in (
        (numbers.underflow, "W-UNDERFLOW", "too small for float64, counted as 0"),
        (numbers.rounded, "W-ROUNDED", "with an integer beyond 2^53, rounded in calculations"),
    ):
        if mask.any():
            found = draft.all_levels(mask)
            row, _ = levels.first(found)
            message = f"{counted(levels.n_rows(found), 'cell')} {what}: {levels.examples(found)}"
            draft = draft.noted(code, message, row=row)
    return draft


def _number(draft: Draft) -> Column | None:
    """Rule 3, and its refusals of rule 5."""
    numbers = read_numbers(draft.texts, draft.options.decimal)
    if not numbers.is_number.all():
        return _mixed(draft, numbers)
    if not np.isfinite(numbers.values).any():
        return None
    if numbers.overflow.any():
        bad = draft.all_levels(numbers.overflow)
        row, text = draft.levels.first(bad)
        message = (
            f"kept as text: {counted(n := draft.levels.n_rows(bad), 'integer')} "
            f"{noun(n, 'is', 'are')} beyond 64 bits, first {text}"
        )
        return draft.noted("W-OVERFLOW", message, row=row).build(Kind.text)
    if numbers.leading_zero.any():
        bad = draft.all_levels(numbers.leading_zero)
        row, text = draft.levels.first(bad)
        message = (
            f"not read as numbers: {counted(n := draft.levels.n_rows(bad), 'cell')} "
            f"{noun(n, 'begins', 'begin')} with a zero as codes do, first {text}; "
            f"--number {cut(draft.name)} reads them as numbers"
        )
        return _words(draft.noted("W-LEADING-ZERO", message, row=row))
    kind = _number_kind(numbers)
    column = _with_numbers(draft, kind, numbers).build_lossy(numbers.is_number)
    return replace(column, kind=Kind.identifier, values=None) if _numbers_rows(column) else column


def _numbers_rows(column: Column) -> bool:
    """Whether an integer column only numbers the rows."""
    if column.kind is not Kind.integer or column.values is None or column.missing.any():
        return False
    if len(np.unique(column.values)) < len(column.values):
        return False
    return is_sequence(column.name, column.values)


def _mixed(draft: Draft, numbers: Numbers) -> Column | None:
    """Text, when half of the present cells or more are numbers, yet not all."""
    other = "," if draft.options.decimal == "." else "."
    with_other = read_numbers(draft.texts, other).is_number
    either = numbers.is_number | with_other
    bad = draft.all_levels(~numbers.is_number)
    row, text = draft.levels.first(bad)
    if either.all():
        mark = "comma" if other == "," else "point"
        message = (
            f"kept as text: {counted(n := draft.levels.n_rows(bad), 'cell')} "
            f"{noun(n, 'has', 'have')} a decimal {mark} (or mark thousands), first {text}; "
            f"--decimal '{other}' reads them as numbers"
        )
        return draft.noted("W-DECIMAL", message, row=row).build(Kind.text)
    if draft.share(numbers.is_number) < 0.5:
        return None
    message = (
        f"kept as text: {counted(n := draft.levels.n_rows(bad), 'cell')} "
        f"{noun(n, 'is no number', 'are no numbers')} though the others are, first {text}"
    )
    return draft.noted("W-MIXED", message, row=row).build(Kind.text)


def _category(draft: Draft) -> Column:
    """A category: words such as `NA` are kept and listed unless the user said otherwise."""
    if draft.options.missing is not None:
        return draft.build(Kind.category)
    empty = draft.levels.tokens(frozenset({""}))
    said = draft.token & ~empty
    if said.any():
        message = (
            f"kept as a category, though it may mean missing: {draft.levels.quoted(said)}; "
            "--missing says so"
        )
        draft = draft.noted("W-MISSING-TOKEN", message)
    return draft.build(Kind.category, empty)


def _words(draft: Draft) -> Column:
    """Rule 6."""
    draft = _dressed(draft)
    kind = kind_of_words(draft.texts, draft.levels.n_rows(~draft.token))
    return _category(draft) if kind is Kind.category else draft.build(kind)


def _dressed(draft: Draft) -> Draft:
    """Note numbers that are none for what stands about them."""
    texts = draft.texts
    # One text tells of most columns that they are others.
    if not len(texts) or not dressed_numbers(texts.slice(0, 1)).all():
        return draft
    numbers = read_numbers(texts, draft.options.decimal).is_number
    if numbers.all() or not dressed_numbers(texts).all():
        return draft
    bad = draft.all_levels(~numbers)
    row, text = draft.levels.first(bad)
    message = (
        f"not read as numbers: {draft.levels.n_rows(bad):,} cells have a currency, a percent sign, "
        f"marks of thousands or the like about the number, first {text}; written plain they are"
    )
    return draft.noted("W-DRESSED", message, row=row)
