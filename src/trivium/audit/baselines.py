"""The usual road, on the same folds: majority, logistic regression and histogram boosting."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

__all__ = [
    "BASELINES",
    "BoostingShape",
    "boosting_iterations",
    "boosting_shape",
    "fold_probabilities",
    "held_out_probabilities",
]

Size = tuple[int, int, int]
"""Rows, features and classes."""

# Numbers that the trees of one boosting fit may look at; counted, not timed, so that the same
# seed gives the same bits on any machine. Beside its rows a tree looks three times at the bins of
# its nodes (29 of 32), and costs as much as half a million numbers however small it is.
_TREE_BUDGET = 2e9
_TREE_COST = 500_000
_TREE_BINS = 3 * 29 * 32
_FULL_BUDGET = 2e8
# Below this many numbers threads cost more in waiting than they save.
_SMALL = 2_000_000


def _tree(n_rows: int, n_features: int) -> float:
    return (n_rows + _TREE_BINS) * n_features + _TREE_COST


def boosting_iterations(n_rows: int, n_features: int, n_classes: int) -> int:
    """Boosting rounds within the budget of counts; 0 when not even 10 rounds fit it."""
    trees = 1 if n_classes == 2 else n_classes
    affordable = int(_TREE_BUDGET // (trees * _tree(n_rows, n_features)))
    rounds = min(100, max(20, 200 // trees), affordable)
    return rounds if rounds >= 10 else 0


@dataclass(frozen=True)
class BoostingShape:
    """How large a boosting is.

    Args:
        rounds: Rounds.
        trees: Trees of a round.
        leaves: Most leaves of a tree.
        bins: Most bins of a feature.
        own: Whether these are scikit-learn's own settings.
    """

    rounds: int
    trees: int
    leaves: int
    bins: int
    own: bool


def boosting_shape(n_rows: int, n_features: int, n_classes: int) -> BoostingShape | None:
    """Scikit-learn's own settings where they are cheap, else fewer, larger steps, or nothing."""
    rounds = boosting_iterations(n_rows, n_features, n_classes)
    if not rounds:
        return None
    trees = 1 if n_classes == 2 else n_classes
    if 100 * trees * _tree(n_rows, n_features) <= _FULL_BUDGET:
        return BoostingShape(100, trees, 31, 255, own=True)
    # With many trees a round, deeper ones cost more than they gain.
    return BoostingShape(rounds, trees, 15 if trees == 1 else 8, 32, own=False)


def _threads(size: int) -> int | None:
    return 1 if size < _SMALL else None


def _boosting(size: Size, seed: int) -> Any:
    shape = boosting_shape(*size)
    if shape is None or shape.own:
        return HistGradientBoostingClassifier(early_stopping=False, random_state=seed % 2**32)
    return HistGradientBoostingClassifier(
        max_iter=shape.rounds,
        learning_rate=min(0.3, 10 / shape.rounds),
        max_leaf_nodes=shape.leaves,
        max_bins=shape.bins,
        early_stopping=False,
        random_state=seed % 2**32,
    )


def _logistic(size: Size, seed: int) -> Any:
    return LogisticRegression(max_iter=200, tol=1e-3)


def _majority(size: Size, seed: int) -> Any:
    return DummyClassifier(strategy="prior")


BASELINES: dict[str, Callable[[Size, int], Any]] = {
    "logistic": _logistic,
    "boosting": _boosting,
    "majority": _majority,
}


def fold_probabilities(
    make: Callable[[], Any],
    X: Float[np.ndarray, "n d"] | Callable[[int], Float[np.ndarray, "n d"]],
    codes: Int64[np.ndarray, " n"],
    folds: Int64[np.ndarray, " n"],
    n_classes: int,
) -> Float[np.ndarray, "n c"]:
    """Out-of-fold class probabilities of a classifier; a class unseen in a fold gets 0.

    A training part with one class alone predicts that class: no classifier is asked to fit it.
    The rows may be a function of the fold: features that were learnt from labels, without its own.
    """
    out = np.zeros((len(codes), n_classes))
    for fold in np.unique(folds):
        rows = X(int(fold)) if callable(X) else X
        test = folds == fold
        out[test] = held_out_probabilities(make, rows, codes, test, n_classes)
    return out


def held_out_probabilities(
    make: Callable[[], Any],
    rows: Float[np.ndarray, "n d"],
    codes: Int64[np.ndarray, " n"],
    test: Bool[np.ndarray, " n"],
    n_classes: int,
) -> Float[np.ndarray, "m c"]:
    """Class probabilities of the rows held out, by a classifier fitted to the others."""
    rows = rows if rows.shape[1] else np.zeros((len(rows), 1))  # only the shares are known
    out = np.zeros((int(test.sum()), n_classes))
    seen = np.unique(codes[~test])
    if len(seen) == 1:
        out[:, seen] = 1.0
        return out
    model = make()
    with warnings.catch_warnings(), threadpool_limits(_threads(rows.size)):
        # A baseline that has not fully converged is still a baseline; whether the label looks
        # like regression was asked when it was read.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater")
        model.fit(rows[~test], codes[~test])
    out[:, np.asarray(model.classes_, dtype=np.int64)] = model.predict_proba(rows[test])
    return out
