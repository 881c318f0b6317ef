"""Lines and windows of a text: what a reader of a whole file or of a part of it goes through."""

import io
from collections.abc import Callable
from typing import Any

from trivium._core.errors import DataError

__all__ = ["MAX_LINE", "LineReader", "Utf8Stream", "Window"]

MAX_LINE = 1 << 26
"""The longest line, in characters."""

_STEP = 1 << 16


class LineReader:
    """Decoded lines one by one, with the number of the line and where the first NUL was.

    Args:
        text: The decoded text.
        at: Names the place of a line.
        first: Number of the first line.
    """

    def __init__(self, text: io.TextIOWrapper, at: Callable[[int], str], first: int = 1) -> None:
        self._text = text
        self._at = at
        self.number = first - 1
        self.nul_lines = 0
        self.first_nul: int | None = None

    def __iter__(self) -> "LineReader":
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) >= MAX_LINE and line[-1] not in "\r\n":
            raise DataError(
                f"read_table: a line must be at most {MAX_LINE:,} characters; it is longer",
                where=self._at(self.number),
                remedy="Is it a table? A quote left open can swallow the rest of a file.",
                code="E-LONG-LINE",
            )
        if "\0" in line:
            self.nul_lines += 1
            self.first_nul = self.first_nul or self.number
        return line


class Utf8Stream(io.RawIOBase):
    """The UTF-8 bytes of a decoded text.

    Args:
        text: The text, standing at its beginning.
        marked: Whether a byte-order mark may stand there, which its decoder leaves.
    """

    def __init__(self, text: io.TextIOWrapper, *, marked: bool) -> None:
        self._text = text
        self._held = b""
        self._marked = marked

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        if not self._held:
            text = self._text.read(_STEP)
            self._held = (text.removeprefix("\ufeff") if self._marked else text).encode()
            self._marked = False
        given = self._held[: len(buffer)]
        self._held = self._held[len(given) :]
        buffer[: len(given)] = given
        return len(given)


class Window(io.RawIOBase):
    """A part of a stream: some bytes are passed over, and no more than a number given.

    Args:
        inner: The stream.
        skip: Bytes to pass over.
        size: Most bytes to give; `None` for all.
    """

    def __init__(
        self, inner: io.RawIOBase | io.BufferedReader, skip: int, size: int | None
    ) -> None:
        self._inner = inner
        self._skip = skip
        self._left = size

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        while self._skip:
            passed = self._inner.read(min(self._skip, _STEP))
            if not passed:
                return 0
            self._skip -= len(passed)
        wanted = len(buffer) if self._left is None else min(len(buffer), self._left)
        given = self._inner.read(wanted) or b""
        if self._left is not None:
            self._left -= len(given)
        buffer[: len(given)] = given
        return len(given)
