"""Families: interfaces with final members, found by walking a room.

A member is a class in the file of its idea, named in that file's `__all__`, with a classmethod
`examples()` that returns a few small instances. Nobody registers it anywhere.
"""

import inspect
import pkgutil
from collections.abc import Iterable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, TypeVar

__all__ = ["Member", "gather", "members"]

T = TypeVar("T")


class Member(Protocol):
    """What a family asks of its members."""

    @classmethod
    def examples(cls) -> Sequence[Any]:
        """Return a few small instances for conformance tests and the catalog."""
        ...


def _modules(package: ModuleType) -> Iterable[ModuleType]:
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not info.name.rsplit(".", 1)[-1].startswith("_"):
            yield import_module(info.name)


def gather(package: str) -> dict[str, Any]:
    """Collect the public names of every module of a room.

    Args:
        package: Import name of the room, for example `"trivium.kernel"`.

    Returns:
        Name to object, for each name in some module's `__all__`.

    Raises:
        ImportError: Two modules export one name.
    """
    found: dict[str, Any] = {}
    for module in _modules(import_module(package)):
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if found.setdefault(name, value) is not value:
                raise ImportError(f"{package}: two modules export {name!r}")
    return found


def members(package: str, base: type[T]) -> tuple[type[T], ...]:
    """List the final classes of family `base` in a room, sorted by name.

    Raises:
        TypeError: A member has no `examples()`.
    """
    found = {
        value
        for value in gather(package).values()
        if inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value)
    }
    for member in found:
        if not callable(getattr(member, "examples", None)):
            raise TypeError(f"{member.__name__}: a member of {base.__name__} needs examples()")
    return tuple(sorted(found, key=lambda member: member.__name__))
