"""Which encoding a text file has: what was said, its byte-order mark, or UTF-8."""

import codecs
from pathlib import Path

from trivium._core.errors import DataError
from trivium.table.options import ReadOptions

__all__ = ["encoding_of", "likely_encodings"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(path: Path, head: bytes, options: ReadOptions) -> str:
    """Return the name of a file's encoding.

    Args:
        path: The file.
        head: Its first bytes, unpacked.
        options: What the user said.

    Raises:
        DataError: It looks like UTF-16 without a mark.
    """
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if options.encoding is not None:
        plain = codecs.lookup(options.encoding).name
        return "utf-8-sig" if plain == "utf-8" else plain
    if marked is not None:
        return marked
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) // 5:
        guess = "utf-16-le" if odd > even else "utf-16-be"
        raise DataError(
            "read_table: the file must be text in UTF-8; it has a zero in every few bytes",
            where=str(path),
            remedy=f"If it is UTF-16 without a mark, say --encoding {guess}.",
            code="E-ENCODING",
        )
    return "utf-8"


def likely_encodings(text: bytes) -> str:
    """Say which encodings bytes that are no UTF-8 may be in.

    Characters of East Asia are pairs of bytes above 0xA0; letters of Europe mostly stand alone.

    Args:
        text: From the beginning of a line on; its last line may be cut.

    Example:
        >>> likely_encodings("城市,评论".encode("gbk"))
        'gb18030 (Chinese) or euc-kr (Korean)'
        >>> likely_encodings("Zoë,née".encode("latin-1"))
        'latin-1 or cp1252'
    """
    lines = [line for line in text.split(b"\n") if not line.isascii()]
    lines = lines[:-1] or lines
    pairs = sum(_decodes(line, "gb2312") for line in lines)
    return "gb18030 (Chinese) or euc-kr (Korean)" if 2 * pairs > len(lines) else "latin-1 or cp1252"


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
