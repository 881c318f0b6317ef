"""Dates and times out of text: a few formats that can be read in one way only.

| shape | example | |
|---|---|---|
| ISO date | `2024-03-31`, `2024/3/31` | year first |
| ISO date and time | `2024-03-31T12:30:05.25Z`, `2024-03-31 12:30 +02:00` | zone optional |
| day with dots | `31.03.2024`, `31.03.2024 12:30` | day first, as written where dots are |
| month by name | `31 Mar 2024`, `31-Mar-2024`, `March 31, 2024` | English names |
| slashes | `31/03/2024`, `03/31/2024`, `03-31-2024` | day or month first: one order a column |

Which order slashes have is found out from the column: a first number above 12 in any cell says
day first, a second one month first. When no cell tells, the column stays text and is named. Two
digits of a year are never guessed. A date without a zone counts as UTC.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trivium.table.matching import matching

__all__ = ["Dates", "read_dates"]

_TIME = (
    r"(?:(?:[T ]|, )(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?"
    r" ?(?P<z>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?"
)
_MONTH = r"(?P<name>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))[a-zA-Z]{0,6}\.?"
_SHAPES = (
    r"(?P<y>\d{4})[-/](?P<m>\d{1,2})[-/](?P<d>\d{1,2})",
    r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})",
    r"(?P<d>\d{1,2})[ -]" + _MONTH + r"[ -](?P<y>\d{4})",
    _MONTH + r" (?P<d>\d{1,2}),? (?P<y>\d{4})",
)
_SLASHES = r"(?P<a>\d{1,2})[/-](?P<b>\d{1,2})[/-](?P<y>\d{4})"
_MAYBE = (
    r"\s*(?:[0-9]{1,4}[-/. ]|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))(?s:.*)[0-9]"
    r"(?s:.*)"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Order = Literal["dmy", "mdy"]


@dataclass(frozen=True, eq=False)
class Dates:
    """What texts say as dates; every array has one entry a text.

    Args:
        seconds: Seconds since 1970-01-01 UTC; NaN where the text is no possible date.
        shaped: Whether the text has the shape of a date, possible or not.
        zones: Minutes east of UTC; `NO_ZONE` where the text names no zone.
        guessed: Which texts could be day first or month first, and no cell tells.
        order: `"dmy"` or `"mdy"`, where slashes have one; `None` where it makes no difference.
    """

    seconds: NDArray[np.float64]
    shaped: Mask
    zones: Ints
    guessed: Mask
    order: Order | None = None

    @property
    def ambiguous(self) -> bool:
        """Whether there are texts that no cell tells how to read."""
        return bool(self.guessed.any())


NO_ZONE = 10_000


def read_dates(texts: pa.Array, order: Order | None = None) -> Dates:
    """Read texts (no nulls) as dates and times.

    Args:
        texts: Arrow strings.
        order: `"dmy"` or `"mdy"` for slashes; `None` finds it out from all the texts.

    Cost:
        time O(n) regular expressions in Arrow, memory O(n).

    Example:
        >>> import pyarrow as pa
        >>> read_dates(pa.array(["1970-01-02", "1970-02-30"])).seconds.tolist()
        [86400.0, nan]
    """
    n = len(texts)
    seconds = np.full(n, np.nan)
    shaped = np.zeros(n, dtype=np.bool_)
    zones = np.full(n, NO_ZONE, dtype=np.int64)
    guessed = np.zeros(n, dtype=np.bool_)
    maybe = matching(texts, _MAYBE)
    if not maybe.any():
        return Dates(seconds, shaped, zones, guessed)
    found: Order | None = None
    for shape in (*_SHAPES, _SLASHES):
        left = np.flatnonzero(maybe & ~shaped)
        if not len(left):
            break
        parts = pc.extract_regex(texts.take(pa.array(left)), rf"^\s*{shape}{_TIME}\s*$")
        hit = ~parts.is_null().to_numpy(zero_copy_only=False)
        if not hit.any():
            continue
        fields = _Fields(parts.filter(pa.array(hit)))
        at = left[hit]
        shaped[at] = True
        if shape is _SLASHES:
            day, month, guessed[at], found = _order(fields, order)
        else:
            day, month = fields.numbers("d"), fields.month()
        seconds[at], zones[at] = fields.seconds(day, month)
    return Dates(seconds, shaped, zones, guessed, found)


class _Fields:
    """The named groups of a regular expression over many texts."""

    def __init__(self, parts: pa.Array) -> None:
        self._parts = parts
        self._names = {field.name for field in parts.type}

    def texts(self, name: str) -> pa.Array:
        return pc.struct_field(self._parts, name)

    def numbers(self, name: str) -> Ints:
        texts = self.texts(name)
        filled = pc.if_else(pc.equal(texts, ""), "0", texts)
        found: Ints = pc.cast(filled, pa.int64()).to_numpy(zero_copy_only=False)
        return found

    def month(self) -> Ints:
        if "m" in self._names:
            return self.numbers("m")
        names = pc.utf8_lower(self.texts("name"))
        index = pc.index_in(names, value_set=pa.array(_MONTHS, names.type))
        found: Ints = index.to_numpy(zero_copy_only=False).astype(np.int64) + 1
        return found

    def zones(self) -> Ints:
        """Minutes east of UTC of each text."""
        texts = self.texts("z").to_pylist()
        known = {text: _minutes(text) for text in set(texts)}
        return np.array([known[text] for text in texts], dtype=np.int64)

    def seconds(self, day: Ints, month: Ints) -> tuple[NDArray[np.float64], Ints]:
        """Seconds since 1970 UTC, NaN where the calendar or the clock has no such moment."""
        year = self.numbers("y")
        hour, minute, second = self.numbers("H"), self.numbers("M"), self.numbers("S")
        zones = self.zones()
        possible = (year >= 1) & (month >= 1) & (month <= 12) & (hour < 24)
        possible &= (minute < 60) & (second < 60) & (np.abs(zones) % NO_ZONE < 24 * 60)
        month = np.where(possible, month, 1)
        start = (year - 1970) * 12 + month - 1
        first = start.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        after = (start + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        possible &= (day >= 1) & (day <= after - first)
        whole = ((first + day - 1) * 24 + hour) * 3600 + minute * 60 + second
        whole -= np.where(zones == NO_ZONE, 0, zones * 60)
        parts = pc.utf8_rpad(self.texts("f"), width=9, padding="0")
        nanos = pc.cast(parts, pa.int64()).to_numpy(zero_copy_only=False)
        return np.where(possible, whole + nanos / 1e9, np.nan), zones


def _minutes(zone: str) -> int:
    if not zone:
        return NO_ZONE
    if zone.upper() in {"Z", "UTC", "GMT"}:
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return -minutes if zone[0] == "-" else minutes


def _order(fields: _Fields, order: Order | None) -> tuple[Ints, Ints, Mask, Order | None]:
    """Return day, month, which of them are a guess, and the order, where there is one."""
    first, second = fields.numbers("a"), fields.numbers("b")
    differ = first != second
    guessed = np.zeros(len(first), dtype=np.bool_)
    if order is None:
        day_first, month_first = bool((first > 12).any()), bool((second > 12).any())
        guessed = differ & (not day_first and not month_first)
        order = "mdy" if month_first and not day_first else "dmy"
    day, month = (first, second) if order == "dmy" else (second, first)
    return day, month, guessed, order if differ.any() else None
