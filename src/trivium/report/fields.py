"""Reading the report object: a missing or oddly typed field is an absent one, never a crash."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Limits", "listed", "record", "records", "stage_reason", "words"]


@dataclass(frozen=True)
class Limits:
    """How much of a run the page shows; the rest is in the run's CSV files.

    Args:
        rows: Most rows of a table.
        explanations: Most predictions taken apart.
        excerpt: Most cells of a row's excerpt.
        text: Most characters of a cell.
        classes: Most classes of a confusion table.
    """

    rows: int = 2000
    explanations: int = 40
    excerpt: int = 6
    text: int = 80
    classes: int = 12


def record(source: Any, name: str) -> Mapping[str, Any]:
    """Return the object at `name`, or an empty one."""
    value = source.get(name) if isinstance(source, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def listed(source: Any, name: str) -> Sequence[Any]:
    """Return the list at `name`, or an empty one."""
    value = source.get(name) if isinstance(source, Mapping) else None
    return value if isinstance(value, list | tuple) else ()


def records(source: Any, name: str) -> list[Mapping[str, Any]]:
    """Return the objects in the list at `name`."""
    return [item for item in listed(source, name) if isinstance(item, Mapping)]


def words(source: Any, name: str, default: str = "") -> str:
    """Return the text at `name`, or `default` where there is none."""
    value = source.get(name) if isinstance(source, Mapping) else None
    return default if value is None else str(value)


def stage_reason(report: Mapping[str, Any], stage: str, otherwise: str) -> str:
    """Return why a section is empty: the skipped stage's own reason, or `otherwise`."""
    for item in records(report, "stages"):
        if item.get("name") == stage and item.get("skipped"):
            why = words(item, "why")
            return f"The stage \u201c{stage}\u201d was skipped{': ' + why if why else ''}."
    return otherwise
