"""Where the rows of several files stand: the file, and the line or row of its own."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trivium.table.notice import Notice

__all__ = ["Places"]

_ROW = re.compile(r"row (\d+)$")


@dataclass(frozen=True, eq=False)
class Places:
    """For each row its file, and where it stands there.

    Args:
        files: Names of the files.
        words: For each file what its rows are counted in: `line` or `row`.
        file: For each row the index of its file.
        number: For each row the number of the line on which it begins, or of the row.
    """

    files: tuple[str, ...]
    words: tuple[str, ...]
    file: NDArray[np.int64]
    number: NDArray[np.int64]

    def at(self, row: int) -> str:
        """Return where a row (0-based) stands: `b.csv, line 7`."""
        file = int(self.file[row])
        return f"{self.files[file]}, {self.words[file]} {int(self.number[row])}"

    def take(self, rows: NDArray[np.int64]) -> "Places":
        """Return the places of some of the rows, in this order."""
        return replace(self, file=self.file[rows], number=self.number[rows])

    def told(self, where: str) -> str:
        """Return a place that ends with the number of a row, with its file behind it."""
        found = _ROW.search(where)
        inside = found is not None and 1 <= int(found[1]) <= len(self.file)
        return f"{where} ({self.at(int(found[1]) - 1)})" if found and inside else where

    def noted(self, notices: Iterable[Notice]) -> tuple[Notice, ...]:
        """Return notices whose places name the file, too."""
        return tuple(replace(each, where=self.told(each.where)) for each in notices)
