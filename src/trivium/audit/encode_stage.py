"""Stage "encode": columns to numbers, and texts read in order where the evidence asks for it."""

from functools import partial

from trivium.audit.folds import make_folds
from trivium.audit.sequence_encoder import SequenceEncoder
from trivium.audit.sequence_stage import asks_for_order, kept_network, read_in_order
from trivium.audit.state import AuditState, Section
from trivium.table import TableEncoder

__all__ = ["encode_stage", "encode_table"]


def encode_table(state: AuditState) -> TableEncoder:
    """Encode the columns used without looking at the label, and write the section `encode`."""
    encoder = TableEncoder(
        text_encoder=state.options.text_encoder, random_state=state.options.seed
    ).fit(state.used)
    state.encoder, state.X = encoder, encoder.transform(state.used)
    columns = encoder.explain()
    state.report["encode"] = {
        "features": state.X.shape[1],
        "columns": columns,
        "in_order": [],
    }
    return encoder


def encode_stage(state: AuditState) -> str:
    """Encode the columns, read texts in order where it pays; return what was done."""
    table = encode_table(state)
    asked = asks_for_order(state.report["depend"])
    if asked:
        how = state.options
        folds = make_folds(state.codes, state.groups, how.folds, how.seed)
        tried = [
            state.journal(f"encode-{place}", partial(read_in_order, state, *question, folds))
            for place, question in enumerate(asked.items())
        ]
        _keep(state, table, tried)
    section = state.report["encode"]
    kinds = sorted({column["kind"] for column in section["columns"]})
    columns = f"{len(section['columns'])} columns ({', '.join(kinds)})"
    return f"{section['features']} features from {columns}{_said(section['in_order'])}"


def _keep(state: AuditState, table: TableEncoder, tried: list[Section]) -> None:
    """Put the networks that were kept behind the features."""
    read = tuple(kept_network(each) for each in tried if each["kept"])
    section = state.report["encode"]
    section["in_order"] = [
        {name: value for name, value in each.items() if name != "network"} for each in tried
    ]
    if read:
        state.encoder = encoder = SequenceEncoder(table, read)
        state.base, state.X = state.X, encoder.outside(state.X, None)
        section |= {"features": state.X.shape[1], "columns": encoder.explain()}


def _said(tried: list[Section]) -> str:
    if not tried:
        return ""
    kept = [f"{each['column']} ({each['kept']})" for each in tried if each["kept"]]
    if not kept:
        return f"; {len(tried)} texts tried in order, none kept"
    return f"; read in order: {', '.join(kept)}"
