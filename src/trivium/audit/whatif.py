"""`trivium whatif RUN fixes.csv`: what the edited labels change, without fitting again."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from trivium._core.errors import DataError
from trivium._core.threads import one_thread
from trivium.audit.large_whatif import Known, is_large, load_known
from trivium.audit.saved import Evidence, load_evidence
from trivium.closedform import ClosedFormClassifier
from trivium.store import unquote_cell
from trivium.table import Column, ReadOptions, Table, read_table
from trivium.table.naming import cut, listed

__all__ = ["Fixes", "read_fixes", "whatif"]

# In the column new_label; a class of this name wins.
DROP = "drop"


@dataclass(frozen=True)
class Fixes:
    """Edits of labels: positions among the rows used, and class codes (-1 drops the row)."""

    rows: np.ndarray
    codes: np.ndarray


def _refuse(what: str, where: str, remedy: str) -> DataError:
    return DataError(f"whatif: {what}", where=where, remedy=remedy, code="E-FIXES")


def _cells(column: Column) -> list[str]:
    return [unquote_cell(text or "") for text in column.texts()]


def _columns(table: Table) -> list[list[str]]:
    missing = [name for name in ("row", "label", "new_label") if name not in table.names]
    if missing:
        raise DataError(
            f"whatif: the fixes must have the columns row, label and new_label; "
            f"{', '.join(missing)} is missing",
            where=table.source,
            remedy="Edit the run's own fixes.csv.",
            code="E-FIXES",
        )
    return [_cells(table.column(name)) for name in ("row", "label", "new_label")]


def _listed(path: Path) -> Table:
    try:
        return read_table(path, ReadOptions(missing=("",), min_rows=1))
    except DataError as error:
        if error.code != "E-EMPTY" or not path.stat().st_size:
            raise
        raise _refuse(
            "the fixes must list a row; a run that finds no doubtful label writes none",
            str(path),
            "Add lines of row, label and new_label for labels that you want to change.",
        ) from error


def read_fixes(path: Path, evidence: Evidence) -> Fixes:
    """Read an edited fixes.csv; a blank keeps the label, `drop` removes the row.

    Raises:
        DataError: A row or label that the run does not have, or a row given twice.
    """
    code_of = {name: code for code, name in enumerate(evidence.classes)}
    position = {int(kept) + 1: i for i, kept in enumerate(evidence.kept)}
    table = _listed(path)
    found: dict[int, int] = {}
    classes = evidence.codes.copy()
    for line, (row, label, new) in enumerate(zip(*_columns(table), strict=True), start=1):
        where = f"{path.name}, row {line}"
        if not new.strip():
            continue
        if not row.isdecimal() or int(row) not in position:
            raise _refuse(
                f"row {cut(row)} is not a labeled row of the run", where, "Keep its number."
            )
        at = position[int(row)]
        if label != evidence.classes[evidence.codes[at]]:
            raise _refuse(f"row {row} has another label in the run", where, "Use this run's file.")
        if at in found:
            raise _refuse(f"row {row} is given twice", where, "Keep one line of it.")
        if new.strip() != DROP and new not in code_of:
            names = listed((cut(name) for name in evidence.classes), limit=10)
            raise _refuse(f"{cut(new)} is not a class", where, f"Use one of {names}, or drop.")
        classes[at] = found[at] = code_of.get(new, -1)
    if len(found) == len(classes) or len(np.unique(classes[classes >= 0])) < 2:
        raise _refuse(
            "the fixes must leave a row untouched and two classes",
            path.name,
            "Fix fewer rows at once.",
        )
    return Fixes(np.fromiter(found, int, len(found)), np.fromiter(found.values(), int, len(found)))


def _scores(proba: np.ndarray, codes: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    own = np.clip(proba[rows, codes[rows]], 1e-15, 1.0)
    hit = proba[rows].argmax(1) == codes[rows]
    return {"accuracy": float(hit.mean()), "log_loss": float(-np.log(own).mean())}


@one_thread()
def whatif(run: Path, fixes: Path) -> dict[str, Any]:
    """Say what the fixes change, by down- and up-dating the moments of the fit.

    Returns:
        `relabelled`, `dropped`, leave-one-out `before` and `after` on the rows not touched,
        `milliseconds` of the update itself. Of a run that held a sample of its rows the
        moments of all rows change, and the rows of the sample are compared: `sample` says so.

    Raises:
        ModelError: The run is damaged.
        DataError: The fixes do not fit the run.
    """
    if is_large(run):
        return _of_sample(load_known(run), fixes)
    evidence = load_evidence(run)
    edits = read_fixes(fixes, evidence)
    classifier = ClosedFormClassifier().fit(evidence.X, evidence.codes)
    untouched = np.ones(len(evidence.codes), dtype=bool)
    untouched[edits.rows] = False
    rows = np.flatnonzero(untouched)
    dropped = edits.rows[edits.codes < 0]
    changed = edits.rows[edits.codes >= 0]
    start = perf_counter()
    after = classifier.what_if(changed, edits.codes[edits.codes >= 0], drop=dropped)
    milliseconds = 1e3 * (perf_counter() - start)
    kept = np.setdiff1d(np.arange(len(evidence.codes)), dropped)
    place = np.searchsorted(kept, rows)
    return {
        "relabelled": len(changed),
        "dropped": len(dropped),
        "rows_compared": len(rows),
        "before": _scores(classifier.loo_proba_, evidence.codes, rows),
        "after": _scores(after.loo_proba_, evidence.codes[kept], place),
        "milliseconds": milliseconds,
    }


def _of_sample(known: Known, fixes: Path) -> dict[str, Any]:
    """The same where all rows are known by their moments."""
    rows = known.rows
    edits = read_fixes(fixes, rows)
    classifier = known.classifier()
    start = perf_counter()
    after = known.after(classifier, rows.X[edits.rows], rows.codes[edits.rows], edits.codes)
    milliseconds = 1e3 * (perf_counter() - start)
    untouched = known.untouched(rows.kept[edits.rows])
    codes, every = known.held.codes[untouched], np.arange(len(untouched))
    return {
        "relabelled": int((edits.codes >= 0).sum()),
        "dropped": int((edits.codes < 0).sum()),
        "rows_compared": len(untouched),
        "sample": True,
        "before": _scores(known.judged(classifier, untouched), codes, every),
        "after": _scores(known.judged(after, untouched), codes, every),
        "milliseconds": milliseconds,
    }
