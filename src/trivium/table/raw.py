"""What every reader hands on: names and exact text, before anything is taken for anything."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trivium.table.notice import Notice

__all__ = ["CELL_TYPE", "RawTable", "cells_of"]

CELL_TYPE = pa.large_string()


@dataclass(frozen=True, eq=False)
class RawTable:
    """Names, exact text and places.

    Args:
        names: Unique names.
        cells: For each column the exact text; null where the source has no text at all. Where
            that was asked for, numbers as Arrow has them.
        n_rows: How many rows there are.
        notices: What was noticed while reading.
        lines: The line on which each row begins, where the source has lines.
    """

    names: list[str]
    cells: list[pa.Array]
    n_rows: int
    notices: list[Notice] = field(default_factory=list)
    lines: NDArray[np.int64] | None = None


def cells_of(chunks: list[pa.Array]) -> pa.Array:
    """Join the chunks of a column."""
    if len(chunks) == 1:
        return chunks[0]
    return pa.concat_arrays(chunks) if chunks else pa.array([], CELL_TYPE)
