"""The stages of tuning in turn, each fitted within the folds, scored on them, and kept or not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from trivium._core.errors import NumericalError
from trivium._core.random import derive, numpy_generator
from trivium.audit.offsets import calibrate_offsets, tune_offsets
from trivium.audit.tune_estimator import Choice, choose_estimator
from trivium.audit.tune_metric import TuneMetric
from trivium.audit.tune_training import Sample, Training, best_steps, train
from trivium.audit.tuned import Tuned
from trivium.closedform import ClosedFormClassifier
from trivium.parallel import SerialExecutor

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


@dataclass(frozen=True, eq=False)
class _Folds:
    """What the fit of every fold reads."""

    X: np.ndarray
    codes: np.ndarray
    folds: np.ndarray
    n_classes: int


def _fit_fold(fold: int, given: _Folds) -> dict[str, Any]:
    """Fit the closed form to the training part: probabilities within it, and held out."""
    test = given.folds == fold
    X, codes, n_classes = given.X[~test], given.codes[~test], given.n_classes
    seen = np.unique(codes)
    if len(seen) == 1:
        ones = np.ones((int(test.sum()), 1))
        return {"inner": None, "held": _widened(ones, seen, n_classes)}
    model = ClosedFormClassifier().fit(X, codes)
    held = model.predict_proba(given.X[test])
    return {
        "inner": _widened(model.loo_proba_, model.classes_, n_classes),
        "held": _widened(held, model.classes_, n_classes),
    }


def _part(whole: Sample, test: np.ndarray, fitted: dict[str, Any]) -> Part:
    rows = np.flatnonzero(test)
    inner = fitted["inner"]
    if inner is not None:
        inner = Sample(whole.X[~test], whole.codes[~test], whole.groups[~test], inner)
    return Part(inner, rows, whole.X[rows], fitted["held"])


def _train_fold(fold: int, given: tuple["_Start | None", ...]) -> dict[str, Any]:
    """Train a stage in one training part."""
    start = given[fold]
    assert start is not None
    steps = best_steps(start.how, start.tuned, start.sample)
    return {"steps": steps, "tuned": train(start.how, start.tuned, start.sample, steps).state()}


@dataclass(frozen=True, eq=False)
class _Start:
    """From where a stage is trained in one training part, and how."""

    how: Training
    tuned: Tuned
    sample: Sample


@runtime_checkable
class Runner(Protocol):
    """Runs blocks, and keeps what they gave: `AuditState.run_blocks`."""

    def __call__(
        self, name: str, function: Callable[..., Any], blocks: Sequence[Any], shared: Any
    ) -> list[Any]:
        """Return what the function gives for each block."""
        ...


def _here(name: str, function: Callable[..., Any], blocks: Sequence[Any], shared: Any) -> list[Any]:
    return SerialExecutor().map(function, blocks, shared=shared)


class Search:
    """The stages in turn, each scored on the folds and kept or not.

    Args:
        whole: All rows, with leave-one-out probabilities.
        folds: The fold of each row.
        metric: What is maximized.
        seed: Seed of every draw.
        progress: Called with the number of stages done.
        run_blocks: Runs the folds; here, one after the other, by default.
    """

    def __init__(
        self,
        whole: Sample,
        folds: np.ndarray,
        metric: TuneMetric,
        seed: int,
        progress: Callable[[int], None] = lambda done: None,
        run_blocks: Runner = _here,
    ) -> None:
        self.whole, self.metric, self.seed, self.progress = whole, metric, seed, progress
        self.folds, self.run_blocks = folds, run_blocks
        c = metric.n_classes
        numbers = np.unique(folds).tolist()
        given = _Folds(whole.X, whole.codes, folds, c)
        fitted = run_blocks("tune-fits", _fit_fold, numbers, given)
        self.parts = [
            _part(whole, folds == fold, one) for fold, one in zip(numbers, fitted, strict=True)
        ]
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
        starts = tuple(
            None
            if part.sample is None
            else _Start(self._training(stage, f"fold {i}"), start, part.sample)
            for i, (part, start) in enumerate(pairs)
        )
        asked = [i for i, start in enumerate(starts) if start is not None]
        found, steps = [start for _, start in pairs], []
        for i, one in zip(
            asked, self.run_blocks(f"tune-{stage}", _train_fold, asked, starts), strict=True
        ):
            found[i] = self._trained(one["tuned"])
            steps.append(one["steps"])
        return found, sorted(steps)[len(steps) // 2]

    def _trained(self, arrays: dict[str, np.ndarray]) -> Tuned:
        """Put together what a fold trained, columns first as it left them: the same bits."""
        c, d = self.metric.n_classes, self.whole.X.shape[1]
        held = {n: a if n == "costs" else np.asfortranarray(a) for n, a in arrays.items()}
        return Tuned.from_state(held, Tuned.described("", ""), c, d)

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
