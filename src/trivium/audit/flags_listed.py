"""How many rows are worth a look, from counts."""

import math

__all__ = ["LIKELY", "WORTH", "n_worth"]

WORTH, LIKELY = 0.05, 0.5


def n_worth(worth: int, likely: int, expected: float, rows: int) -> int:
    """Return how many rows are worth a look.

    Those likelier wrong than 1 in 20, but at most twice as many as are expected wrong (or all
    that are likelier wrong than not), and at most a fifth of the rows.

    Args:
        worth: Rows whose label is wrong with a probability of 1 in 20 or more.
        likely: With a probability of a half or more.
        expected: Expected number of wrong labels.
        rows: All rows.
    """
    enough = max(likely, math.ceil(2 * expected))
    return min(worth, enough, rows // 5)
