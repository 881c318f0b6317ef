"""Stage "tune": the decision fitted to the metric that counts, kept only where that is seen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trivium._core.errors import NumericalError
from trivium._core.random import derive
from trivium.audit.folds import make_folds
from trivium.audit.offsets import MAX_CALLS, offset_calls, offset_work, tune_offsets
from trivium.audit.standing import learns
from trivium.audit.state import AuditState, Section
from trivium.audit.tune_estimator import Choice, choose_estimator
from trivium.audit.tune_metric import TuneMetric, tune_metric
from trivium.audit.tune_training import HIDDEN, Sample, train, training_work
from trivium.audit.tuned import Tuned
from trivium.closedform import ClosedFormClassifier

__all__ = ["NOTHING_KEPT", "Search", "tune_stage"]

NOTHING_KEPT = "closed form"
_LEAST_ROWS = 20
# The gain of one row exceeds its standard error, by a little: that is no evidence.
_LEAST_CHANGED = 4
# Counts, not seconds: multiplications of the fits within folds, of an offset search, of training.
_FITS = 2e11
_OFFSETS = 2e9
_TRAINING = 1e10
_HOW = (
    "each stage is fitted inside the training part of each of the {folds} folds of stage fit, to "
    "leave-one-out probabilities, and scored on the fold held out; it is kept if the metric over "
    "all folds gains more than its standard error, by a paired bootstrap over rows; later stages "
    "start from what was kept"
)
_NO_SIGNAL = "the columns do not predict the label better than the majority class does"
_NO_LOSS = "the closed form has its least log-loss already, by exact leave-one-out"
_NOT_ASKED = "only where --metric or --costs asks for it"


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
        c = metric.n_classes
        self.parts = [_part(whole, c, folds == fold) for fold in np.unique(folds)]
        plain = Tuned(np.zeros(c))
        self.kept, self.kept_name = plain, NOTHING_KEPT
        self.kept_parts = [plain] * len(self.parts)
        self.plain_guess = self.guess = self._decide(self.kept_parts)
        self.tried: list[Section] = []
        self.choice: Choice | None = None

    def _decide(self, tuned: list[Tuned]) -> np.ndarray:
        """Out-of-fold decisions."""
        out = np.empty(len(self.whole.codes), dtype=np.int64)
        for part, one in zip(self.parts, tuned, strict=True):
            out[part.rows] = one.decide(part.probabilities, part.X)
        return out

    def _fit(self, stage: str, start: Tuned, sample: Sample | None, place: str) -> Tuned:
        if sample is None:
            return start
        if stage == "decision rule":
            return Tuned(start.offsets, self.metric.costs)
        if stage == "offsets":
            found = tune_offsets(start.base(sample.probabilities), sample.codes, self.metric)
            return Tuned(found)
        seed = derive(self.seed, "tune", stage, place)
        return train(stage, start, sample, self.metric, self._estimator(), seed)

    def _estimator(self) -> Choice:
        """Measured once, on the first training part."""
        if self.choice is None:
            at = next(i for i, part in enumerate(self.parts) if part.sample is not None)
            sample = self.parts[at].sample
            assert sample is not None
            shuffled = np.random.default_rng(derive(self.seed, "tune", "rows")).permutation(
                len(sample.codes)
            )
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
            found = [
                self._fit(stage, start, part.sample, f"fold {i}")
                for i, (part, start) in enumerate(zip(self.parts, self.kept_parts, strict=True))
            ]
            guess = self._decide(found)
            figures = self.metric.paired(self.whole.codes, self.guess, guess, self.seed)
            n_changed = int((guess != self.guess).sum())
            better = figures["gain"] > figures["standard_error"] and n_changed >= _LEAST_CHANGED
            final = self._fit(stage, self.kept, self.whole, "all") if better else self.kept
        except NumericalError as error:
            self.skip(stage, numbers, error.what, "stopped")
            return
        if better:
            self.kept, self.kept_name, self.kept_parts, self.guess = final, stage, found, guess
            why = "the gain exceeds its standard error"
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


def _run_all(state: AuditState, metric: TuneMetric) -> Search:
    """Try every stage that was asked for and is within its budget."""
    n, d = state.X.shape
    c = len(state.classes)
    folds = make_folds(state.codes, state.groups, state.options.folds, state.options.seed)
    whole = Sample(state.X, state.codes, state.groups, state.classifier.loo_proba_)
    n_fits = len(np.unique(folds)) + 1
    search = Search(
        whole, folds, metric, state.options.seed, lambda done: state.listener.step(done, 3)
    )
    if metric.costs is not None:
        search.run("decision rule", 0)
    elif offset_work(n, c) * n_fits > _OFFSETS:
        search.skip("offsets", c - 1, "over its budget: rows times classes squared")
    elif not metric.counted and offset_calls(c) * n_fits > MAX_CALLS:
        search.skip("offsets", c - 1, "over its budget: calls of the metric")
    else:
        search.run("offsets", c - 1)
    asked = state.options.metric is not None or state.options.costs is not None
    work = training_work(n, d, c, n_fits)
    h = HIDDEN
    for stage, numbers, times in (
        ("head", (d + 1) * c, 1),
        ("network", (d + 1) * c + (d + 1) * h + h * c, 2),
    ):
        if not asked:
            search.skip(stage, numbers, _NOT_ASKED)
        elif times * work > _TRAINING:
            search.skip(stage, numbers, f"over its budget: {times * work:.1e} multiplications")
        else:
            search.run(stage, numbers)
    return search


def _why_not(state: AuditState, metric: TuneMetric | None) -> str:
    """Why nothing can be tuned here; empty where it can."""
    n, d = state.X.shape
    if metric is None:
        return _NO_LOSS
    if n < _LEAST_ROWS:
        return f"fewer than {_LEAST_ROWS} rows"
    if float(n) * d * min(n, d) * state.options.folds > _FITS:
        return "the fits within the folds are over their budget of counts"
    if metric.costs is None and not learns(state.report):
        return _NO_SIGNAL
    return ""


def _section(state: AuditState, metric: TuneMetric | None) -> Section:
    """The section of the report, and the arrays of what was kept."""
    why = _why_not(state, metric)
    search = _run_all(state, metric) if metric is not None and not why else None
    positive = None if metric is None or metric.positive is None else metric.positive
    section: Section = {
        "metric": state.options.tuned,
        "positive": None if positive is None else state.classes[positive],
        "how": _HOW.format(folds=state.report["scores"]["folds"]),
        "why": why,
        "kept": NOTHING_KEPT,
        **dict.fromkeys(("before", "after", "gain", "standard_error")),
        "tried": [],
    }
    tuned, choice = Tuned(np.zeros(len(state.classes))), None
    if search is not None:
        assert metric is not None
        section |= {"kept": search.kept_name, "tried": search.tried}
        section |= metric.paired(state.codes, search.plain_guess, search.guess, state.options.seed)
        tuned, choice = search.kept, search.choice
    section["offsets"] = [
        {"class": name, "offset": float(value)}
        for name, value in zip(state.classes, tuned.offsets, strict=True)
    ]
    section["estimator"] = {
        "chosen": choice.name if choice else None,
        "why": choice.why if choice else "no stage needed a gradient",
        "measured": list(choice.figures) if choice else [],
    }
    arrays = tuned.state() if section["kept"] != NOTHING_KEPT else {}
    return {
        "section": section,
        "arrays": {
            name: {"shape": list(array.shape), "values": array.ravel().tolist()}
            for name, array in arrays.items()
        },
    }


def tune_stage(state: AuditState) -> str:
    """Tune the decision; write the section `tune`; return what was done."""
    metric = tune_metric(state.options, state.label)
    found = state.journal("tune", lambda: _section(state, metric))
    section: Section = found["section"]
    state.report["tune"] = section
    arrays = {
        name: np.array(held["values"], dtype=np.float64).reshape(held["shape"])
        for name, held in found["arrays"].items()
    }
    state.tuned = _rebuilt(state, arrays, section) if arrays else None
    for one in section["tried"]:
        if one["outcome"] == "stopped":
            message = f"the stage {one['stage']} was stopped, what was kept before it stays: "
            state.warn("W-TUNE", "stage tune", message + one["why"])
        elif one["why"].startswith("over its budget"):
            state.warn("W-BUDGET", "stage tune", f"{one['stage']} was left out: {one['why']}")
    if section["why"]:
        return f"nothing tuned: {section['why']}"
    if section["kept"] == NOTHING_KEPT:
        return f"{section['metric']}: tuning did not help, the closed form stays"
    gain, error = section["gain"], section["standard_error"]
    return f"{section['kept']} kept: {section['metric']} {gain:+.3f} ± {error:.3f}"


def _rebuilt(state: AuditState, arrays: dict[str, Any], section: Section) -> Tuned:
    """What was kept, from the journal or as it was just computed: the same bits."""
    described = Tuned.described(section["metric"], section["kept"])
    return Tuned.from_state(arrays, described, len(state.classes), state.X.shape[1])
