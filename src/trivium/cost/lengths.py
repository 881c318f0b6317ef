"""The lengths of the rows that a user really has."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from trivium._core.errors import ArgumentError, DataError
from trivium.cost.workload import LONGEST, check_length

__all__ = ["Lengths", "Padding", "read_lengths"]

Padding = Literal["none", "batch", "sorted", "longest"]


@dataclass(frozen=True)
class Lengths:
    """Lengths of rows, in tokens, in the order of the rows.

    Args:
        rows: One length for each row.

    Raises:
        ArgumentError: There is none, or one is no integer from 1 to 2³¹ − 1.

    Example:
        >>> lengths = Lengths((3, 9, 4, 8))
        >>> lengths.batches(2, "batch"), lengths.batches(2, "sorted")
        (Counter({(9, 2): 1, (8, 2): 1}), Counter({(4, 2): 1, (9, 2): 1}))
    """

    rows: tuple[int, ...]

    def __post_init__(self) -> None:
        if isinstance(self.rows, str | bytes) or not isinstance(self.rows, Iterable):
            raise ArgumentError(f"Lengths: rows must be a sequence of integers; got {self.rows!r}")
        checked = tuple(check_length("Lengths", "rows", row) for row in self.rows)
        if not checked:
            raise ArgumentError("Lengths: rows must hold at least one length; got none")
        object.__setattr__(self, "rows", checked)

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(self.rows)

    def share_below(self, n: Fraction | int) -> Fraction:
        """Return the share of all tokens that sit in rows of fewer than n tokens."""
        return Fraction(sum(row for row in self.rows if row < n), self.tokens)

    def batches(self, size: int, padding: Padding) -> Counter[tuple[int, int]]:
        """Return how often each batch (length, rows) occurs.

        Args:
            size: Rows of a batch; the last one may have fewer.
            padding: "none": every row at its own length; "batch": rows in their order, each batch
                at the length of its longest; "sorted": the same with rows sorted by length first
                (bucketing); "longest": every batch at the length of the longest row of all.

        Raises:
            ArgumentError: The size or the padding breaks its rule.
        """
        check_length("batches", "size", size)
        if padding not in get_args(Padding):
            raise ArgumentError(
                f"batches: padding must be one of {', '.join(get_args(Padding))}; got {padding!r}"
            )
        if padding == "none":
            counted = Counter(self.rows)
            # Rows of one length fill whole batches; nothing is padded.
            whole = Counter({(n, size): rows // size for n, rows in counted.items()})
            rest = Counter({(n, rows % size): 1 for n, rows in counted.items() if rows % size})
            return +whole + rest
        rows: Sequence[int] = sorted(self.rows) if padding == "sorted" else self.rows
        top = max(self.rows)
        found: Counter[tuple[int, int]] = Counter()
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            found[top if padding == "longest" else max(part), len(part)] += 1
        return found


def read_lengths(path: str | PathLike[str]) -> Lengths:
    """Read lengths from a text file: an integer on each line; empty lines are skipped.

    Raises:
        DataError: The file cannot be read, is empty, or a line is no length; the message has its
            number.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(
            f"read_lengths: the file must be readable text; {error}",
            where=str(path),
            code="E-LENGTHS",
        ) from error
    rows = [_length(line, number, path) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError(
            "read_lengths: the file must hold a length on each line; it is empty",
            where=str(path),
            code="E-LENGTHS",
        )
    return Lengths(tuple(rows))


def _length(line: str, number: int, path: Any) -> int:
    text = line.strip()
    value = int(text) if text.isascii() and text.lstrip("+-").isdecimal() and len(text) < 20 else 0
    if not 1 <= value <= LONGEST:
        raise DataError(
            f"read_lengths: a line must be an integer from 1 to {LONGEST:,}; got {text[:40]!r}",
            where=f"{path}, line {number}",
            code="E-LENGTHS",
        )
    return value
