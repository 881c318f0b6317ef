"""A function with a form for each type, looked up by plain code that torch.compile can follow."""

from collections.abc import Callable
from typing import Any

__all__ = ["ByType"]


class ByType:
    """A function that its first argument's type chooses; the nearest class of its ancestry wins.

    As `functools.singledispatch`, whose look-up of abstract classes breaks a compiled graph.

    Args:
        default: The form for every type that has none of its own.

    Example:
        >>> @ByType
        ... def kind(value):
        ...     return "something"
        >>> @kind.register(int)
        ... def _(value):
        ...     return "a number"
        >>> kind(True), kind("a")
        ('a number', 'something')
    """

    def __init__(self, default: Callable[..., Any]) -> None:
        self.forms: dict[type, Callable[..., Any]] = {object: default}
        self.__doc__ = default.__doc__
        self.__name__ = default.__name__
        self.__module__ = default.__module__

    def register(self, kind: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator that makes a function the form for a class and those below it."""

        def keep(form: Callable[..., Any]) -> Callable[..., Any]:
            self.forms[kind] = form
            return form

        return keep

    def dispatch(self, kind: type) -> Callable[..., Any]:
        """Return the form for a class."""
        ancestry = kind.__mro__
        for place in range(len(ancestry)):  # the compilers of old torch cannot iterate over it
            if ancestry[place] in self.forms:
                return self.forms[ancestry[place]]
        return self.forms[object]

    def __call__(self, value: Any, *rest: Any) -> Any:
        return self.dispatch(type(value))(value, *rest)
