"""Stage "explain": the training rows that made each prediction, as an exact sum."""

from collections.abc import Iterator

import numpy as np

from trivium.audit.excerpt import excerpt
from trivium.audit.explain_tuned import TUNED_METHOD, Retraced, trained_layers
from trivium.audit.explained import SHOWN, Explained
from trivium.audit.files import tuning
from trivium.audit.state import AuditState, Section
from trivium.audit.tune_metric import tune_metric
from trivium.audit.tune_training import Sample
from trivium.closedform import ClosedFormClassifier

__all__ = ["explain_rows", "explain_stage"]

TOLERANCE = 1e-6
_BLOCK = 256
_METHOD = "exact dual form of the closed form (covariance and ridge taken as given)"
_UNTUNED = "; what the stage tune kept, {}, is {}"
_APART, _NOT_ROWS = "taken apart below", "a rule that no row added to"


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


def item_of(state: AuditState, explained: Explained, query: int, tops: tuple[Top, Top]) -> Section:
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


def _of_tuned(state: AuditState) -> str:
    if state.tuned is None:
        return ""
    apart = _APART if trained_layers(state.report["tune"]) else _NOT_ROWS
    return _UNTUNED.format(state.report["tune"]["kept"], apart)


def _tuned(state: AuditState, suspects: list[int]) -> Section | None:
    """Take apart what trained layers added: where they changed the decision, else to suspects."""
    metric = tune_metric(state.options, state.label)
    if state.tuned is None or metric is None or not trained_layers(state.report["tune"]):
        return None
    proba = state.classifier.loo_proba_
    sample = Sample(state.X, state.codes, state.groups, proba)
    changed = np.flatnonzero(state.tuned.decide(proba, state.X) != proba.argmax(1))
    rows = np.concatenate([changed[:SHOWN], suspects]).astype(np.int64)
    rows = rows[np.sort(np.unique(rows, return_index=True)[1])][:SHOWN]
    described = tuning(state.report["tune"], state.options.seed)
    explained = Retraced.of(state.tuned, described, metric, sample).explain(rows)
    pairs = zip(explained.tops(1), explained.tops(-1), strict=True)
    items = [item_of(state, explained, query, tops) for query, tops in enumerate(pairs)]
    gross = np.abs(explained.contributions).sum(1)
    net = np.abs(explained.contributions.sum(1))
    return {
        "method": TUNED_METHOD,
        "gross_over_net": float(np.median(gross / np.maximum(net, np.finfo(float).tiny))),
        "completeness_error": explained.error,
        "tolerance": TOLERANCE,
        "items": items,
    }


def explain_stage(state: AuditState) -> str:
    """Explain the rows for rows.csv, and the most suspect ones for the page."""
    n = len(state.X)
    asked = np.sort(state.flags.rank[: state.plan.explained])
    if len(asked) < n:
        state.warn(
            "W-BUDGET",
            "stage explain",
            f"only the {len(asked):,} most suspect of {n:,} rows are explained; "
            "trivium explain shows any other",
        )
    shown = state.flags.rank[:SHOWN].tolist()
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
                items[row] = item_of(state, explained, query, tops)
        done += len(explained.rows)
        state.listener.step(done, len(asked))
    state.report["explain"] = {
        "method": _METHOD + _of_tuned(state),
        "completeness_error": error,
        "tolerance": TOLERANCE,
        "items": [items[row] for row in shown],
    }
    state.report["explain"]["tuned"] = _tuned(state, shown)
    if error > TOLERANCE:
        state.warn(
            "W-COMPLETENESS", "stage explain", f"contributions miss the score by {error:.2g}"
        )
    return f"{len(asked):,} rows by exact contributions, completeness error {error:.1e}"
