"""Cheap checks at the public doors: one rule, one message, the offending value in it."""

import math
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from trivium._core.errors import ArgumentError, DataError, MissingExtraError, ShapeError

__all__ = [
    "check_choice",
    "check_finite",
    "check_number",
    "check_shapes",
    "looks_finite",
    "require",
]

_RULES: dict[str, Callable[[float], bool]] = {
    "positive": lambda v: v > 0,
    "non-negative": lambda v: v >= 0,
    "in (0, 1)": lambda v: 0 < v < 1,
    "in [0, 1]": lambda v: 0 <= v <= 1,
    "finite": lambda _: True,
}


def check_choice(caller: str, name: str, value: object, choices: Collection[str]) -> str:
    """Return `value` when it is one of `choices`.

    Raises:
        ArgumentError: It is not; the message lists the choices.
    """
    if isinstance(value, str) and value in choices:
        return value
    listed = ", ".join(repr(choice) for choice in choices)
    raise ArgumentError(f"{caller}: {name} must be one of {listed}; got {value!r}")


def check_number(
    caller: str, name: str, value: Any, rule: str = "finite", *, integer: bool = False
) -> int | float:
    """Return `value` when it is a finite number that keeps `rule`.

    Args:
        caller: The public name that was called.
        name: The argument's name.
        value: What was passed.
        rule: `"finite"`, `"positive"`, `"non-negative"`, `"in (0, 1)"` or `"in [0, 1]"`.
        integer: Whether it must be a whole number.

    Raises:
        ArgumentError: It is not a number, not finite, or breaks the rule.
    """
    kind = "an integer" if integer else "a number"
    wanted = kind if rule == "finite" else f"{kind}, {rule}"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"{caller}: {name} must be {wanted}; got {value!r}") from error
    whole = not integer or number == int(number) if math.isfinite(number) else False
    # A tuple: the compiler of torch 2.6 knows no unions.
    if isinstance(value, (bool, str, bytes)) or not whole or not _RULES[rule](number):
        raise ArgumentError(f"{caller}: {name} must be {wanted}; got {value!r}")
    return int(value) if integer else number


def check_shapes(caller: str, arguments: Mapping[str, tuple[Any, str]]) -> dict[str, int]:
    """Bind named axes across arguments and return their sizes.

    Args:
        caller: The public name that was called.
        arguments: For each argument its value (anything with `.shape`) and its axes as words,
            for example `{"x": (x, "n d"), "y": (y, "n")}`. A digit is a fixed size, a leading
            `...` allows any axes in front.

    Raises:
        ShapeError: Wrong number of axes, or one axis with two sizes.

    Example:
        >>> import torch
        >>> check_shapes("hsic", {"x": (torch.zeros(3, 2), "n d"), "y": (torch.zeros(3), "n")})
        {'n': 3, 'd': 2}
    """
    sizes: dict[str, int] = {}
    owner: dict[str, str] = {}
    for name, (value, spec) in arguments.items():
        # A size that is a symbol of an export stays one: made an int, it would be fixed.
        shape: tuple[Any, ...] = tuple(
            size if isinstance(size, torch.SymInt) else int(size) for size in value.shape
        )
        words = spec.split()
        tail = shape
        if words and words[0] == "...":
            words = words[1:]
            tail = shape[len(shape) - len(words) :] if len(shape) >= len(words) else shape
        if len(tail) != len(words):
            raise ShapeError(
                f"{caller}: {name} must have the axes ({spec.replace(' ', ', ')}); "
                f"got shape {shape}"
            )
        for word, size in zip(words, tail, strict=True):
            known = int(word) if word.isdigit() else sizes.setdefault(word, size)
            if known != size:
                first = owner.get(word, "the rule")
                other = tuple(arguments[first][0].shape) if first in arguments else word
                raise ShapeError(
                    f"{caller}: axis {word} is {known} in {first} but {size} in {name} "
                    f"(shapes {other}, {shape})"
                )
            owner.setdefault(word, name)
    return sizes


def check_finite(caller: str, name: str, value: Tensor) -> None:
    """Refuse NaN and infinity, naming the first place.

    Raises:
        DataError: A value is not finite.
    """
    if not value.is_floating_point() and not value.is_complex():
        return
    # One sum is a cheap first look; it can only err towards the full search.
    if value.numel() == 0 or bool(torch.isfinite(value.detach().sum())):
        return
    bad = (~torch.isfinite(value)).nonzero()
    if len(bad) == 0:
        return
    place = tuple(int(i) for i in bad[0])
    labels = ("row", "column") if value.ndim <= 2 else tuple(f"axis {i}" for i in range(len(place)))
    where = ", ".join(f"{labels[axis]} {i}" for axis, i in enumerate(place))
    found = value[place].item()
    raise DataError(
        f"{caller}: {name} must be finite; got {found} and {len(bad) - 1} more",
        where=where or "scalar",
        remedy="Impute or drop these values first.",
        code="E-NOT-FINITE",
    )


def looks_finite(value: Tensor) -> bool:
    """Return whether the sum is finite, a cheap look that errs towards no.

    Yes where values cannot be read: in a compiled graph and inside `torch.func.vmap`.
    """
    if torch.compiler.is_compiling():
        return True
    try:
        return math.isfinite(value.detach().sum())
    except RuntimeError:
        return True


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MissingExtraError: It is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{purpose} needs the package {package}, which is not installed",
            remedy=f"pip install 'trivium[{extra}]'",
        ) from error
