"""How numbers are written: one place, no false precision, `n/a` for what is not finite."""

import math
from typing import Any

from trivium._core.counted import noun

__all__ = [
    "NA",
    "clock",
    "count",
    "counted",
    "finite",
    "fixed",
    "interval",
    "number",
    "p_value",
    "percent",
    "points",
    "share",
    "signed",
    "size",
]

NA = "n/a"
_THIN = "\u202f"  # a thin space that does not break, between a number and its unit
_MINUS = "\u2212"
_LARGE = 1e6


def finite(value: Any) -> float | None:
    """Return `value` as a finite float, or `None` for anything else.

    Example:
        >>> finite(2), finite(float("nan")), finite("x"), finite(True)
        (2.0, None, None, None)
    """
    if value is None or isinstance(value, bool | str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _minus(text: str) -> str:
    return text.replace("-", _MINUS)


def count(value: Any) -> str:
    """Write a whole number with separators: `1,797`."""
    known = finite(value)
    return NA if known is None else _minus(f"{round(known):,}")


def counted(value: Any, thing: str, several: str = "") -> str:
    """Write a whole number and what is counted: `1,797 rows`, `1 row`; see `trivium._core`."""
    return f"{count(value)} {noun(finite(value), thing, several)}"


def number(value: Any, digits: int = 3) -> str:
    r"""Write a number to `digits` significant digits; tiny and huge ones in powers of ten.

    Example:
        >>> number(0.012345), number(123456.0), number(3.2e-16), number(0)
        ('0.0123', '123,456', '3.2\xa0×\xa010⁻¹⁶', '0')
    """
    known = finite(value)
    if known is None:
        return NA
    if known == 0:
        return "0"
    exponent = math.floor(math.log10(abs(known)))
    if exponent < -4 or abs(known) >= _LARGE:
        mantissa, _, power = f"{known:.1e}".partition("e")
        raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return _minus(f"{mantissa}\u00a0×\u00a010") + raised
    return _minus(f"{known:,.{max(digits - 1 - exponent, 0)}f}")


def fixed(value: Any, decimals: int = 3) -> str:
    """Write a number to `decimals` places, for columns that should line up.

    Example:
        >>> fixed(0.40213), fixed(0.00004), fixed(-0.2, 1)
        ('0.402', '0.000', '−0.2')
    """
    known = finite(value)
    if known is None:
        return NA
    text = f"{known:,.{decimals}f}"
    return _minus(text) if float(text.replace(",", "")) else f"{0:.{decimals}f}"


def percent(value: Any, decimals: int = 1) -> str:
    """Write a share of one as a percentage: `84.1 %`."""
    known = finite(value)
    if known is None:
        return NA
    text = f"{100 * known:.{decimals}f}"
    if known < 1 and float(text) == 100:
        return f"> {100 - 10**-decimals:.{decimals}f}{_THIN}%"
    return _minus(f"{text}{_THIN}%")


def share(value: Any) -> str:
    r"""Write a probability as a percentage without decimals, keeping 0 and 1 for certainty.

    Example:
        >>> share(0.934), share(0.9999), share(0.001)
        ('93\u202f%', '> 99\u202f%', '< 1\u202f%')
    """
    known = finite(value)
    if known is None:
        return NA
    if 0 < known < 0.005:
        return f"< 1{_THIN}%"
    if 0.995 <= known < 1:
        return f"> 99{_THIN}%"
    return f"{round(100 * known)}{_THIN}%"


def signed(value: Any, digits: int = 3) -> str:
    """Write a number with its sign: `+0.42`, `−0.07`."""
    known = finite(value)
    if known is None:
        return NA
    text = number(known, digits)
    return f"+{text}" if known > 0 else text


def points(value: Any, decimals: int = 1) -> str:
    """Write a difference of shares in percentage points, signed: `+0.6`."""
    known = finite(value)
    if known is None:
        return NA
    text = f"{100 * known:+.{decimals}f}"
    return f"{0:.{decimals}f}" if float(text) == 0 else _minus(text)


def p_value(value: Any) -> str:
    """Write a p-value or q-value: two digits, and never below `< 0.001`.

    Example:
        >>> p_value(0.0213), p_value(2e-5), p_value(0.5), p_value(None)
        ('0.021', '< 0.001', '0.50', 'n/a')
    """
    known = finite(value)
    if known is None:
        return NA
    if known < 0.001:
        return "< 0.001"
    return f"{known:.3f}" if known < 0.1 else f"{known:.2f}"


def interval(mean: Any, low: Any, high: Any, style: str = "number") -> tuple[str, str]:
    r"""Write a mean and its interval with as many decimals as the interval supports.

    The half-width is kept to about two significant digits; percentages have one decimal, none
    where the half-width is ten points or more, two where it is below a tenth of a point.

    Args:
        mean: The estimate.
        low: Lower end of its interval.
        high: Upper end.
        style: `"percent"` (a share), `"points"` (a difference of shares), `"number"` or
            `"signed"`.

    Returns:
        The estimate, and the interval as `82.9 to 85.3` or the empty string when unknown.

    Example:
        >>> interval(0.8412, 0.829, 0.853, "percent")
        ('84.1\u202f%', '82.9 to 85.3')
    """
    center, lower, upper = finite(mean), finite(low), finite(high)
    if center is None:
        return NA, ""
    factor = 100 if style in ("percent", "points") else 1
    sign = "+" if style in ("points", "signed") else ""
    unit = f"{_THIN}%" if style == "percent" else ""
    half = factor * (upper - lower) / 2 if lower is not None and upper is not None else 0.0
    if factor == 100:
        decimals = 0 if half >= 10 else 1 if half >= 0.1 or half == 0 else 2
    else:
        decimals = min(max(1 - math.floor(math.log10(half)), 0), 3) if half > 0 else 3

    def write(value: float) -> str:
        text = f"{factor * value:{sign},.{decimals}f}"
        return _minus(text if float(text.replace(",", "")) else text.lstrip("+-"))

    ends = "" if lower is None or upper is None else f"{write(lower)} to {write(upper)}"
    return write(center) + unit, ends


def clock(value: Any) -> str:
    """Write seconds: `3 ms`, `0.42 s`, `11 s`, `3 min 20 s`."""
    known = finite(value)
    if known is None:
        return NA
    if known < 0.1:
        return f"{1000 * known:.{0 if known >= 0.01 or known == 0 else 1}f}{_THIN}ms"
    if known < 10:
        return f"{known:.{2 if known < 1 else 1}f}{_THIN}s"
    if known < 120:
        return f"{known:.0f}{_THIN}s"
    minutes, rest = divmod(round(known), 60)
    return f"{minutes:,}{_THIN}min {rest}{_THIN}s"


def size(value: Any) -> str:
    """Write bytes in decimal units: `512 B`, `31 kB`, `1.2 MB`."""
    known = finite(value)
    if known is None:
        return NA
    for unit in ("B", "kB", "MB", "GB"):
        if abs(known) < 999.5 or unit == "GB":
            decimals = 1 if unit != "B" and abs(known) < 9.95 else 0
            return _minus(f"{known:,.{decimals}f}{_THIN}{unit}")
        known /= 1000
    return NA
