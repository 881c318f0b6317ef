"""Laws that everything mergeable keeps; sums of your own are held to the same."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trivium._core.errors import TriviumError

__all__ = ["MOMENT_LAWS", "LawBrokenError", "check_mergeable"]

Make = Callable[[], Any]
Update = Callable[[Any, Any], Any]
Read = Callable[[Any], Mapping[str, Any]]
Law = Callable[[Make, Update, Read, Sequence[Any], float], None]


class LawBrokenError(TriviumError, AssertionError):
    """A law does not hold; the message names the law, the quantity and the error."""

    default_code = "E-LAW"


def _close(law: str, found: Mapping[str, Any], wanted: Mapping[str, Any], tolerance: float) -> None:
    for name in wanted:
        a, b = (np.asarray(value, dtype=np.float64) for value in (found[name], wanted[name]))
        if a.shape != b.shape:
            raise LawBrokenError(f"{law}: {name} has shape {a.shape}, wanted {b.shape}")
        error = float(np.nan_to_num(np.abs(a - b)).max(initial=0.0))
        scale = float(np.nan_to_num(np.abs(b)).max(initial=0.0))
        if (np.isnan(a) != np.isnan(b)).any() or error > tolerance * max(scale, 1e-300):
            raise LawBrokenError(
                f"{law}: {name} is off by {error:.3g} at a size of {scale:.3g}, beyond the "
                f"relative tolerance {tolerance:g}"
            )


def _whole(make: Make, update: Update, rows: Sequence[Any]) -> Any:
    total = make()
    for row in rows:
        update(total, row)
    return total


def _split_is_whole(
    make: Make, update: Update, read: Read, parts: Sequence[Any], tolerance: float
) -> None:
    wanted = read(_whole(make, update, parts))
    for cut in range(len(parts) + 1):
        left, right = _whole(make, update, parts[:cut]), _whole(make, update, parts[cut:])
        _close(f"split at {cut} is the whole", read(left + right), wanted, tolerance)


def _order_is_free(
    make: Make, update: Update, read: Read, parts: Sequence[Any], tolerance: float
) -> None:
    wanted = read(_whole(make, update, parts))
    backwards = make()
    for part in reversed(parts):
        backwards.merge(_whole(make, update, [part]))
    _close("merging backwards is the whole", read(backwards), wanted, tolerance)


def _grouping_is_free(
    make: Make, update: Update, read: Read, parts: Sequence[Any], tolerance: float
) -> None:
    third = max(1, len(parts) // 3)
    a, b, c = (
        _whole(make, update, piece)
        for piece in (parts[:third], parts[third : 2 * third], parts[2 * third :])
    )
    _close("(a + b) + c is a + (b + c)", read((a + b) + c), read(a + (b + c)), tolerance)


def _nothing_is_neutral(
    make: Make, update: Update, read: Read, parts: Sequence[Any], tolerance: float
) -> None:
    wanted = read(_whole(make, update, parts))
    _close("x + nothing is x", read(_whole(make, update, parts) + make()), wanted, tolerance)
    _close("nothing + x is x", read(make() + _whole(make, update, parts)), wanted, tolerance)


def _plus_leaves_both(
    make: Make, update: Update, read: Read, parts: Sequence[Any], tolerance: float
) -> None:
    a, b = _whole(make, update, parts[:1]), _whole(make, update, parts[1:])
    before = {f"a.{name}": np.asarray(value).copy() for name, value in read(a).items()}
    before |= {f"b.{name}": np.asarray(value).copy() for name, value in read(b).items()}
    update(a + b, parts[0])
    after = {f"a.{name}": value for name, value in read(a).items()}
    after |= {f"b.{name}": value for name, value in read(b).items()}
    _close("a + b changes neither", after, before, 0.0)


MOMENT_LAWS: tuple[Law, ...] = (
    _split_is_whole,
    _order_is_free,
    _grouping_is_free,
    _nothing_is_neutral,
    _plus_leaves_both,
)


def check_mergeable(
    make: Make,
    update: Update,
    read: Read,
    parts: Sequence[Any],
    *,
    tolerance: float = 1e-12,
    downdate: Update | None = None,
    return_tolerance: float = 1e-9,
) -> None:
    """Hold something with `merge` and `+` to the laws of a moment.

    Args:
        make: Returns it holding nothing.
        update: `update(moment, part)` adds the rows of one part in place.
        read: Returns its quantities by name, arrays or numbers.
        parts: At least three parts, non-empty, whatever `update` takes.
        tolerance: Greatest error, over the largest entry of each quantity.
        downdate: `downdate(moment, part)` takes rows away; left out, it is not tested.
        return_tolerance: The same, for adding and then taking away.

    Raises:
        LawBrokenError: A law does not hold.

    Example:
        >>> from trivium.moment import Moments
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 2))
        >>> read = lambda m: {"mean": m.mean, "total": m.total, "counts": m.counts}
        >>> check_mergeable(lambda: Moments(2), lambda m, p: m.update(p), read, list(x))
    """
    for law in MOMENT_LAWS:
        law(make, update, read, parts, tolerance)
    if downdate is None:
        return
    there = _whole(make, update, parts)
    for part in reversed(parts[1:]):
        downdate(there, part)
    wanted = read(_whole(make, update, parts[:1]))
    _close("adding and taking away returns", read(there), wanted, return_tolerance)
