"""The figures of a model card: leave-one-out over all rows, and labels in doubt."""

from dataclasses import dataclass

import numpy as np

from trivium.audit.flag_stage import n_listed
from trivium.audit.intervals import row_log_loss
from trivium.audit.large import Large
from trivium.audit.state import AuditState
from trivium.closedform import ClosedFormClassifier, Flags
from trivium.report.charts.reliability import wilson

__all__ = ["CardFigures"]

_Z = 1.959963984540054


@dataclass(frozen=True)
class CardFigures:
    """What a card says of a classifier.

    Args:
        classifier: The closed form.
        rows: Rows with a label.
        hit: Share predicted right without themselves.
        loss: Mean log-loss likewise, in nats.
        spread: Standard deviation of a row's log-loss.
        largest: Share of the most frequent class.
        expected_wrong: Labels expected wrong.
        listed: Rows worth a look.
    """

    classifier: ClosedFormClassifier
    rows: int
    hit: float
    loss: float
    spread: float
    largest: float
    expected_wrong: float
    listed: int

    @classmethod
    def of(cls, state: AuditState, flags: Flags) -> "CardFigures":
        """Return the figures of a table that is held."""
        loo, codes = state.classifier.loo_proba_, state.codes
        loss = row_log_loss(loo, codes)
        return cls(
            state.classifier,
            len(codes),
            float((loo.argmax(1) == codes).mean()),
            float(loss.mean()),
            float(loss.std(ddof=1)) if len(loss) > 1 else float("inf"),
            float(np.bincount(codes).max() / len(codes)),
            float(flags.expected_wrong),
            n_listed(flags),
        )

    @classmethod
    def of_large(cls, large: Large) -> "CardFigures":
        """Return the figures of all rows of a table that passed in blocks."""
        n, judged = large.n_labelled, large.judged
        loss, expected, squares = (float(total) for total in judged.sums)
        return cls(
            large.classifier,
            n,
            int(judged.counts[0]) / n,
            loss / n,
            (max(squares - loss**2 / n, 0.0) / (n - 1)) ** 0.5,
            int(large.counts.max()) / n,
            expected,
            large.n_listed,
        )

    def scores(self) -> list[tuple[str, str, float, float, float]]:
        """Return type, name, figure and 95 % interval of what exact leave-one-out says."""
        half = _Z * self.spread / self.rows**0.5
        low, high = max(self.loss - half, 0.0), self.loss + half
        return [
            (
                "accuracy",
                "accuracy, exact leave-one-out",
                self.hit,
                *wilson(self.hit, self.rows),
            ),
            ("log_loss", "log-loss in nats, exact leave-one-out", self.loss, low, high),
        ]
