"""What a user may say about a file; everything else is found out and named."""

import codecs
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, DataError
from trivium.table.naming import cut, nearest

__all__ = ["MISSING_TOKENS", "ReadOptions"]

MISSING_TOKENS = (
    "",
    "NA",
    "N/A",
    "n/a",
    "<NA>",
    "#N/A",
    "NaN",
    "nan",
    "NULL",
    "null",
    "None",
    "?",
)
"""Texts that say "no value here"; `infer` has the rule for where they count."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file.

    Args:
        encoding: Name of the encoding; `None` is UTF-8, or what a byte-order mark says.
        delimiter: One character; `None` finds it out (`,`, `;`, tab or `|`).
        decimal: `"."` or `","`.
        date_order: `"dmy"` or `"mdy"` for dates such as `03/04/2024`; `None` finds it out and,
            where every cell could be either, keeps the column as text with a warning.
        max_bytes: Refuse a file that is longer than this when unpacked.
        min_rows: Refuse a file with fewer rows (a file to predict may have one).
        rename_duplicates: Rename the second of two equal column names instead of refusing.
        missing: Exactly these texts (and the empty one) are missing, in every column; `None`
            is the rule of `MISSING_TOKENS`, see `infer`.
        text: Columns to take as text.
        date: Columns to take as dates and times.
        category: Columns to take as categories.
        number: Columns to take as numbers (leading zeros and all).
        drop: Columns not to read.

    Raises:
        ArgumentError: A value breaks its rule, or a column is named in two of the lists.
    """

    encoding: str | None = None
    delimiter: str | None = None
    decimal: Literal[".", ","] = "."
    date_order: Literal["dmy", "mdy"] | None = None
    max_bytes: int = 1 << 30
    min_rows: int = 2
    rename_duplicates: bool = False
    missing: tuple[str, ...] | None = None
    text: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    number: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("ReadOptions", "decimal", self.decimal, (".", ","))
        if self.date_order is not None:
            check_choice("ReadOptions", "date_order", self.date_order, ("dmy", "mdy"))
        check_number("ReadOptions", "max_bytes", self.max_bytes, "positive", integer=True)
        check_number("ReadOptions", "min_rows", self.min_rows, "non-negative", integer=True)
        self._check_encoding()
        self._check_delimiter()
        self._check_lists()

    def _check_encoding(self) -> None:
        if self.encoding is None:
            return
        try:
            codecs.lookup(self.encoding)
            "".encode(self.encoding)
        except (LookupError, UnicodeError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"ReadOptions: encoding must be the name of a text encoding; got {self.encoding!r}",
                remedy="For example utf-8, latin-1, cp1252, utf-16, gb18030, shift_jis.",
            ) from error

    def _check_delimiter(self) -> None:
        if self.delimiter is None:
            return
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n\0 ':
            raise ArgumentError(
                "ReadOptions: delimiter must be one character, not a quote, space or line end; "
                f"got {self.delimiter!r}"
            )

    def _check_lists(self) -> None:
        seen: dict[str, str] = {}
        for role in ("text", "date", "category", "number", "drop"):
            for name in getattr(self, role):
                if seen.setdefault(name, role) != role:
                    raise ArgumentError(
                        "ReadOptions: a column must be named in one list; "
                        f"got {cut(name)} in {seen[name]} and {role}"
                    )

    @property
    def tokens(self) -> frozenset[str]:
        """The texts that say that a value is missing."""
        return frozenset(MISSING_TOKENS if self.missing is None else ("", *self.missing))

    def check_names(self, names: Sequence[str], where: str) -> None:
        """Refuse a column that was asked for and is not there.

        Raises:
            DataError: No such column; the message has the nearest names.
        """
        known = set(names)
        for role in ("text", "date", "category", "number", "drop"):
            wanted: Iterable[str] = getattr(self, role)
            for name in wanted:
                if name not in known:
                    raise DataError(
                        f"read_table: --{role} must name a column; got {cut(name)}",
                        where=where,
                        remedy=nearest(name, names),
                        code="E-COLUMN",
                    )
