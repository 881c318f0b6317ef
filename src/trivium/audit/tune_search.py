"""The stages of tuning in turn, each fitted within the folds, scored on them, and kept or not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trivium._core.errors import NumericalError
from trivium._core.random import derive, numpy_generator
from trivium.audit.offsets import calibrate_offsets, tune_offsets
from trivium.audit.tune_estimator import Choice, choose_estimator
from trivium.audit.tune_metric import TuneMetric
from trivium.audit.tune_training import Sample, Training, best_steps, train
from trivium.audit.tuned import Tuned
from trivium.closedform import ClosedFormClassifier

__all__ = ["NOTHING_KEPT", "Search"]

NOTHING_KEPT = "closed form"
# The gain of one row exceeds its standard error, by a little: that is no evidence.
_LEAST_CHANGED = 4


@dataclass(frozen=True, eq=False)
class Part:
    """One fold: what may be learnt from, and what is scored.

    Args:
        sample: The training part; `None` where it has one class only.
        rows: Rows held out.
        X: Their encoded columns.
        probabilities: Their class probabilities by the rule fitted to the training part.
    """

    sample: Sample | None
    rows: np.ndarray
    X: np.ndarray
    probabilities: np.ndarray


def _widened(proba: np.ndarray, seen: np.ndarray, n_classes: int) -> np.ndarray:
    """Columns for all classes, 0 for those not seen."""
    out = np.zeros((len(proba), n_classes))
    out[:, np.asarray(seen, dtype=np.int64)] = proba
    return out


def _part(whole: Sample, n_classes: int, test: np.ndarray) -> Part:
    rows = np.flatnonzero(test)
    X, codes, groups = whole.X[~test], whole.codes[~test], whole.groups[~test]
    seen = np.unique(codes)
    if len(seen) == 1:
        return Part(None, rows, whole.X[rows], _widened(np.ones((len(rows), 1)), seen, n_classes))
    model = ClosedFormClassifier().fit(X, codes)
    inner = Sample(X, codes, groups, _widened(model.loo_proba_, model.classes_, n_classes))
    held = _widened(model.predict_proba(whole.X[rows]), model.classes_, n_classes)
    return Part(inner, rows, whole.X[rows], held)


class Search:
    """The stages in turn, each scored on the folds and kept or not.

    Args:
        whole: All rows, with leave-one-out probabilities.
        folds: The fold of each row.
        metric: What is maximised.
        seed: Seed of every draw.
        progress: Called with the number of stages done.
    """

    def __init__(
        self,
        whole: Sample,
        folds: np.ndarray,
        metric: TuneMetric,
        seed: int,
        progress: Callable[[int], None] = lambda done: None,
    ) -> None:
        self.whole, self.metric, self.seed, self.progress = whole, metric, seed, progress
        self.folds = folds
        c = metric.n_classes
        self.parts = [_part(whole, c, folds == fold) for fold in np.unique(folds)]
        plain = Tuned(np.zeros(c))
        self.kept, self.kept_name = plain, NOTHING_KEPT
        self.kept_parts = [plain] * len(self.parts)
        self.plain_guess = self.guess = self._decide(self.kept_parts)
        self.tried: list[dict[str, Any]] = []
        self.choice: Choice | None = None
        self.trained: list[dict[str, Any]] = []

    def _decide(self, tuned: list[Tuned]) -> np.ndarray:
        """Out-of-fold decisions."""
        out = np.empty(len(self.whole.codes), dtype=np.int64)
        for part, one in zip(self.parts, tuned, strict=True):
            out[part.rows] = one.decide(part.probabilities, part.X)
        return out

    def _on_folds(self, stage: str) -> tuple[list[Tuned], int]:
        """Fit a stage in each training part; also the steps that are right for all rows."""
        pairs = [*zip(self.parts, self.kept_parts, strict=True)]
        if stage in ("decision rule", "offsets"):
            return [self._simple(stage, start, part.sample) for part, start in pairs], 0
        found, steps = [], []
        for i, (part, start) in enumerate(pairs):
            if part.sample is None:
                found.append(start)
                continue
            how = self._training(stage, f"fold {i}")
            steps.append(best_steps(how, start, part.sample))
            found.append(train(how, start, part.sample, steps[-1]))
        return found, sorted(steps)[len(steps) // 2]

    def _simple(self, stage: str, start: Tuned, sample: Sample | None) -> Tuned:
        """The rule of a cost matrix, or offsets."""
        if sample is None:
            return start
        scores = start.base(sample.probabilities)
        if stage == "decision rule":
            return Tuned(calibrate_offsets(scores, sample.codes), self.metric.costs)
        return Tuned(tune_offsets(scores, sample.codes, self.metric))

    def _training(self, stage: str, place: str) -> Training:
        seed = derive(self.seed, "tune", stage, place)
        return Training(stage, self.metric, self._estimator(), seed)

    def _on_all(self, stage: str, steps: int) -> Tuned:
        """Fit a stage to all rows."""
        if stage in ("decision rule", "offsets"):
            return self._simple(stage, self.kept, self.whole)
        return train(self._training(stage, "all"), self.kept, self.whole, steps)

    def _estimator(self) -> Choice:
        """Measured once, on the first training part."""
        if self.choice is None:
            at = next(i for i, part in enumerate(self.parts) if part.sample is not None)
            sample = self.parts[at].sample
            assert sample is not None
            shuffled = numpy_generator(self.seed, "tune", "rows").permutation(len(sample.codes))
            scores = self.kept_parts[at].scores(sample.probabilities, sample.X)[shuffled]
            self.choice = choose_estimator(scores, sample.codes[shuffled], self.metric, self.seed)
        return self.choice

    def run(self, stage: str, numbers: int) -> None:
        """Try a stage; keep it if it gains more than its standard error.

        Args:
            stage: `"decision rule"`, `"offsets"`, `"head"` or `"network"`.
            numbers: How many it fits.

        Raises:
            DataError: A function of the user's fails.
        """
        try:
            found, steps = self._on_folds(stage)
            guess = self._decide(found)
            figures = self.metric.paired(self.whole.codes, self.guess, guess, self.seed, self.folds)
            n_changed = int((guess != self.guess).sum())
            better = figures["gain"] > figures["standard_error"] and n_changed >= _LEAST_CHANGED
            untrained = not steps and stage in ("head", "network")
            better = better and not untrained
            final = self._on_all(stage, steps) if better else self.kept
        except NumericalError as error:
            self.skip(stage, numbers, error.what, "stopped")
            return
        if better:
            self.kept, self.kept_name, self.kept_parts, self.guess = final, stage, found, guess
            self.trained += [{"stage": stage, "steps": steps}] if steps else []
            why = "the gain exceeds its standard error"
        elif untrained:
            why = "in most folds no training at all did best on rows held out from it"
        elif n_changed < _LEAST_CHANGED:
            why = f"{n_changed} of the decisions changed, fewer than {_LEAST_CHANGED}"
        elif figures["gain"] > 0:
            why = "the gain is within its standard error"
        else:
            why = "no gain"
        outcome = "kept" if better else "not kept"
        self.tried.append(
            {"stage": stage, "outcome": outcome, "numbers": numbers, **figures, "why": why}
        )
        self.progress(len(self.tried))

    def skip(self, stage: str, numbers: int, why: str, outcome: str = "not tried") -> None:
        """Write down a stage that has no figures."""
        nothing = dict.fromkeys(("before", "after", "gain", "standard_error"))
        self.tried.append(
            {"stage": stage, "outcome": outcome, "numbers": numbers, **nothing, "why": why}
        )
        self.progress(len(self.tried))
