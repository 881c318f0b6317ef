"""Foreign text on the page: nothing hidden, nothing too long, nothing that reorders its neighbors.

Autoescaping keeps markup inert; this file takes care of what escaping leaves: control characters
and terminal escapes, bidirectional overrides, invisible characters, and cells of any length.
"""

import re
import unicodedata
from collections.abc import Sequence

from markupsafe import Markup, escape

__all__ = ["cut", "pairs", "shown", "tied", "visible"]

# Joiners (U+200C, U+200D) and direction marks (U+200E, U+200F) stay: scripts and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_BREAKS = re.compile("\r\n?|[\n\x0b\x0c\x85\u2028\u2029]")
_NAMES = {0x00: "NUL", 0x07: "BEL", 0x08: "BS", 0x1B: "ESC", 0x7F: "DEL"}


def _name(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code == 0xFFFD:
        return match.group()
    name = _NAMES.get(code) or f"U+{code:04X}"
    return f"\u27e8{name}\u27e9"


def visible(value: object) -> str:
    r"""Return `value` as text in which every hidden character is seen.

    Line breaks become `⏎`, tabs `⇥`, other controls their names (`⟨ESC⟩`, `⟨NUL⟩`), and
    bidirectional overrides, zero-width spaces, tag characters and lone surrogates their number.

    Args:
        value: Anything; `None` gives an empty string.

    Returns:
        Text that can be encoded in UTF-8 and printed on a terminal.

    Example:
        >>> visible("a\x1b[31m\u202eb\n")
        'a⟨ESC⟩[31m⟨U+202E⟩b⏎'
    """
    text = "" if value is None else str(value)
    if text.isascii() and text.isprintable():
        return text
    text = _BREAKS.sub("\u23ce", text).replace("\t", "\u21e5")
    return _HIDDEN.sub(_name, text)


def tied(text: str) -> str:
    r"""Return our own prose with numbers tied to their units and signs, so no line breaks there.

    Example:
        >>> tied("p < 0.001, 84.1 %")
        'p\xa0<\xa00.001, 84.1\u202f%'
    """
    text = re.sub(r"(?<=\d) %", "\u202f%", text)
    return re.sub(r"(?<=\w) ([<=>\u2264\u2265\u00b1]) (?=[\d\u2212-])", "\u00a0\\1\u00a0", text)


def cut(value: object, limit: int = 80) -> tuple[str, int]:
    """Return visible text of at most `limit` characters, and the full length when it was cut.

    Args:
        value: Anything; read as by `visible`.
        limit: Most characters to show, the ellipsis included; at least 2.

    Returns:
        The text, and 0 where all of it is shown or the length in characters of the whole.

    Example:
        >>> cut("abcdefgh", 5)
        ('abcd…', 8)
    """
    raw = "" if value is None else str(value)
    text = visible(raw[: limit + 1])
    if len(raw) <= limit and len(text) <= max(limit, 2 * len(raw)) and len(text) <= 2 * limit:
        return text, 0
    end = limit - 1
    while end > 1 and (unicodedata.combining(text[end]) or text[end] == "\u200d"):
        end -= 1
    return text[:end] + "\u2026", len(raw)


def shown(value: object, limit: int = 80, *, counted: bool = True) -> Markup:
    r"""Return foreign text as inert markup, isolated from its neighbors' direction.

    Args:
        value: Anything; `None` and the empty string are shown as the word "empty".
        limit: Most characters to show; a cut text is followed by its full length.
        counted: Whether to say that length; not in a heading, whose table says it.

    Example:
        >>> shown("<b>"), shown("\u0628")
        (Markup('&lt;b&gt;'), Markup('<bdi>ب</bdi>'))
    """
    text, length = cut(value, limit)
    if not text:
        return Markup('<span class="quiet">empty</span>')
    body = escape(text) if text.isascii() else Markup("<bdi>{}</bdi>").format(text)
    if not length or not counted:
        return body
    return body + Markup(' <span class="cut">({:,} chars)</span>').format(length)


def pairs(items: Sequence[tuple[object, object]], limit: int = 40) -> Markup:
    """Return `(name, value)` pairs as one line of cut text: the excerpt of a row.

    Args:
        items: Column names with their cells.
        limit: Most characters of each cell; names get half.
    """
    parts = [
        Markup('<span class="pair"><span class="key">{}</span> {}</span>').format(
            shown(name, max(limit // 2, 12)), shown(value, limit)
        )
        for name, value in items
    ]
    return Markup(" ").join(parts) if parts else Markup("{}").format(escape(""))
