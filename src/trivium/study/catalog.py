"""The encodings of the room, each as what it declares and what its documentation says."""

import inspect
import json
import re
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from trivium._core.checks import check_choice
from trivium._core.families import members
from trivium.position import Position

__all__ = ["CatalogEntry", "catalog", "find", "studied_losses"]

_HOOKS = ("embed", "query", "key", "score", "value")


@dataclass(frozen=True)
class CatalogEntry:
    """One encoding.

    Args:
        name: Its class.
        about: First sentence of its documentation, which holds the formula where it is short.
        acts: Hooks that it overrides.
        cost: As documented.
        parameters: Of its first example, at d_model 8, 2 heads.
        layers: Which layers take it.
        cached_keys: Whether keys are cached as they are used.
        table: Whether positions past a length that is given are refused.
        loss: How it goes on beyond the length of its training: nats a character at 1, 2 and 4
            times that length in our full study, medians over seeds; `None` for an encoding that
            no causal decoder can use alone.
    """

    name: str
    about: str
    acts: list[str]
    cost: str
    parameters: int
    layers: str
    cached_keys: bool
    table: bool
    loss: dict[str, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def catalog() -> list[CatalogEntry]:
    """Return the encodings by name.

    Example:
        >>> [entry.acts for entry in catalog() if entry.name == "Rotary"]
        [['query', 'key']]
    """
    return [
        _entry(member) for member in members("trivium.position", Position) if member is not Position
    ]


def find(name: str) -> CatalogEntry:
    """Return the entry of a name.

    Raises:
        ArgumentError: No encoding has it; the message lists them.
    """
    known = {entry.name: entry for entry in catalog()}
    return known[check_choice("position", "name", name, known)]


def _entry(member: type[Position]) -> CatalogEntry:
    text = inspect.getdoc(member) or ""
    first = text.split("\n\n")[0].replace("\n", " ").replace("$", "")
    found = re.search(r"^Cost:\n((?:    .*\n?)+)", text, re.MULTILINE)
    cost = "" if found is None else " ".join(found[1].split())
    example = member.examples()[0]
    layers = "causal" if example.causal_only else "any"
    return CatalogEntry(
        member.__name__,
        first,
        [hook for hook in _HOOKS if getattr(member, hook) is not getattr(Position, hook)],
        cost,
        sum(parameter.numel() for parameter in example.parameters()),
        "bidirectional" if example.bidirectional_only else layers,
        not example.refresh,
        "max_length" in inspect.signature(member.__init__).parameters,
        studied_losses().get(member.__name__),
    )


@cache
def studied_losses() -> dict[str, dict[str, float]]:
    """Return the median losses of the full study, by encoding and multiple of the length."""
    text = (files("trivium.study") / "full.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, float]] = json.loads(text)["loss"]
    return found
