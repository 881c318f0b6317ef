"""Opening a file: what it is, unpacked, decoded, and never more of it than was allowed."""

import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from os import PathLike
from pathlib import Path
from typing import Any, cast

from trivium._core.counted import counted
from trivium._core.errors import DataError
from trivium.table.encoding import encoding_of, likely_encodings
from trivium.table.lines import MAX_LINE, LineReader, Utf8Stream, Window
from trivium.table.naming import no_such_file
from trivium.table.options import ReadOptions

__all__ = ["Format", "Source", "open_source"]

_UTF8 = ("utf-8", "utf-8-sig")
_DROP_MARKS = ("utf-16", "utf-32")
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"%PDF-", "a PDF document"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive"),
    (b"ARROW1", "an Arrow file"),
    (b"\x80\x04\x95", "a pickle, which is never opened"),
)


class Format(StrEnum):
    """The shape of a file's content."""

    delimited = "delimited"
    jsonl = "jsonl"
    parquet = "parquet"


class _Limited(io.RawIOBase):
    """A stream that refuses to give more than a number of bytes."""

    def __init__(self, inner: io.BufferedIOBase, source: "Source", limit: int) -> None:
        self._inner = inner
        self._source = source
        self._limit = limit
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._inner.read(min(len(buffer), 1 << 16))
        self._left -= len(block)
        if self._left < 0:
            packed = " when unpacked" if self._source.packed else ""
            raise DataError(
                f"read_table: the file must be at most {counted(self._limit, 'byte')}{packed}; it "
                "is longer",
                where=self._source.where,
                remedy="If you trust the file, raise --max-bytes (max_bytes=...).",
                code="E-TOO-LONG",
            )
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._inner.close()
        super().close()


@dataclass(frozen=True)
class Source:
    """A file that was found and looked at: its path, shape, packing and encoding."""

    path: Path
    format: Format
    packed: bool
    encoding: str
    options: ReadOptions

    @property
    def where(self) -> str:
        """The file as the user named it."""
        return str(self.path)

    def at(self, line: int) -> str:
        """Return the place of a line."""
        return f"{self.path}, line {line}"

    @contextmanager
    def binary(self, start: int = 0) -> Iterator[io.BufferedReader]:
        """Open the unpacked bytes from a place on, limited to `max_bytes`.

        Raises:
            DataError: The file is too long, truncated, damaged or cannot be opened.
        """
        with _refusals(self.path), _opened(self.path, packed=self.packed) as inner:
            inner.seek(start)
            limited = _Limited(inner, self, self.options.max_bytes)
            with io.BufferedReader(limited, 1 << 16) as buffered:
                yield cast("io.BufferedReader", buffered)

    @contextmanager
    def utf8(self, start: int = 0, stop: int | None = None) -> Iterator[io.BufferedReader]:
        """Open the text as UTF-8, whatever its encoding is, from one of its bytes to another.

        A plain UTF-8 file is opened at the place; others are unpacked and decoded from their
        beginning.

        Raises:
            DataError: As `binary`; bytes that are not in the encoding.
        """
        plain = self.encoding in _UTF8
        with self.binary(start if plain else 0) as stream:
            if plain and stop is None:
                yield stream
                return
            raw: io.RawIOBase | io.BufferedReader = stream
            if not plain:
                text = io.TextIOWrapper(stream, encoding=self.encoding, newline="")
                raw = Utf8Stream(text, marked=self.encoding not in _DROP_MARKS)
            window = Window(raw, 0 if plain else start, None if stop is None else stop - start)
            try:
                yield io.BufferedReader(window, 1 << 16)
            except UnicodeError as error:
                raise self._undecodable(error) from error

    @contextmanager
    def lines(
        self, start: int = 0, stop: int | None = None, first_line: int = 1
    ) -> Iterator[LineReader]:
        """Open the decoded lines, each with its own line end.

        Args:
            start: Byte, of the text in UTF-8, at which a line begins.
            stop: Byte after the last; `None` for all.
            first_line: Number of the first line.

        Raises:
            DataError: As `binary`; bytes that are not in the encoding; a line beyond 64 Mi
                characters.
        """
        with self.utf8(start, stop) as stream:
            sign = "-sig" if start == 0 and self.encoding == "utf-8-sig" else ""
            text = io.TextIOWrapper(stream, encoding=f"utf-8{sign}", newline="")
            try:
                yield LineReader(text, self.at, first_line)
            except UnicodeError as error:
                raise self._undecodable(error) from error

    def _undecodable(self, error: UnicodeError) -> DataError:
        line, found, text = self._bad_line()
        place = self.where if line is None else self.at(line)
        guess = (
            "" if self.options.encoding else f", for example --encoding {likely_encodings(text)}"
        )
        return DataError(
            f"read_table: the file must be text in {self.encoding}; got {found or error}",
            where=place,
            remedy=f"Say which encoding it has with --encoding{guess}.",
            code="E-ENCODING",
        )

    def _bad_line(self) -> tuple[int | None, str | None, bytes]:
        """Find the first line that does not decode; only where a byte is a line end.

        Returns:
            Its number, the byte in the way, and the text from there on.
        """
        if self.encoding not in _UTF8:
            return None, None, b""
        with self.binary() as stream:
            number = 0
            while line := stream.readline(MAX_LINE):
                number += 1
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    return (
                        number,
                        f"the byte 0x{line[error.start]:02x}",
                        line + stream.read(1 << 12),
                    )
        return None, None, b""


def open_source(path: str | PathLike[str], options: ReadOptions) -> Source:
    """Look at a file: is it there, packed, and which shape and encoding has it.

    The shape is told by content first (Parquet and gzip have marks), then by the name's ending
    (`.jsonl`, `.ndjson`), then by a first character `{`.

    Raises:
        DataError: No such file, a folder, no permission, empty, or a file of another sort.
    """
    path = Path(path)
    with _refusals(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError("read_table: it must be a file", where=str(path), code="E-NO-FILE")
        with _opened(path, packed=False) as stream:
            head = stream.read(64)
        packed = head.startswith(_GZIP)
        with _opened(path, packed=packed) as stream:
            head = stream.read(1 << 12)
    if not head:
        raise DataError("read_table: the file is empty", where=str(path), code="E-EMPTY")
    shape = _shape(path, head)
    encoding = "" if shape is Format.parquet else encoding_of(path, head, options)
    return Source(path, shape, packed, encoding, options)


@contextmanager
def _opened(path: Path, *, packed: bool) -> Iterator[io.BufferedIOBase]:
    with path.open("rb") as file:
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            yield unpacked


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn what the operating system and gzip raise into our own refusal."""
    try:
        yield
    except DataError:
        raise
    except EOFError as error:
        raise DataError(
            "read_table: the gzip file is truncated", where=str(path), code="E-TRUNCATED"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"read_table: the gzip file is damaged ({error})", where=str(path), code="E-DAMAGED"
        ) from error
    except FileNotFoundError as error:
        raise no_such_file(path) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"read_table: the file cannot be read ({reason})", where=str(path), code="E-NO-FILE"
        ) from error


def _shape(path: Path, head: bytes) -> Format:
    if head.startswith(_PARQUET):
        return Format.parquet
    for mark, sort in _FOREIGN:
        if head.startswith(mark):
            raise DataError(
                f"read_table: the file must be CSV, TSV, JSONL or Parquet; it is {sort}",
                where=str(path),
                remedy="Save it as CSV or Parquet.",
                code="E-FORMAT",
            )
    endings = {ending.lower() for ending in path.suffixes[-2:]}
    if endings & {".parquet", ".pq"}:
        raise DataError(
            "read_table: the file does not begin as Parquet does: damaged, or another format",
            where=str(path),
            code="E-DAMAGED",
        )
    if endings & {".jsonl", ".ndjson"}:
        return Format.jsonl
    if endings & {".csv", ".tsv", ".tab", ".txt"}:
        return Format.delimited
    bare = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if ".json" in endings and bare.startswith(b"["):
        raise DataError(
            "read_table: JSON must be one object a line; it is one array",
            where=str(path),
            remedy="Write each object of the array on a line of its own.",
            code="E-FORMAT",
        )
    return Format.jsonl if bare.startswith(b"{") else Format.delimited
