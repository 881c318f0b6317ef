"""JSON that comes back as it went in: exact floats, NaN and infinities, no duplicate keys.

A float is written by `repr`, which reads back to the same bits. NaN and infinities, which JSON
has no words for, become `{"$float": "nan"}`. One value has one text, so a file can be compared
with the text of what was read from it: any changed byte shows.
"""

import hashlib
import json
import math
from collections import Counter
from typing import Any, NoReturn

import numpy as np

from trivium._core.errors import ArgumentError, DataError

__all__ = ["digest", "file_json", "from_json", "to_json"]

_MARK = "$float"
_INDENTED = 4_000_000  # indenting takes ten times longer, and nobody reads so much
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return the one JSON text of a value of dicts, lists, strings, numbers, bools and None.

    numpy scalars and arrays are taken as Python numbers and lists, tuples as lists.

    Raises:
        ArgumentError: Another type, or a dict key that is not a string.

    Example:
        >>> to_json({"b": 0.1, "a": [1, float("nan")]})
        '{"b": 0.1, "a": [1, {"$float": "nan"}]}'
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False, ensure_ascii=True)


def file_json(value: Any, *, most: int = _INDENTED) -> str:
    """Return the text of a file: indented for readers, on one line where it is very long.

    Args:
        value: As `to_json` takes it.
        most: Characters on one line up to which the text is indented.

    Example:
        >>> print(file_json({"a": 1}), file_json({"a": 1}, most=5))
        {
         "a": 1
        } {"a": 1}
    """
    plain = _plain(value)
    text = json.dumps(plain, allow_nan=False)
    return text if len(text) > most else json.dumps(plain, indent=1, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """Read what `to_json` wrote.

    Raises:
        DataError: Not JSON, a duplicate key, a bare NaN, or nested too deep.

    Example:
        >>> from_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ...
        trivium._core.errors.DataError: from_json: a key must stand once in an object; got 'a' twice
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_bare)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"from_json: text must be JSON; {error}") from error


def digest(value: Any) -> str:
    """SHA-256 of the JSON text of a value, as hexadecimal digits."""
    return hashlib.sha256(to_json(value).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_MARK: str(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        bad = [key for key in value if not isinstance(key, str) or key == _MARK]
        if bad:
            raise ArgumentError(
                f"to_json: keys must be strings other than {_MARK!r}; got {bad[0]!r}"
            )
        return {key: _plain(item) for key, item in value.items()}
    raise ArgumentError(
        "to_json: value must be made of dicts, lists, strings, numbers, bools and None; "
        f"got {type(value).__name__}"
    )


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise DataError(f"from_json: a key must stand once in an object; got {twice!r} twice")
    if _MARK in found:
        if len(found) == 1 and found[_MARK] in _SPECIAL:
            return _SPECIAL[found[_MARK]]
        raise DataError(f"from_json: {_MARK} must be nan, inf or -inf; got {found!r}")
    return found


def _bare(word: str) -> NoReturn:
    raise DataError(f"from_json: numbers must be finite or marked; got {word}")
