"""Stage "tune": the decision fitted to the metric that counts, kept only where that is seen."""

from functools import partial
from typing import Any

import numpy as np

from trivium.audit.folds import make_folds
from trivium.audit.offsets import MAX_CALLS, offset_calls, offset_work
from trivium.audit.standing import learns
from trivium.audit.state import AuditState, Section
from trivium.audit.tune_metric import TuneMetric, tune_metric
from trivium.audit.tune_search import NOTHING_KEPT, Search
from trivium.audit.tune_training import HIDDEN, Sample, training_work
from trivium.audit.tuned import Tuned

__all__ = ["tune_stage"]

_LEAST_ROWS = 20
# Counts, not seconds: multiplications of the fits within folds, of an offset search, of training.
_FITS = 2e11
_OFFSETS = 2e9
_TRAINING = 1e10
_HOW = (
    "each stage is fitted inside the training part of each of the {folds} folds of stage fit, to "
    "leave-one-out probabilities, and scored on the fold held out; it is kept if the metric over "
    "all folds gains more than its standard error (the larger one of a paired bootstrap over rows "
    "and of the jackknife over folds); later stages start from what was kept"
)
_NO_SIGNAL = "no column depends on the label, and they do not predict it together"
# Of the dependence test. Rare classes can be predictable without a better log-loss.
_FOUND = 0.05
_NO_LOSS = "the closed form has its least log-loss already, by exact leave-one-out"
_NOT_ASKED = "only where --metric or --costs asks for it"


def _run_all(state: AuditState, metric: TuneMetric) -> Search:
    """Try every stage that was asked for and is within its budget."""
    n, d = state.X.shape
    c = len(state.classes)
    folds = make_folds(state.codes, state.groups, state.options.folds, state.options.seed)
    whole = Sample(state.X, state.codes, state.groups, state.classifier.loo_proba_)
    n_fits = len(np.unique(folds)) + 1
    search = Search(
        whole,
        folds,
        metric,
        state.options.seed,
        lambda done: state.listener.step(done, 3),
        partial(state.run_blocks, progress=lambda done, total: None),
    )
    if metric.costs is not None:
        search.run("decision rule", c - 1)
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
    found = any(row["q_value"] < _FOUND for row in state.report["depend"])
    if metric.costs is None and not found and not learns(state.report):
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
        section |= metric.paired(
            state.codes, search.plain_guess, search.guess, state.options.seed, search.folds
        )
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
    section["trained"] = search.trained if search else []
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
    if all(one["gain"] is None for one in section["tried"]):
        return "nothing tuned: every stage was left out or stopped"
    if section["kept"] == NOTHING_KEPT:
        return f"{section['metric']}: tuning did not help, the closed form stays"
    gain, error = section["gain"], section["standard_error"]
    return f"{section['kept']} kept: {section['metric']} {gain:+.3f} ± {error:.3f}"


def _rebuilt(state: AuditState, arrays: dict[str, Any], section: Section) -> Tuned:
    """What was kept, from the journal or as it was just computed: the same bits."""
    described = Tuned.described(section["metric"], section["kept"])
    return Tuned.from_state(arrays, described, len(state.classes), state.X.shape[1])
