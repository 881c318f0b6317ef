"""Predictions taken apart: a score as a sum over training rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["SHOWN", "Explained", "Shown", "explained_rows", "listed_rows"]

SHOWN = 12
_LISTED = 5
# Contributions looked at in one run; beyond it the least suspect rows are not explained.
_CONTRIBUTIONS = 4 * 10**8


Shown = dict[str, Any]
"""What is shown of some rows explained, as arrays: see `Explained.shown`."""


def listed_rows(shown: Shown, side: str, query: int) -> list[tuple[int, float]]:
    """Return the training rows listed for one row, `"support"` or `"oppose"`, in order."""
    found = zip(
        shown[side]["rows"][query].tolist(), shown[side]["values"][query].tolist(), strict=True
    )
    return [(row, value) for row, value in found if row >= 0]


def explained_rows(n_rows: int, n_coordinates: int, budget: int) -> int:
    """Return how many rows are explained, most suspect ones first; those of the page always.

    Args:
        n_rows: Rows, each of which contributes to each.
        n_coordinates: Multiply-adds of one contribution.
        budget: Multiply-adds that all may take.
    """
    within = min(_CONTRIBUTIONS, budget // max(1, n_coordinates))
    return min(n_rows, max(SHOWN, within // n_rows))


@dataclass(frozen=True)
class Explained:
    """Rows explained: the score of each is the intercept plus the sum of its contributions.

    The score is the logit of the predicted class minus that of its strongest rival.

    Attributes:
        rows: The rows asked, of shape (q,).
        predicted: Predicted class codes, of shape (q,).
        rival: Codes of the strongest rival, of shape (q,).
        score: Margins, of shape (q,).
        intercept: What no row contributed, of shape (q,).
        contributions: Of shape (q, n).
        error: Largest difference of a sum and its score, relative to the largest score or 1.
    """

    rows: np.ndarray
    predicted: np.ndarray
    rival: np.ndarray
    score: np.ndarray
    intercept: np.ndarray
    contributions: np.ndarray
    error: float

    def shown(self, with_totals: np.ndarray) -> Shown:
        """Return what is shown of each row: without all contributions, so that it travels.

        Args:
            with_totals: The rows of which the sums of both signs are wanted as well.
        """
        totals = np.full((2, len(self.rows)), np.nan)
        for query in np.flatnonzero(np.isin(self.rows, with_totals)):
            each = self.contributions[query]
            totals[:, query] = each[each > 0].sum(), each[each < 0].sum()
        return {
            "rows": self.rows,
            "predicted": self.predicted,
            "rival": self.rival,
            "score": self.score,
            "intercept": self.intercept,
            "totals": totals,
            "support": self._padded(1),
            "oppose": self._padded(-1),
            "error": self.error,
        }

    def _padded(self, sign: int) -> dict[str, np.ndarray]:
        """The largest contributions of one sign as arrays; -1 where there are no more."""
        rows = np.full((len(self.rows), _LISTED), -1)
        values = np.zeros((len(self.rows), _LISTED))
        for query, top in enumerate(self.tops(sign)):
            rows[query, : len(top)] = [row for row, _ in top]
            values[query, : len(top)] = [value for _, value in top]
        return {"rows": rows, "values": values}

    def tops(self, sign: int, n: int = _LISTED) -> list[list[tuple[int, float]]]:
        """For each query the training rows with the largest contributions of one sign, in order.

        The row itself is among them when it was in the training table.
        """
        values = sign * self.contributions
        n = min(n, values.shape[1])
        best = np.argpartition(-values, n - 1, axis=1)[:, :n]
        found = np.take_along_axis(values, best, axis=1)
        # Rows with one value are listed by number, whatever the partition did.
        order = np.lexsort((best, -found), axis=1)
        best, found = (np.take_along_axis(part, order, axis=1) for part in (best, found))
        return [
            [(row, sign * value) for row, value in zip(rows, each, strict=True) if value > 0]
            for rows, each in zip(best.tolist(), found.tolist(), strict=True)
        ]
