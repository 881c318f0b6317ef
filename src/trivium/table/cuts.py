"""Where a text may be cut: at true ends of its records, found in one pass of flat memory.

A quote opens a cell only where the cell begins, so the state "inside quotes" is the parity of the
quotes before as long as each opening one stands after a delimiter, a line end or a closing one.
Where one does not, the piece is walked by hand. Lines end as Python's universal newlines do.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trivium.table.delimited import cell_limit, quote_after

__all__ = ["Cut", "Records", "cut_text", "json_records"]

_STEP = 1 << 20
_LONGEST = 1 << 26  # bytes without the end of a record: no more are looked at
_LF, _CR, _QUOTE = 10, 13, 34

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """Whole records.

    Args:
        start: First byte.
        stop: Byte after the last; `None` where no end was found: all that is left.
        first_line: Number of the line at `start`.
        n_rows: Records, blank lines not counted; `None` where no end was found.
    """

    start: int
    stop: int | None
    first_line: int
    n_rows: int | None


class Found(NamedTuple):
    """The whole records at the beginning of a piece of text."""

    size: int
    n_lines: int
    n_rows: int


def cut_text(
    stream: io.BufferedReader,
    find: Callable[[bytes, bool], Found],
    start: int,
    first_line: int,
    block_bytes: int,
) -> list[Cut]:
    """Cut what is left of a stream of UTF-8 into runs of whole records.

    Args:
        stream: The text, standing at `start`.
        find: `Records` or `json_records`.
        start: Where a record begins.
        first_line: The number of its line.
        block_bytes: A run is closed at the first end of a record that is found from here on.

    Cost:
        One pass, about 1 GB/s without quotes; memory of a mebibyte, or of the longest record.
    """
    step = max(16, min(_STEP, block_bytes // 8))  # so blocks are hardly longer than asked
    cuts: list[Cut] = []
    begun, line, at, n_lines, n_rows = start, first_line, start, 0, 0
    held, wanted, last = b"", step, False
    while not last or held:
        more = b"" if last else stream.read(wanted)
        last = len(more) < wanted
        held += more
        found = find(held, last)
        if held and not found.size:
            if last or len(held) > _LONGEST:
                return [*cuts, Cut(begun, None, line, None)]
            wanted = max(step, len(held))
            continue
        wanted, held = step, held[found.size :]
        at, n_lines, n_rows = at + found.size, n_lines + found.n_lines, n_rows + found.n_rows
        if n_rows and at - begun >= block_bytes:
            cuts.append(Cut(begun, at, line, n_rows))
            begun, line, n_lines, n_rows = at, line + n_lines, 0, 0
    if at > begun:
        cuts.append(Cut(begun, at, line, n_rows))
    if len(cuts) > 1 and not cuts[-1].n_rows:  # blank lines at the end stay with the rows before
        before = cuts[-2]
        cuts[-2:] = [Cut(before.start, at, before.first_line, before.n_rows)]
    return cuts


@dataclass(frozen=True)
class Records:
    """Finds the records of a delimited text.

    Args:
        delimiter: One character.
        width: Cells of a row.
    """

    delimiter: str
    width: int

    def __call__(self, data: bytes, last: bool) -> Found:
        """Find the whole records at the beginning of `data`; nothing follows it if `last`."""
        text = _ended(data, last=last)
        found = self._unquoted(text) or self._any(text, last=last)
        return found._replace(size=min(found.size, len(data)))

    def _unquoted(self, text: bytes) -> Found | None:
        """Count, where there are no quotes, no returns and no blank lines: nearly always."""
        if b'"' in text or b"\r" in text or not self.delimiter.isascii():
            return None
        size = text.rfind(b"\n") + 1
        view = np.frombuffer(text, np.uint8, size)
        n = int(np.count_nonzero(view == _LF))
        if self.width == 1:
            blank = text.startswith(b"\n") or text.find(b"\n\n", 0, size) >= 0
        else:
            n_parted = int(np.count_nonzero(view == ord(self.delimiter)))
            blank = n_parted != n * (self.width - 1)
        return None if blank else Found(size, n, n)

    def _any(self, text: bytes, *, last: bool) -> Found:
        view = np.frombuffer(text, np.uint8)
        if not last and text.endswith(b"\r"):
            view = view[:-1]  # a line feed may follow
        ends = _line_ends(view)
        quotes = np.flatnonzero(view == _QUOTE)
        plain = self._opens_cells(view, quotes)
        records = ends[_outside(quotes, ends)] if plain else self._walked(text, ends)
        if not len(records):
            return Found(0, 0, 0)
        size = int(records[-1])
        n_lines = int(np.searchsorted(ends, size, side="right"))
        bare = np.arange(len(records))
        if self.width == 1:
            n_blank = int(np.count_nonzero(_empty(view, records)))
            return Found(size, n_lines, len(records) - n_blank)
        if plain:
            parts = np.flatnonzero(view[:size] == ord(self.delimiter))
            parts = parts[_outside(quotes, parts)]
            if len(parts) == len(records) * (self.width - 1):
                return Found(size, n_lines, len(records))
            owner = np.searchsorted(records, parts, side="right")
            bare = np.flatnonzero(np.bincount(owner, minlength=len(records)) == 0)
        starts = np.concatenate(([0], records[:-1]))
        with cell_limit():
            n_blank = sum(self._is_blank(text[starts[i] : records[i]]) for i in bare)
        return Found(size, n_lines, len(records) - n_blank)

    def _opens_cells(self, view: Bytes, quotes: Places) -> bool:
        """Whether the parity of the quotes says what is inside of them."""
        if not self.delimiter.isascii():
            return False
        opening = quotes[::2]
        before = np.where(opening > 0, view[opening - 1], _LF)
        return bool(np.isin(before, (ord(self.delimiter), _LF, _CR, _QUOTE)).all())

    def _walked(self, text: bytes, ends: Places) -> Places:
        """Return the ends of records, line by line."""
        opened, start, found = None, 0, []
        for end in ends.tolist():
            line = text[start:end].decode(errors="surrogateescape")
            opened, start = quote_after(line, self.delimiter, opened, 1), end
            if opened is None:
                found.append(end)
        return np.array(found, dtype=np.int64)

    def _is_blank(self, record: bytes) -> bool:
        try:
            lines = io.StringIO(record.decode(), newline="")
            row = next(csv.reader(lines, delimiter=self.delimiter, strict=True), [])
        except (csv.Error, UnicodeError):
            return False
        return not row or (len(row) == 1 and not row[0].strip())


def json_records(data: bytes, last: bool) -> Found:
    """Find the whole lines at the beginning of `data`, and how many are not blank."""
    text = _ended(data, last=last)
    size = text.rfind(b"\n") + 1
    if text.startswith(b"{") and b"\r" not in text:
        n = text.count(b"\n", 0, size)
        if text.count(b"\n{", 0, size) == n - 1:
            return Found(min(size, len(data)), n, n)
    view = np.frombuffer(text, np.uint8)
    if not last and text.endswith(b"\r"):
        view = view[:-1]
    ends = _line_ends(view).tolist()
    if not ends:
        return Found(0, 0, 0)
    starts = [0, *ends[:-1]]
    rows = sum(
        bool(text[a:b].decode(errors="replace").strip()) for a, b in zip(starts, ends, strict=True)
    )
    return Found(min(ends[-1], len(data)), len(ends), rows)


def _ended(data: bytes, *, last: bool) -> bytes:
    """End the last line of a text."""
    return data + b"\n" if last and data and data[-1] not in (_LF, _CR) else data


def _line_ends(view: Bytes) -> Places:
    """Return the places after line feeds, and after returns that no line feed follows."""
    feeds = np.flatnonzero(view == _LF) + 1
    returns = np.flatnonzero(view == _CR) + 1
    if not len(returns):
        return feeds
    return np.union1d(feeds, returns[~np.isin(returns + 1, feeds, assume_unique=True)])


def _outside(quotes: Places, places: Places) -> NDArray[np.bool_]:
    """Whether an even number of quotes stands before each place."""
    outside: NDArray[np.bool_] = np.searchsorted(quotes, places) % 2 == 0
    return outside


def _empty(view: Bytes, records: Places) -> NDArray[np.bool_]:
    """Whether each record is nothing but its line end."""
    sizes = np.diff(records, prepend=0)
    pair = (view[records - 1] == _LF) & (view[records - 2] == _CR) & (sizes > 1)
    empty: NDArray[np.bool_] = sizes == 1 + pair
    return empty
