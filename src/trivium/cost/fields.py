"""Reading a configuration: every size checked where it is read, every error with its field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trivium._core.errors import ArgumentError

__all__ = ["LARGEST", "Fields"]

# Vocabularies have a few million entries at most; a size beyond this is a mistake.
LARGEST = 2**24
_CALLER = "TransformerShape.from_config"


@dataclass(frozen=True)
class Fields:
    """The fields of a configuration.

    Args:
        values: The fields as they are in `config.json`.
        name: What to call the model.
        head: "lm", "base" or `None` for what is usual.
    """

    values: Mapping[str, Any]
    name: str
    head: str | None = None

    def fail(self, field: str, rule: str, value: Any) -> ArgumentError:
        """Return the error of a field that breaks its rule."""
        return ArgumentError(f"{_CALLER}: {field} must {rule}; got {value!r}", where=self.name)

    def get(self, *names: str, default: Any = None) -> Any:
        """Return the first of several names of a field that is there and not null."""
        for name in names:
            if self.values.get(name) is not None:
                return self.values[name]
        return default

    def count(self, *names: str, default: int | None = None, least: int = 1) -> int:
        """Return a size: an integer in its range.

        Raises:
            ArgumentError: It is missing without a default, no integer, below `least` or beyond
                2²⁴.
        """
        value = self.get(*names, default=default)
        if value is None:
            raise ArgumentError(
                f"{_CALLER}: {names[0]} must be given; it is missing", where=self.name
            )
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(names[0], "be an integer", value)
        if not least <= value <= LARGEST:
            raise self.fail(names[0], f"be from {least} to {LARGEST:,}", value)
        return value

    def optional(self, *names: str) -> int | None:
        """Return a size, or `None` where the field is missing or null.

        Raises:
            ArgumentError: It is there and breaks the rule of a size.
        """
        return None if self.get(*names) is None else self.count(*names)

    def flag(self, *names: str, default: bool = False) -> bool:
        """Return a field that is true or false.

        Raises:
            ArgumentError: It is neither.
        """
        value = self.get(*names, default=default)
        if not isinstance(value, bool):
            raise self.fail(names[0], "be true or false", value)
        return value

    def rate(self, *names: str, default: float = 0.0) -> bool:
        """Return whether a dropout drops anything.

        Raises:
            ArgumentError: It is no number from 0 to 1.
        """
        value = self.get(*names, default=default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise self.fail(names[0], "be a number from 0 to 1", value)
        return value > 0

    def text(self, *names: str, default: str) -> str:
        """Return a field of text.

        Raises:
            ArgumentError: It is no text.
        """
        value = self.get(*names, default=default)
        if not isinstance(value, str):
            raise self.fail(names[0], "be text", value)
        return value

    def divided(self, whole: tuple[str, int], parts: tuple[str, int]) -> int:
        """Return whole / parts.

        Raises:
            ArgumentError: They do not divide.
        """
        if whole[1] % parts[1]:
            raise ArgumentError(
                f"{_CALLER}: {parts[0]} must divide {whole[0]}; got {parts[1]} and {whole[1]}",
                where=self.name,
            )
        return whole[1] // parts[1]

    def with_head(self, usual: str) -> bool:
        """Return whether the layer to the vocabulary belongs to the model."""
        return (self.head or usual) == "lm"

    def size(self, *names: str) -> int:
        """Return a size, or 0 where the field is missing or null.

        Raises:
            ArgumentError: It is there and breaks the rule of a size.
        """
        return self.optional(*names) or 0

    def kinds(self, name: str, layers: int) -> tuple[str, ...] | None:
        """Return a list with a word for each layer, or `None` where there is none.

        Raises:
            ArgumentError: It is no list of words, or not as long as there are layers.
        """
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise self.fail(name, "be a list of words", value)
        if len(value) != layers:
            raise self.fail(name, f"have an entry for each of {layers} layers", len(value))
        return tuple(value)
