"""Stage "explain": the training rows that made each prediction, as an exact sum."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trivium._core.counted import counted
from trivium.audit.excerpt import excerpt
from trivium.audit.explain_tuned import TUNED_METHOD, Retraced, trained_layers
from trivium.audit.explained import SHOWN, Explained, Shown, listed_rows
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
_OF_SAMPLE = "; of rows held, by the closed form of the rows held"
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


def item_of(state: AuditState, shown: Shown, query: int) -> Section:
    row = int(shown["rows"][query])
    return {
        "row": int(state.label.rows[row]) + 1,
        "label": state.classes[state.codes[row]],
        "predicted": state.classes[shown["predicted"][query]],
        "rival": state.classes[shown["rival"][query]],
        "score": float(shown["score"][query]),
        "intercept": float(shown["intercept"][query]),
        "support": _evidence(state, row, listed_rows(shown, "support", query)),
        "oppose": _evidence(state, row, listed_rows(shown, "oppose", query)),
        "total_support": float(shown["totals"][0, query]),
        "total_oppose": float(shown["totals"][1, query]),
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
    told = explained.shown(rows)
    items = [item_of(state, told, query) for query in range(len(rows))]
    gross = np.abs(explained.contributions).sum(1)
    net = np.abs(explained.contributions.sum(1))
    return {
        "method": TUNED_METHOD,
        "gross_over_net": float(np.median(gross / np.maximum(net, np.finfo(float).tiny))),
        "completeness_error": explained.error,
        "tolerance": TOLERANCE,
        "items": items,
    }


@dataclass(frozen=True, eq=False)
class _Asked:
    """What the explanation of every block of rows reads."""

    classifier: ClosedFormClassifier
    X: np.ndarray
    rows: np.ndarray
    shown: np.ndarray


def _explain_block(start: int, given: _Asked) -> Shown:
    """Explain one block of the rows asked."""
    block = given.rows[start : start + _BLOCK]
    return next(explain_rows(given.classifier, given.X, block)).shown(given.shown)


def explain_stage(state: AuditState) -> str:
    """Explain the rows for rows.csv, and the most suspect ones for the page."""
    n = len(state.X)
    asked = np.sort(state.flags.rank[: state.plan.explained])
    if len(asked) < n:
        state.warn(
            "W-BUDGET",
            "stage explain",
            f"only the {len(asked):,} most suspect of {counted(n, 'row')} are explained; "
            "trivium explain shows any other",
        )
    shown = state.flags.rank[:SHOWN].tolist()
    items: dict[int, Section] = {}
    state.evidence = [("", "")] * n
    error = 0.0
    numbers = (state.label.rows + 1).tolist()

    def names(top: Top) -> str:
        return " ".join(f"{numbers[row]}:{value:+.4g}" for row, value in top)

    given = _Asked(state.classifier, state.X, asked, np.array(shown))
    for found in state.run_blocks("explain", _explain_block, range(0, len(asked), _BLOCK), given):
        error = max(error, found["error"])
        for query, row in enumerate(found["rows"].tolist()):
            sides = (listed_rows(found, side, query) for side in ("support", "oppose"))
            state.evidence[row] = (names(next(sides)), names(next(sides)))
            if row in shown:
                items[row] = item_of(state, found, query)
    state.report["explain"] = {
        "method": _METHOD + _of_tuned(state) + (_OF_SAMPLE if state.large is not None else ""),
        "completeness_error": error,
        "tolerance": TOLERANCE,
        "items": [items[row] for row in shown],
    }
    state.report["explain"]["tuned"] = _tuned(state, shown)
    if error > TOLERANCE:
        state.warn(
            "W-COMPLETENESS", "stage explain", f"contributions miss the score by {error:.2g}"
        )
    return f"{counted(len(asked), 'row')} by exact contributions, completeness error {error:.1e}"
