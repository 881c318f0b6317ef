"""Encoded rows for each fold, without the audit around them: what a worker reads."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["FoldFeatures"]


@dataclass(frozen=True, eq=False)
class FoldFeatures:
    """Encoded rows, and behind them what was learnt from labels, as each fold may see it.

    Args:
        base: Features that saw no label.
        learnt: For a fit on all rows, and for each fold, further features on the common scale;
            none where nothing was learnt.
    """

    base: Float[np.ndarray, "n d"]
    learnt: tuple[tuple[Float[np.ndarray, "n g"], ...], ...] = ()

    def of(
        self, fold: int | None, kept: Bool[np.ndarray, " d"] | None = None
    ) -> Float[np.ndarray, "n d"]:
        """Return rows in which no feature of a training row has seen a label of the fold.

        Args:
            fold: The fold; `None` for a fit on all rows.
            kept: Which features; all by default.
        """
        rows = self.base
        if self.learnt:
            place = 0 if fold is None else fold + 1
            rows = np.column_stack([rows, *self.learnt[place]])
        return rows if kept is None else rows[:, kept]
