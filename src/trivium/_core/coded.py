"""Labels as numbers into a short sorted list, as files and data frames have them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

__all__ = ["CodedLabels"]


@dataclass(frozen=True, eq=False)
class CodedLabels:
    """One label a row, each distinct label written once.

    Args:
        codes: For each row the place of its label.
        levels: The distinct labels, sorted; some may have no row.

    Example:
        >>> labels = CodedLabels(np.array([1, 0, 1]), np.array(["a", "b"]))
        >>> np.asarray(labels[1:]).tolist()
        ['a', 'b']
    """

    codes: Int[np.ndarray, " n"]
    levels: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> "CodedLabels":
        """Return the labels of these rows."""
        return CodedLabels(self.codes[rows], self.levels)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Write every label out."""
        return self.levels[self.codes].astype(dtype or self.levels.dtype, copy=False)

    def present(self) -> np.ndarray:
        """Return the labels that have rows, sorted."""
        counts = np.bincount(self.codes, minlength=len(self.levels))
        return self.levels[counts > 0]
