"""The passes over all rows of a large table, and what the report says of them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trivium.audit.large import Large
from trivium.audit.large_rows import Added, Judge, Judged, Reading, add_block, judge_block
from trivium.audit.state import AuditState, Section
from trivium.closedform import ClosedFormClassifier, label_noise, left_out_logits
from trivium.table import TableEncoder
from trivium.table.read_files import file_starts

__all__ = ["all_rows", "large_flags", "large_scores", "pass_by"]

_BINS = 10
_CELL, _SHOWN = 120, 4


def pass_by(state: AuditState) -> Large:
    """Let all rows pass twice: for the closed form of all, and to judge each without itself."""
    large = state.large
    assert large is not None
    assert isinstance(state.encoder, TableEncoder)
    large.reading = Reading(
        state.encoder,
        {column.name: column.kind for column in state.used.columns},
        {column.name: column.date_order for column in state.used.columns},
        state.label.name,
        state.classes,
        state.options.read,
        file_starts(large.parts),
    )
    added: Added = all_rows(state, "moments", add_block, large.reading, Added)
    large.moments, large.odd = added.moments, added.odd
    for each in added.odd:
        state.warn(each.code, each.notice.where, each.notice.message)
    classifier = ClosedFormClassifier().fit_moments(added.moments, (state.X, state.codes))
    large.classifier = classifier
    logits = left_out_logits(classifier, state.X, state.codes)
    large.noise = label_noise(logits, state.codes)
    proba = np.exp(logits - logits.max(1, keepdims=True))
    top = (proba / proba.sum(1, keepdims=True)).max(1)
    edges = np.quantile(top, np.linspace(0, 1, _BINS + 1)[1:-1])
    judge = Judge(large.reading, classifier, large.noise, edges)
    large.judged = all_rows(state, "judged", judge_block, judge, Judged)
    return large


def all_rows(
    state: AuditState, name: str, function: Callable[..., Any], shared: Any, kind: type[Any]
) -> Any:
    """Merge what a function gives for each block of all rows, kept as they end."""
    assert state.large is not None
    return state.executor.merge(
        function,
        state.large.parts.blocks,
        shared=shared,
        journal=state.blocks(name, kind.plain, kind.whole),
        progress=state.listener.step,
    )


def large_scores(large: Large, classes: Sequence[str]) -> Section:
    """Return what the section `scores` has of all rows."""
    judged, n = large.judged, large.n_labelled
    rows, hit = judged.confusion.sum(1), judged.confusion.diagonal()
    given = judged.confusion.sum(0)
    precision, recall = _share(hit, given), _share(hit, rows)
    f1 = _share(2 * hit, rows + given)
    count, top, right = judged.bins
    some = np.flatnonzero(count)
    return {
        "loo": {"accuracy": int(judged.counts[0]) / n, "log_loss": float(judged.sums[0]) / n},
        "ridge": float(large.classifier.ridge_),
        "temperature": float(large.classifier.temperature_),
        "confusion": judged.confusion.tolist(),
        "calibration": [
            {
                "predicted": float(top[b] / count[b]),
                "observed": float(right[b] / count[b]),
                "rows": int(count[b]),
            }
            for b in some
        ],
        "per_class": [
            {
                "class": name,
                "precision": float(precision[k]),
                "recall": float(recall[k]),
                "f1": float(f1[k]),
                "rows": int(rows[k]),
            }
            for k, name in enumerate(classes)
        ],
    }


def _share(part: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.divide(part, of, out=np.zeros(len(of)), where=of > 0)


def large_flags(state: AuditState) -> Section:
    """Return the section `flags` of all rows."""
    large = state.large
    assert large is not None
    judged = large.judged
    expected, listed = float(judged.sums[1]), large.n_listed
    top, names = judged.top, state.classes
    columns = list(state.used.names)
    shown = [columns.index(found["column"]) for found in state.report["depend"]]
    items = [
        {
            "row": int(top["row"][place]) + 1,
            "label": names[top["code"][place]],
            "suggested": names[top["suggested"][place]],
            "probability": float(top["probability"][place]),
            "rank": place + 1,
            "own_probability": float(top["own"][place]),
            "excerpt": _excerpt(columns, judged.cells[place], shown),
        }
        for place in range(listed)
    ]
    return {"expected_wrong": expected, "listed": listed, "items": items, "what_if": []}


def _excerpt(columns: Sequence[str], cells: Sequence[str], order: Sequence[int]) -> list[Section]:
    """Show a row by the columns that depend most on the label, as `excerpt` does."""
    found = [(columns[place], cells[place]) for place in order if cells[place]][:_SHOWN]
    return [
        {"column": name, "value": text if len(text) <= _CELL else text[: _CELL - 1] + "…"}
        for name, text in found
    ]
