"""Whether a text is worth reading in order: the evidence, a short list on folds, and the gate."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

from trivium.audit.baselines import fold_probabilities
from trivium.audit.intervals import row_log_loss
from trivium.audit.learnt_encoder import decoded, encoded, scale_of
from trivium.audit.plan_text import EPOCHS, n_trainings, text_plan
from trivium.audit.sequence_learnt import ReadInOrder
from trivium.audit.sequence_model import ENCODINGS, Fitted
from trivium.audit.sequence_text import Vocabulary
from trivium.audit.sequence_trial import Texts, Trial
from trivium.audit.state import AuditState, Section
from trivium.closedform import ClosedFormClassifier

__all__ = ["asks_for_order", "kept_network", "read_in_order"]

_FDR = 0.05
_LEAST_ROWS, _LEAST_FOLDS = 200, 3
_GIVEN_UP = 2  # folds after which an encoding that is no better is given up
_MOST_SCORES = 2e7  # rows times classes times networks: held at once
# What a network must see, by the tests of dependence: which of two words comes first, or also how
# far apart they are.
_SHORT = {"order": ENCODINGS[:2], "distance": ENCODINGS}


def asks_for_order(rows: Sequence[Section]) -> dict[str, str]:
    """Return the text columns whose order matters, or the distance of words, by the tests."""
    found = {}
    for row in rows:
        for aspect in row["aspects"]:
            if aspect["aspect"] in _SHORT and aspect["q_value"] < _FDR:
                found[row["column"]] = aspect["aspect"]  # distance comes last, and says more
    return found


def read_in_order(
    state: AuditState, column: str, evidence: str, name: str, folds: np.ndarray
) -> Section:
    """Try to read a text column in order; return what was tried, and the network if it was kept.

    Args:
        state: The run, with the features of the table.
        column: The column.
        evidence: `"order"` or `"distance"`: what the tests of dependence found.
        name: The piece of work, for the journal of blocks.
        folds: The fold of each row, as the stage fit has them.

    Returns:
        A section that JSON can hold: `column, evidence, count, tried, ngrams_log_loss, gain,
        standard_error, kept, why`; and `network`, where it was kept.
    """
    texts = state.used.column(column).texts()
    vocabulary = Vocabulary.of(texts)
    rows, names = vocabulary.rows(texts), _SHORT[evidence]
    n_folds = int(folds.max()) + 1
    fits = n_trainings(len(names), n_folds)
    plan = text_plan(
        np.maximum(rows.lengths, 1).tolist(),
        state.options.budget,
        passes=fits * EPOCHS,
    )
    section: Section = {
        "column": column,
        "evidence": evidence,
        "count": plan.softmax_count,
        "tried": [],
        "ngrams_log_loss": None,
        "gain": None,
        "standard_error": None,
        "kept": None,
    }
    if not plan.fits:
        return section | {"why": f"{plan.softmax_count:.2g} multiply-adds are over the budget"}
    if len(rows) < _LEAST_ROWS:
        return section | {"why": f"fewer than {_LEAST_ROWS} rows"}
    if n_folds < _LEAST_FOLDS:  # of two folds, none is left to learn from without both
        return section | {"why": f"fewer than {_LEAST_FOLDS} folds"}
    if len(rows) * len(state.classes) * fits > _MOST_SCORES:
        return section | {"why": "too many classes for so many rows"}
    given = Texts(
        rows,
        len(vocabulary),
        state.codes,
        state.groups,
        folds,
        len(state.classes),
        state.options.seed,
    )
    return section | _judged(Trial(state, name, given, vocabulary, fits), column, names)


def _judged(trial: Trial, column: str, names: Sequence[str]) -> Section:
    """Hold the best encoding against hashed n-grams, and train what a kept one needs."""
    grams = row_log_loss(_by_ngrams(trial, column), trial.state.codes)
    gains = _gains(trial, names, grams)
    tried = [
        {"encoding": name, "gain": gain, "standard_error": error, "folds": folds}
        for name, (gain, error, folds) in gains.items()
    ]
    best = max(names, key=lambda name: gains[name][0])
    gain, error, folds = gains[best]
    found: Section = {
        "tried": tried,
        "ngrams_log_loss": float(grams.mean()),
        "gain": gain,
        "standard_error": error,
    }
    if folds < trial.n_folds or not gain > error:
        return found | {"why": "it did not beat hashed n-grams by its standard error"}
    return found | {"kept": best, "why": "kept", "network": _network(trial, best)}


def _gains(
    trial: Trial, names: Sequence[str], grams: np.ndarray
) -> dict[str, tuple[float, float, int]]:
    """Train on the folds; return for each encoding its gain, the standard error, and the folds.

    After two folds an encoding that is no better is given up.
    """
    trial.train("two", [(name, (fold,)) for name in names for fold in range(_GIVEN_UP)])
    go_on = [name for name in names if _gain(trial, name, grams, _GIVEN_UP)[0] > 0]
    rest = range(_GIVEN_UP, trial.n_folds)
    trial.train("rest", [(name, (fold,)) for name in go_on for fold in rest])
    tried = {name: trial.n_folds if name in go_on else _GIVEN_UP for name in names}
    return {name: _gain(trial, name, grams, folds) for name, folds in tried.items()}


def _gain(trial: Trial, name: str, grams: np.ndarray, folds: int) -> tuple[float, float, int]:
    """Return the mean gain in log loss over hashed n-grams, its standard error, and the folds.

    A class that a training part lacks counts for nothing: there the two differ only in the chance
    that they give to the unseen.
    """
    gained = np.full(len(grams), np.nan)
    codes = trial.state.codes
    for fold in range(folds):
        test = trial.folds == fold
        own = row_log_loss(np.exp(trial.scores(name, fold)[test]), codes[test])
        known = np.isin(codes[test], codes[~test])
        gained[test] = np.where(known, grams[test] - own, 0.0)
    seen = gained[~np.isnan(gained)]
    return float(seen.mean()), float(seen.std() / len(seen) ** 0.5), folds


def _by_ngrams(trial: Trial, column: str) -> Float[np.ndarray, "n c"]:
    """Return out-of-fold probabilities by the column's hashed words and word pieces alone."""
    state = trial.state
    own = [name == column for name in state.encoder.column_of_feature]
    n_classes = len(state.classes)
    return fold_probabilities(
        ClosedFormClassifier, state.X[:, own], state.codes, trial.folds, n_classes
    )


def _network(trial: Trial, encoding: str) -> Section:
    """Train on all rows, and on all but two folds; keep scores and weights as JSON holds them."""
    n_folds = trial.n_folds
    trial.train("pairs", [(encoding, pair) for pair in combinations(range(n_folds), 2)])
    outside = [trial.outside(encoding)]
    outside += [trial.outside(encoding, fold) for fold in range(n_folds)]
    arrays, facts = trial.weights(encoding)
    return {
        "words": list(trial.vocabulary.known),
        "outside": [encoded(scores) for scores in outside],
        "arrays": {name: encoded(array) for name, array in arrays.items()},
        "facts": facts,
    }


def kept_network(section: Section) -> ReadInOrder:
    """Return the network that `read_in_order` kept."""
    held = section["network"]
    outside = tuple(decoded(scores) for scores in held["outside"])
    arrays = {name: decoded(array) for name, array in held["arrays"].items()}
    return ReadInOrder(
        section["column"],
        **scale_of(outside[0]),
        outside=outside,
        vocabulary=Vocabulary(tuple(held["words"])),
        model=Fitted.from_state(arrays, held["facts"]),
    )
