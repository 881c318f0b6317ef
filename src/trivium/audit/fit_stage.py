"""Stage "fit": the closed form, and the usual road beside it on the same folds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import process_time
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from trivium._core.counted import counted
from trivium.audit.baselines import BASELINES, boosting_iterations, held_out_probabilities
from trivium.audit.fold_features import FoldFeatures
from trivium.audit.folds import make_folds
from trivium.audit.intervals import compare_metrics, metric_draws, row_log_loss
from trivium.audit.large_fit import large_scores, pass_by
from trivium.audit.state import AuditState, Section
from trivium.closedform import ClosedFormClassifier
from trivium.table.naming import cut, listed

__all__ = ["fit_stage"]

_BINS = 10
_HOW = (
    "{folds} folds, classes spread evenly, identical rows never split; columns are encoded once "
    "without the label; 95 % intervals from a bootstrap over rows, paired between models"
)
_OF_SAMPLE = "; all of this on the rows held, the rest of this section is of all rows"


def _for_trees(state: AuditState) -> np.ndarray:
    """Which encoded columns are no curves of a rank: trees find their own."""
    last = [name.rsplit(": ", 1)[-1] for name in state.encoder.feature_names]
    return np.array([not part.startswith("curve ") for part in last])


@dataclass(frozen=True, eq=False)
class _Folds:
    """What every model on every fold reads.

    Args:
        features: Encoded rows.
        for_trees: Which of the features boosting gets.
        codes: Class of each row.
        folds: Fold of each row.
        n_classes: Classes.
        seed: Seed of the run.
    """

    features: FoldFeatures
    for_trees: np.ndarray
    codes: np.ndarray
    folds: np.ndarray
    n_classes: int
    seed: int

    @property
    def size(self) -> tuple[int, int, int]:
        """Rows, features of trees, classes."""
        return len(self.codes), int(self.for_trees.sum()), self.n_classes

    def maker(self, name: str) -> Callable[[], Any]:
        """Return what makes a model."""
        if name == "closed_form":
            return ClosedFormClassifier
        return partial(BASELINES[name], self.size, self.seed)


def _fit_fold(block: tuple[str, int], given: _Folds) -> Section:
    """Return probabilities of the rows of one fold by one model, and its CPU seconds."""
    name, fold = block
    start = process_time()
    rows = given.features.of(fold, given.for_trees if name == "boosting" else None)
    test = given.folds == fold
    found = held_out_probabilities(given.maker(name), rows, given.codes, test, given.n_classes)
    return {"probabilities": found, "seconds": process_time() - start}


def _out_of_fold(state: AuditState, folds: np.ndarray) -> Section:
    """Out-of-fold scores of every model, with its CPU seconds and what was left out, why."""
    n_classes, seed = len(state.classes), state.options.seed
    given = _Folds(state.features, _for_trees(state), state.codes, folds, n_classes, seed)
    names = ["closed_form", *BASELINES]
    if not boosting_iterations(*given.size):
        names.remove("boosting")
    blocks = [(name, int(fold)) for name in names for fold in np.unique(folds)]
    found = state.run_blocks("fit", _fit_fold, blocks, given)
    probabilities = {name: np.zeros((len(folds), n_classes)) for name in names}
    seconds = dict.fromkeys(names, 0.0)
    for (name, fold), part in zip(blocks, found, strict=True):
        probabilities[name][folds == fold] = part["probabilities"]
        seconds[name] += part["seconds"]
    draws = metric_draws(probabilities, state.codes, state.options.seed)
    models, differences = compare_metrics(draws, "closed_form")
    for name, model in models.items():
        model["seconds"] = seconds[name]
    return {"models": models, "differences": differences}


def _calibration(probabilities: np.ndarray, codes: np.ndarray) -> list[Section]:
    top = probabilities.max(1)
    hit = probabilities.argmax(1) == codes
    edges = np.quantile(top, np.linspace(0, 1, _BINS + 1)[1:-1])
    bins = np.searchsorted(edges, top, side="right")
    return [
        {
            "predicted": float(top[bins == b].mean()),
            "observed": float(hit[bins == b].mean()),
            "rows": int((bins == b).sum()),
        }
        for b in np.unique(bins)
    ]


def _per_class(state: AuditState, guess: np.ndarray) -> list[Section]:
    codes = np.arange(len(state.classes))
    scores = precision_recall_fscore_support(state.codes, guess, labels=codes, zero_division=0.0)
    return [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for name, p, r, f, n in zip(state.classes, *scores, strict=True)
    ]


def _of_rows(state: AuditState) -> Section:
    """What exact leave-one-out says, where all rows are held."""
    classifier, loo = state.classifier, state.classifier.loo_proba_
    guess = loo.argmax(1)
    labels = np.arange(len(state.classes))
    return {
        "loo": {
            "accuracy": float((guess == state.codes).mean()),
            "log_loss": float(row_log_loss(loo, state.codes).mean()),
        },
        "ridge": float(classifier.ridge_),
        "temperature": float(classifier.temperature_),
        "confusion": confusion_matrix(state.codes, guess, labels=labels).tolist(),
        "calibration": _calibration(loo, state.codes),
        "per_class": _per_class(state, guess),
    }


def _of_all(state: AuditState) -> Section:
    """The same of all rows, which pass by in blocks."""
    return large_scores(pass_by(state), state.classes)


def _warn_of_whole_classes(state: AuditState, folds: np.ndarray) -> None:
    """Say which classes no training part has seen when they are tested: all rows identical."""
    whole = [
        name
        for code, name in enumerate(state.classes)
        if len(np.unique(folds[state.codes == code])) == 1 < int((state.codes == code).sum())
    ]
    if whole:
        message = (
            f"all rows of {len(whole)} of {counted(len(state.classes), 'class')} are identical, "
            "so they "
            f"share a fold and no model scored there has seen the class: "
            f"{listed(cut(name) for name in whole)}"
        )
        state.warn("W-ONE-FOLD", f"column {state.label.name}", message)


def fit_stage(state: AuditState) -> str:
    """Fit the closed form and compare it; write the section `scores`; return what was done."""
    folds = make_folds(state.codes, state.groups, state.options.folds, state.options.seed)
    compared = state.journal("scores", lambda: _out_of_fold(state, folds))
    state.classifier = ClosedFormClassifier().fit(state.X, state.codes)
    n_folds = int(folds.max()) + 1
    state.report["scores"] = {
        "metrics": ["accuracy", "macro_f1", "log_loss"],
        "headline": state.options.headline,
        "folds": n_folds,
        "how": _HOW.format(folds=n_folds) + (_OF_SAMPLE if state.large is not None else ""),
        **compared,
        **(_of_rows(state) if state.large is None else _of_all(state)),
    }
    _warn_of_whole_classes(state, folds)
    if "boosting" not in compared["models"]:
        state.warn("W-BUDGET", "stage fit", "boosting was left out: over its budget of counts")
    ours = compared["models"]["closed_form"][state.options.headline]["mean"]
    return f"closed form {state.options.headline} {ours:.3f} on {counted(n_folds, 'fold')}"
