"""Stage "encode": columns to numbers, and more of them where the evidence asks for it."""

from functools import partial
from typing import Any

from trivium._core.counted import counted
from trivium.audit.folds import make_folds
from trivium.audit.learnt_encoder import Learnt, LearntEncoder
from trivium.audit.sequence_stage import asks_for_order, kept_network, read_in_order
from trivium.audit.state import AuditState, Section
from trivium.audit.waves import asks_for_waves, fit_waves, kept_waves
from trivium.table import TableEncoder

__all__ = ["encode_stage", "encode_table"]


def encode_table(state: AuditState) -> TableEncoder:
    """Encode the columns used without looking at the label, and write the section `encode`."""
    encoder = TableEncoder(state.options.text_encoder, random_state=state.options.seed)
    step = state.listener.step  # each column is learnt and then encoded
    encoder.fit(state.used, progress=lambda done, total: step(done, 2 * total))
    state.encoder = encoder
    state.X = encoder.transform(
        state.used, progress=lambda done, total: step(total + done, 2 * total)
    )
    state.report["encode"] = {
        "features": state.X.shape[1],
        "columns": encoder.explain(),
        "in_order": [],
        "waves": [],
    }
    return encoder


def encode_stage(state: AuditState) -> str:
    """Encode the columns; fit waves to dates, read texts in order where it pays; say so."""
    table, how, section = encode_table(state), state.options, state.report["encode"]
    if state.large is not None:  # all rows are encoded again, by what has seen no label
        return _did(section)
    folds = make_folds(state.codes, state.groups, how.folds, how.seed)
    waves = [
        state.journal(
            name := f"encode-waves-{place}", partial(fit_waves, state, column, name, folds)
        )
        for place, column in enumerate(asks_for_waves(state))
    ]
    in_order = [
        state.journal(
            name := f"encode-order-{place}",
            partial(read_in_order, state, *question, name, folds),
        )
        for place, question in enumerate(asks_for_order(state.report["depend"]).items())
    ]
    section["waves"], section["in_order"] = _told(waves, "waves"), _told(in_order, "network")
    learnt: list[Learnt] = [kept_waves(each) for each in waves if each["kept"]]
    learnt += [kept_network(each) for each in in_order if each["kept"]]
    if learnt:
        state.encoder = encoder = LearntEncoder(table, tuple(learnt))
        state.base, state.X = state.X, encoder.outside(state.X, None)
        section |= {"features": state.X.shape[1], "columns": encoder.explain()}
    return _did(section)


def _did(section: Section) -> str:
    kinds = sorted({column["kind"] for column in section["columns"]})
    columns = counted(len(section["columns"]), "column") + f" ({', '.join(kinds)})"
    return f"{counted(section['features'], 'feature')} from {columns}{_said(section)}"


def _told(tried: list[Section], held: str) -> list[dict[str, Any]]:
    """Return what the report says: all but weights and features."""
    return [{name: value for name, value in each.items() if name != held} for each in tried]


def _said(section: Section) -> str:
    found = ""
    for name, what in (("waves", "dates by fitted waves"), ("in_order", "texts read in order")):
        tried = section[name]
        kept = [each["column"] for each in tried if each["kept"]]
        if kept:
            found += f"; {what}: {', '.join(kept)}"
        elif tried:
            found += f"; {what}: tried, not kept"
    return found
