"""Names of columns and files: exact, unique, and the nearest ones when a name is not found."""

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from trivium._core.errors import DataError
from trivium.table.notice import Notice

__all__ = ["cut", "listed", "name_columns", "nearest", "no_such_file"]

_CUT = 60


def cut(text: str, limit: int = _CUT) -> str:
    """Return `text` quoted for a message, control characters escaped, cut at `limit`."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def listed(items: Iterable[str], total: int | None = None, limit: int = 5) -> str:
    """Return the first few items for a message and how many more there are."""
    items = list(items)
    total = len(items) if total is None else total
    head = ", ".join(items[:limit])
    return head if total <= limit else f"{head} and {total - limit} more"


def nearest(name: str, names: Sequence[str]) -> str:
    """Return a sentence with the names nearest to `name`: by case and space, then by spelling.

    Example:
        >>> nearest("sex", ["Island", "Sex", "Species"])
        "Did you mean 'Sex'?"
    """
    folded = "".join(name.split()).casefold()
    same = [other for other in names if "".join(other.split()).casefold() == folded]
    close = same or difflib.get_close_matches(name, names[:10_000], n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(cut(other) for other in close[:3])}?"
    return f"The columns are {listed((cut(other) for other in names), limit=8)}."


def name_columns(
    header: Sequence[str], where: str, *, rename: bool
) -> tuple[list[str], list[Notice]]:
    """Return unique names for the columns of a header.

    A blank name becomes `column_3`, after its position, with a notice. Two equal names are
    refused unless `rename`: then the second becomes `name_2`, with a notice.

    Raises:
        DataError: Duplicate names.
    """
    taken = {name for name in header if name.strip()}
    names: list[str] = []
    notices: list[Notice] = []
    used: set[str] = set()
    numbers: dict[str, int] = {}
    for position, name in enumerate(header, start=1):
        if not name.strip():
            new = _free(f"column_{position}", taken, numbers)
            message = f"column {position} has no name; it is called {new}"
            notices.append(Notice("W-BLANK-NAME", f"{where}, column {position}", message))
        elif name in used:
            if not rename:
                raise _duplicate(header, name, where)
            new = _free(name, taken, numbers)
            message = f"column {position} is the second {cut(name)}; it is called {cut(new)}"
            notices.append(Notice("W-RENAMED", f"{where}, column {position}", message))
        else:
            new = name
        taken.add(new)
        used.add(new)
        names.append(new)
    return names, notices


def _free(name: str, taken: set[str], numbers: dict[str, int]) -> str:
    """Return `name`, or it with the first free number from where `numbers` left off."""
    if name not in taken:
        return name
    number = numbers.get(name, 2)
    while f"{name}_{number}" in taken:
        number += 1
    numbers[name] = number
    return f"{name}_{number}"


def _duplicate(header: Sequence[str], name: str, where: str) -> DataError:
    places = [str(i) for i, other in enumerate(header, start=1) if other == name]
    return DataError(
        f"read_table: column names must differ; got {cut(name)} {len(places)} times",
        where=f"{where}, columns {listed(places)}",
        remedy="Rename them, or pass --rename-duplicates (rename_duplicates=True).",
        code="E-DUPLICATE-NAME",
    )


def no_such_file(path: Path) -> DataError:
    """Return the refusal of a path that leads nowhere, with the names nearest to it."""
    try:
        there = sorted(os.listdir(path.parent))
    except OSError:
        remedy = f"There is no folder {cut(str(path.parent))}."
    else:
        close = difflib.get_close_matches(path.name, there, n=3, cutoff=0.6)
        remedy = f"Did you mean {' or '.join(map(cut, close))}?" if close else "Check the path."
    return DataError("read_table: no such file", where=str(path), remedy=remedy, code="E-NO-FILE")
