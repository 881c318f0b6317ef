"""Stage "flag": labels that the rest of the data contradicts, and what fixing them would change."""

from collections.abc import Callable

import numpy as np

from trivium._core.counted import counted
from trivium._core.random import numpy_generator
from trivium.audit.excerpt import excerpt
from trivium.audit.flags_listed import LIKELY, WORTH, n_worth
from trivium.audit.large_fit import large_flags
from trivium.audit.large_whatif import known_of
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


def _what_if(
    state: AuditState, n_fixed: int, changes: Callable[[int], np.ndarray]
) -> list[Section]:
    """Leave-one-out accuracy on the rows not touched, after minus before, for growing fixes.

    Args:
        state: The run.
        n_fixed: How many are fixed in the end.
        changes: Returns the change of each row not touched (-1, 0 or 1) by the first so many.
    """
    # Where nothing is learned, leave-one-out follows the class counts, and fixes turn them over.
    if n_fixed == 0 or not learns(state.report):
        return []
    out = []
    for step in sorted({step for step in _STEPS if step < n_fixed} | {n_fixed}):
        change = changes(step)
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


def _changes(state: AuditState, flags: Flags, order: np.ndarray) -> Callable[[int], np.ndarray]:
    """Return what fixing the first so many rows changes, where all rows are held."""
    before = state.classifier.loo_proba_.argmax(1) == state.codes

    def changes(step: int) -> np.ndarray:
        rows = order[:step]
        fixed = state.classifier.what_if(rows, flags.suggested[rows])
        rest = np.ones(len(before), dtype=bool)
        rest[rows] = False
        after: np.ndarray = (fixed.loo_proba_.argmax(1) == state.codes)[rest].astype(float)
        return after - before[rest]

    return changes


def _large_changes(state: AuditState) -> Callable[[int], np.ndarray]:
    """The same where all rows are known by their moments: on the rows held."""
    large = state.large
    assert large is not None
    known, top = known_of(state.X, state.codes, state.label, large), large.judged.top

    def changes(step: int) -> np.ndarray:
        fixed = [top[name][:step] for name in ("X", "code", "suggested")]
        after = known.after(large.classifier, *fixed)
        rows = known.untouched(top["row"][:step])
        codes = known.held.codes[rows]
        was, now = (known.judged(one, rows).argmax(1) == codes for one in (large.classifier, after))
        change: np.ndarray = now.astype(float) - was
        return change

    return changes


def flag_stage(state: AuditState) -> str:
    """Rank the labels; write the section `flags`; return what was done."""
    flags = label_flags(state.X, state.codes, classifier=state.classifier)
    state.flags = flags
    if state.large is None:
        listed = n_listed(flags)
        state.report["flags"] = _section(state, flags, listed)
    else:
        state.report["flags"] = section = large_flags(state)
        listed = section["listed"]
        n_fixed = min(listed, round(section["expected_wrong"]))
        section["what_if"] = _what_if(state, n_fixed, _large_changes(state))
    if listed and not learns(state.report):
        state.warn(
            "W-NO-SIGNAL",
            "stage flag",
            "the columns do not predict the label better than the majority class does, so the "
            "order of the listed rows says little",
        )
    expected = state.report["flags"]["expected_wrong"]
    return (
        f"{counted(listed, 'row')} worth a look, about "
        f"{counted(round(expected), 'label')} expected wrong "
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
        "what_if": _what_if(
            state, min(listed, round(flags.expected_wrong)), _changes(state, flags, order)
        ),
    }
