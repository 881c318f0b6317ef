"""Stage "explain": the training rows that made each prediction, as an exact sum."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trivium.audit.excerpt import excerpt
from trivium.audit.state import AuditState, Section
from trivium.closedform import ClosedFormClassifier

__all__ = ["Explained", "explain_rows", "explain_stage"]

TOLERANCE = 1e-6
_BLOCK = 256
_LISTED = 5
_ITEMS = 12
# Contributions looked at in one run; beyond it the least suspect rows are not explained.
_CONTRIBUTIONS = 4 * 10**8
_METHOD = "exact dual form of the closed form (covariance and ridge taken as given)"
_UNTUNED = "; what the stage tune kept, {}, is not part of it"


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


def explain_rows(
    classifier: ClosedFormClassifier, X: np.ndarray, rows: np.ndarray
) -> Iterator[Explained]:
    """Explain rows of the training table, a block at a time."""
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        influence = classifier.influence(X[block])
        logits = influence.scores()
        order = np.argsort(-logits, axis=1, kind="stable")
        predicted, rival = order[:, 0], order[:, 1]
        each = np.arange(len(block))
        sign = (influence.codes == predicted[:, None]).astype(float)
        sign -= influence.codes == rival[:, None]
        yield Explained(
            block,
            predicted,
            rival,
            logits[each, predicted] - logits[each, rival],
            influence.intercept[predicted] - influence.intercept[rival],
            influence.contributions * sign,
            influence.completeness_error,
        )


Top = list[tuple[int, float]]


def _evidence(state: AuditState, itself: int, top: Top) -> list[Section]:
    return [
        {
            "row": int(state.label.rows[row]) + 1,
            "label": state.classes[state.codes[row]],
            "contribution": value,
            "itself": row == itself,
            "excerpt": excerpt(state, row),
        }
        for row, value in top
    ]


def _item(state: AuditState, explained: Explained, query: int, tops: tuple[Top, Top]) -> Section:
    row, contributions = int(explained.rows[query]), explained.contributions[query]
    return {
        "row": int(state.label.rows[row]) + 1,
        "label": state.classes[state.codes[row]],
        "predicted": state.classes[explained.predicted[query]],
        "rival": state.classes[explained.rival[query]],
        "score": float(explained.score[query]),
        "intercept": float(explained.intercept[query]),
        "support": _evidence(state, row, tops[0]),
        "oppose": _evidence(state, row, tops[1]),
        "total_support": float(contributions[contributions > 0].sum()),
        "total_oppose": float(contributions[contributions < 0].sum()),
    }


def explain_stage(state: AuditState) -> str:
    """Explain the rows for rows.csv, and the most suspect ones for the page."""
    n = len(state.X)
    asked = np.sort(state.flags.rank[: max(_ITEMS, _CONTRIBUTIONS // n)])
    if len(asked) < n:
        state.warn(
            "W-BUDGET",
            "stage explain",
            f"only the {len(asked):,} most suspect of {n:,} rows are explained; "
            "trivium explain shows any other",
        )
    shown = state.flags.rank[:_ITEMS].tolist()
    items: dict[int, Section] = {}
    state.evidence = [("", "")] * n
    error, done = 0.0, 0
    numbers = (state.label.rows + 1).tolist()

    def names(top: Top) -> str:
        return " ".join(f"{numbers[row]}:{value:+.4g}" for row, value in top)

    for explained in explain_rows(state.classifier, state.X, asked):
        error = max(error, explained.error)
        pairs = zip(explained.tops(1), explained.tops(-1), strict=True)
        for query, (row, tops) in enumerate(zip(explained.rows.tolist(), pairs, strict=True)):
            state.evidence[row] = (names(tops[0]), names(tops[1]))
            if row in shown:
                items[row] = _item(state, explained, query, tops)
        done += len(explained.rows)
        state.listener.step(done, len(asked))
    state.report["explain"] = {
        "method": _METHOD + (_UNTUNED.format(state.report["tune"]["kept"]) if state.tuned else ""),
        "completeness_error": error,
        "tolerance": TOLERANCE,
        "items": [items[row] for row in shown],
    }
    if error > TOLERANCE:
        state.warn(
            "W-COMPLETENESS", "stage explain", f"contributions miss the score by {error:.2g}"
        )
    return f"{len(asked):,} rows by exact contributions, completeness error {error:.1e}"
