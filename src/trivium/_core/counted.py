"""A count in a sentence: `1 row`, `1,797 rows`."""

from typing import Any

__all__ = ["counted", "noun"]

_ES = ("s", "x", "ch", "sh")


def noun(n: Any, thing: str, several: str = "") -> str:
    """Return the form of a noun, or of a verb, that goes with a count.

    Args:
        n: The count.
        thing: The form for one.
        several: That for none or more; by default as English nouns have it.

    Example:
        >>> noun(1, "class"), noun(2, "class"), noun(0, "category"), noun(2, "has", "have")
        ('class', 'classes', 'categories', 'have')
    """
    if n == 1:
        return thing
    if several:
        return several
    if thing.endswith("y") and thing[-2] not in "aeiou":
        return f"{thing[:-1]}ies"
    return thing + ("es" if thing.endswith(_ES) else "s")


def counted(n: Any, thing: str, several: str = "") -> str:
    """Return a count and what is counted.

    Args:
        n: The count.
        thing: What one of them is called.
        several: What none or more are called; by default as English nouns have it.

    Example:
        >>> counted(1, "row"), counted(1797, "row"), counted(0, "axis", "axes")
        ('1 row', '1,797 rows', '0 axes')
    """
    return f"{n:,} {noun(n, thing, several)}"
