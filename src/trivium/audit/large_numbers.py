"""Messages about a sample with the row numbers of the whole table."""

import re

import numpy as np
from jaxtyping import Int64

__all__ = ["renumbered"]

_QUOTED_OR_ROWS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\brows? \d+(?:, \d+)*")


def renumbered(text: str, rows: Int64[np.ndarray, " m"]) -> str:
    """Return a message in which rows of a sample have their numbers in the whole table.

    What stands in quotes is data and stays; so does the place in a file in brackets at the end.

    Args:
        text: It says `row 3` or `rows 3, 7`.
        rows: For each row of the sample its row (0-based) in the table.

    Example:
        >>> renumbered("'row 1' in row 2, rows 1, 3 and 4 more", np.array([10, 20, 30]))
        "'row 1' in row 21, rows 11, 31 and 4 more"
    """

    def renumber(match: re.Match[str]) -> str:
        said = match[0]
        if said[0] in "'\"":
            return said
        word, _, numbers = said.partition(" ")
        places = [int(number) - 1 for number in numbers.split(", ")]
        if max(places) >= len(rows):
            return said
        return f"{word} {', '.join(str(int(rows[place]) + 1) for place in places)}"

    head, _, told = text.partition(" (")
    tail = f" ({told}" if told and re.search(r"(line|row) \d+\)$", told) else ""
    return _QUOTED_OR_ROWS.sub(renumber, head if tail else text) + tail
