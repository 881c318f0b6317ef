"""Predictions taken apart: a score as a sum over training rows."""

from dataclasses import dataclass

import numpy as np

__all__ = ["SHOWN", "Explained", "explained_rows"]

SHOWN = 12
_LISTED = 5
# Contributions looked at in one run; beyond it the least suspect rows are not explained.
_CONTRIBUTIONS = 4 * 10**8


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
