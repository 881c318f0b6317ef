"""The files of a run: report.json, report.html, rows.csv, fixes.csv, model/ and evidence/."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trivium._core.errors import OutputError
from trivium.audit.card_figures import CardFigures
from trivium.audit.excerpt import cell
from trivium.audit.large_whatif import save_known
from trivium.audit.model_card import model_card
from trivium.audit.saved import save_classifier, save_evidence
from trivium.audit.state import AuditState
from trivium.audit.tuned import Tuned
from trivium.report import render
from trivium.store import atomic_write, file_json, write_csv

__all__ = ["FIXES", "ROWS", "spare_input", "tuning", "write_files"]

ROWS = ["row", "label", "predicted", "own_probability", "flag_rank", "supporting", "opposing"]
FIXES = ["row", "label", "suggested", "probability", "new_label"]


def spare_input(caller: str, out: Path, data: Path) -> None:
    """Refuse to write over what was read, also with --force.

    Raises:
        OutputError: `out` is the file `data`.
    """
    try:
        same = out.samefile(data)
    except OSError:
        return
    if same:
        raise OutputError(
            f"{caller}: the output must not be the data that was read",
            where=str(out),
            remedy="Choose another --out.",
            code="E-EXISTS",
        )


def tuning(section: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return what the model's manifest says of tuning, from the report's section."""
    return Tuned.described(
        section["metric"],
        section["kept"],
        trained=section["trained"],
        estimator=section["estimator"]["chosen"],
        positive=section["positive"],
        seed=seed,
    )


def _rows(state: AuditState) -> Iterator[list[Any]]:
    """One line a row: leave-one-out probability of its own label, prediction, rank, evidence."""
    proba = state.classifier.loo_proba_
    guess = proba.argmax(1)
    place = np.empty(len(guess), dtype=np.int64)
    place[state.flags.rank] = np.arange(1, len(guess) + 1)
    for row, (supporting, opposing) in enumerate(state.evidence):
        code = int(state.codes[row])
        yield [
            int(state.label.rows[row]) + 1,
            state.classes[code],
            state.classes[guess[row]],
            float(proba[row, code]),
            int(place[row]),
            supporting,
            opposing,
        ]


def _listed_rows(state: AuditState) -> Iterator[list[Any]]:
    """The same for the rows listed, of a table of which only a sample is held."""
    large = state.large
    assert large is not None
    at = {int(row): place for place, row in enumerate(state.label.rows)}
    guess = large.judged.top["predicted"]
    for place, item in enumerate(state.report["flags"]["items"]):
        held = at.get(item["row"] - 1)
        evidence = ("", "") if held is None else state.evidence[held]
        predicted = state.classes[guess[place]]
        own = item["own_probability"]
        yield [item["row"], item["label"], predicted, own, item["rank"], *evidence]


def _shown(names: Sequence[str]) -> list[str]:
    """Return names of the data's columns for fixes.csv, which must differ to be read again."""
    taken, shown = {*FIXES, *names}, []
    for name in names:
        new = name if name not in FIXES else f"{name} (data)"
        while new != name and new in taken:
            new += " (data)"
        taken.add(new)
        shown.append(new)
    return shown


def _fixes(state: AuditState) -> Iterator[list[Any]]:
    """The flagged rows, an empty cell to fill in, then the row itself to decide by."""
    of_row = {int(kept) + 1: row for row, kept in enumerate(state.label.rows)}
    for place, item in enumerate(state.report["flags"]["items"]):
        if state.large is None:
            cells = [cell(column, of_row[item["row"]]) for column in state.used.columns]
        else:
            cells = state.large.judged.cells[place]
        yield [
            item["row"],
            item["label"],
            item["suggested"],
            f"{item['probability']:.4f}",
            "",
            *cells,
        ]


def _tuned(state: AuditState) -> tuple[Tuned, dict[str, Any]] | None:
    """What the model carries beside the closed form."""
    if state.tuned is None:
        return None
    section = state.report["tune"]
    return state.tuned, tuning(section, state.options.seed)


def write_files(state: AuditState, folder: Path) -> None:
    """Write every file of the run, each whole."""
    classifier, rows = state.classifier, _rows(state)
    if state.large is not None:
        classifier, rows = state.large.classifier, _listed_rows(state)
    write_csv(folder / "rows.csv", ROWS, rows)
    write_csv(folder / "fixes.csv", [*FIXES, *_shown(state.used.names)], _fixes(state))
    if state.large is None:
        found = CardFigures.of(state, state.flags)
    else:
        found = CardFigures.of_large(state.large)
        save_known(folder, state.large, state.label, state.report["flags"]["listed"])
    save_classifier(
        folder / "model",
        state.encoder,
        classifier,
        state.label,
        tuned=_tuned(state),
        card=model_card(state, found),
    )
    save_evidence(folder / "evidence", state.X, state.codes, state.label)
    atomic_write(folder / "report.json", file_json(state.report))
    atomic_write(folder / "report.html", render(state.report))
