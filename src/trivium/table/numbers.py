"""Numbers out of text, with the value that Python's `float` would give, and what is odd in it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trivium.table.matching import FEW, matching

__all__ = ["Numbers", "dressed_numbers", "read_numbers"]

_SPACE = "[ \t]*"
_NUMBER = {
    mark: rf"{_SPACE}[+-]?(?:[0-9]+(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?{_SPACE}"
    for mark, point in ((".", r"\."), (",", ","))
}
_INFINITE = rf"{_SPACE}[+-]?(?i:inf|infinity){_SPACE}"
_INTEGER = rf"{_SPACE}[+-]?[0-9]+{_SPACE}"
_LEADING_ZERO = rf"{_SPACE}[+-]?0[0-9](?s:.*)"
_NOT_ZERO = rf"{_SPACE}[+-]?[0.,]*[1-9](?s:.*)"

# What people put about numbers: currencies, per cent and mille, other spaces, another minus.
_BLANK = "[ \t\u00a0\u202f]*"
_SIGN = "[-+\u2212]?"
_COIN = "[$\u00a3\u00a5\u20a9\u20ac\u20b9\uffe5]?"
_THOUSANDS = "[0-9]{1,3}(?:[,' \u00a0\u202f][0-9]{3})+(?:[.][0-9]+)?"
_DRESSED = (
    rf"{_BLANK}[(]?{_SIGN}{_BLANK}{_COIN}{_BLANK}{_SIGN}"
    rf"(?:{_THOUSANDS}|[0-9]{{1,3}}(?:[.][0-9]{{3}})+,[0-9]+|[0-9]+(?:[.,][0-9]+)?)"
    f"{_BLANK}(?:[%\u2030\u5143]|{_COIN})[)]?{_BLANK}"
)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Numbers:
    """What texts say as numbers; every field has one entry a text.

    Args:
        values: The number, infinite where it says so or is too large; NaN where it is none.
        is_number: Whether the text is a number (or infinity) by syntax.
        is_integer: Whether it is digits with at most a sign.
        leading_zero: Whether it begins with a zero and another digit, as codes do.
        overflow: Whether it is an integer beyond 64 bits.
        rounded: Whether it is an integer that float64 does not hold exactly.
        underflow: Whether it is not zero and yet its value is.
    """

    values: NDArray[np.float64]
    is_number: Mask
    is_integer: Mask
    leading_zero: Mask
    overflow: Mask
    rounded: Mask
    underflow: Mask


def read_numbers(texts: pa.Array, decimal: str = ".") -> Numbers:
    """Read texts (no nulls) as numbers: digits, one decimal mark, an exponent, a sign.

    Spaces around are allowed; thousands separators, underscores, `0x` and digits of other
    scripts are not: such a text is no number.

    Cost:
        time O(n) regular expressions in Arrow, memory O(n).

    Example:
        >>> import pyarrow as pa
        >>> read_numbers(pa.array(["1.5", " -2e3", "1_000"])).values.tolist()
        [1.5, -2000.0, nan]
    """
    finite = matching(texts, _NUMBER[decimal])
    values = np.full(len(texts), np.nan)
    if finite.any():
        values[finite] = _parse(texts if finite.all() else texts.filter(pa.array(finite)), decimal)
    is_number = finite
    if not finite.all():
        infinite = matching(texts, _INFINITE)
        values[infinite] = np.inf
        is_number = finite | infinite
    none = np.zeros(len(texts), dtype=np.bool_)
    is_integer = matching(texts, _INTEGER) if finite.any() else none
    zero = values == 0
    overflow, rounded = _beyond(texts, values, is_integer)
    return Numbers(
        values=values,
        is_number=is_number,
        is_integer=is_integer,
        leading_zero=matching(texts, _LEADING_ZERO) & finite if finite.any() else none,
        overflow=overflow,
        rounded=rounded,
        underflow=matching(texts, _NOT_ZERO) & zero if zero.any() else none,
    )


def dressed_numbers(texts: pa.Array) -> Mask:
    """Tell which texts are numbers but for what stands about them: `$1,200.50`, `45%`, `(3.2)`.

    Example:
        >>> import pyarrow as pa
        >>> dressed_numbers(pa.array(["$1,200.50", "45%", "12-34", "7"])).tolist()
        [True, True, False, True]
    """
    return matching(texts, _DRESSED)


def _parse(texts: pa.Array, decimal: str) -> NDArray[np.float64]:
    if len(texts) <= FEW:
        return np.array([float(text.replace(decimal, ".")) for text in texts.to_pylist()])
    if decimal != ".":
        texts = pc.replace_substring(texts, decimal, ".")
    try:
        parsed = pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        parsed = pc.cast(pc.utf8_trim(texts, " \t"), pa.float64())
    values: NDArray[np.float64] = parsed.to_numpy(zero_copy_only=False)
    return values


def _beyond(texts: pa.Array, values: NDArray[np.float64], is_integer: Mask) -> tuple[Mask, Mask]:
    """Tell integers beyond 64 bits, and those that float64 rounds, by Python's exact integers."""
    overflow = np.zeros(len(values), dtype=np.bool_)
    rounded = overflow.copy()
    if not is_integer.any():
        return overflow, rounded
    large = is_integer & (np.abs(values) > 2**53 - 1)
    for i in np.flatnonzero(large):
        text = texts[int(i)].as_py().strip(" \t")
        digits = text.lstrip("+-0")
        exact = int(text) if len(digits) <= 20 else 10**20
        overflow[i] = not -(2**63) <= exact < 2**64
        rounded[i] = not overflow[i] and int(values[i]) != exact
    return overflow, rounded
