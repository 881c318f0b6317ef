"""A table of which only a sample of the rows is held: what is known of all of them, and when.

The sample is uniform: the rows with the smallest mix of the seed and their number, so it does
not depend on the cut into blocks. All rows pass by in blocks, three times: one look for labels,
constant columns and the sample; one for moments; one that judges each row without itself.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from trivium.audit.flags_listed import n_worth
from trivium.audit.large_odd import Oddity
from trivium.audit.large_rows import LISTED, Judged, Reading
from trivium.closedform import ClosedFormClassifier, LabelNoise
from trivium.moment import Moments
from trivium.table import Parts

__all__ = ["Large", "sample_rows"]

_MOST, _LEAST = 50_000, 200


def sample_rows(hold: int, columns: int) -> int:
    """Return how many rows are held of a table that has more than `hold` cells: counted.

    Args:
        hold: Cells held at once.
        columns: Columns of the table.
    """
    return max(_LEAST, min(_MOST, hold // max(1, columns)))


@dataclass
class Large:
    """All rows, and what was found out about them so far.

    Attributes:
        parts: The files.
        counts: Rows of each class, over all rows.
        reading: How a block is read and encoded.
        moments: Of the encoded rows.
        classifier: The closed form of all rows.
        noise: Under what labels are judged.
        judged: What the pass over all rows found.
        odd: Cells that do not fit what the sample taught.
    """

    parts: Parts
    counts: Int64[np.ndarray, " c"]
    reading: Reading = field(init=False)
    moments: Moments = field(init=False)
    classifier: ClosedFormClassifier = field(init=False)
    noise: LabelNoise = field(init=False)
    judged: Judged = field(init=False)
    odd: tuple[Oddity, ...] = ()

    @property
    def n_rows(self) -> int:
        """Rows of the files."""
        return self.parts.n_rows

    @property
    def n_labelled(self) -> int:
        """Rows that have a label."""
        return int(self.counts.sum())

    @property
    def n_listed(self) -> int:
        """Rows worth a look, of all rows; known once they are judged."""
        _, worth, likely = (int(count) for count in self.judged.counts)
        expected = float(self.judged.sums[1])
        return min(n_worth(worth, likely, expected, self.n_labelled), LISTED)

    @property
    def cells(self) -> int:
        """Rows times columns."""
        return self.parts.n_rows * len(self.parts.names)
