"""Stage "flag": labels that the rest of the data contradicts, and what fixing them would change."""

import numpy as np

from trivium._core.random import numpy_generator
from trivium.audit.excerpt import excerpt
from trivium.audit.flags_listed import LIKELY, WORTH, n_worth
from trivium.audit.large_fit import large_flags
from trivium.audit.standing import learns
from trivium.audit.state import AuditState, Section
from trivium.closedform import Flags, label_flags

__all__ = ["flag_stage", "n_listed"]

_STEPS = (1, 2, 5, 10, 20, 50, 100, 200)
_DRAWS = 1000


def n_listed(flags: Flags) -> int:
    """How many rows are worth a look, see `n_worth`."""
    worth, likely = (int((flags.probability >= p).sum()) for p in (WORTH, LIKELY))
    return n_worth(worth, likely, flags.expected_wrong, len(flags.rank))


def _what_if(state: AuditState, flags: Flags, order: np.ndarray) -> list[Section]:
    """Leave-one-out accuracy on the rows not touched, after minus before, for growing fixes."""
    before = state.classifier.loo_proba_.argmax(1) == state.codes
    # Where nothing is learned, leave-one-out follows the class counts, and fixes turn them over.
    if len(order) == 0 or not learns(state.report):
        return []
    steps = sorted({step for step in _STEPS if step < len(order)} | {len(order)})
    out = []
    for step in steps:
        rows = order[:step]
        fixed = state.classifier.what_if(rows, flags.suggested[rows])
        rest = np.ones(len(before), dtype=bool)
        rest[rows] = False
        change = (fixed.loo_proba_.argmax(1) == state.codes)[rest].astype(float) - before[rest]
        generator = numpy_generator(state.options.seed, "what-if", step)
        # The change per row is -1, 0 or 1: resample its counts, not its rows.
        counts = [(change == value).mean() for value in (-1, 0, 1)]
        draws = generator.multinomial(len(change), counts, size=_DRAWS)
        low, high = np.quantile((draws[:, 2] - draws[:, 0]) / len(change), [0.025, 0.975])
        out.append(
            {
                "fixed": int(step),
                "accuracy_change": float(change.mean()),
                "low": float(low),
                "high": float(high),
            }
        )
    return out


def flag_stage(state: AuditState) -> str:
    """Rank the labels; write the section `flags`; return what was done."""
    flags = label_flags(state.X, state.codes, classifier=state.classifier)
    state.flags = flags
    if state.large is None:
        listed = n_listed(flags)
        state.report["flags"] = _section(state, flags, listed)
    else:
        state.report["flags"] = large_flags(state)
        listed = state.report["flags"]["listed"]
    if listed and not learns(state.report):
        state.warn(
            "W-NO-SIGNAL",
            "stage flag",
            "the columns do not predict the label better than the majority class does, so the "
            "order of the listed rows says little",
        )
    expected = state.report["flags"]["expected_wrong"]
    return (
        f"{listed} rows worth a look, about {expected:.0f} labels expected wrong "
        "(exact leave-one-out of every row)"
    )


def _section(state: AuditState, flags: Flags, listed: int) -> Section:
    order, names = flags.rank[:listed], state.classes
    return {
        "expected_wrong": float(flags.expected_wrong),
        "listed": listed,
        "items": [
            {
                "row": int(state.label.rows[row]) + 1,
                "label": names[state.codes[row]],
                "suggested": names[flags.suggested[row]],
                "probability": float(flags.probability[row]),
                "rank": place,
                "own_probability": float(state.classifier.loo_proba_[row, state.codes[row]]),
                "excerpt": excerpt(state, int(row)),
            }
            for place, row in enumerate(order, start=1)
        ],
        # Rows listed beyond the expected number are to be looked at, not to be fixed unseen.
        "what_if": _what_if(state, flags, order[: round(flags.expected_wrong)]),
    }
