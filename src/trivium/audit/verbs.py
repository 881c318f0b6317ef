"""The stages alone: fit, predict, explain, the demo, and the catalog."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from trivium._core.counted import counted
from trivium._core.errors import DataError, OutputError
from trivium._core.families import members
from trivium._core.threads import one_thread
from trivium.audit.card_figures import CardFigures
from trivium.audit.costs import Costs
from trivium.audit.encode_stage import encode_table
from trivium.audit.explain_stage import explain_rows
from trivium.audit.explain_tuned import Retraced, trained_layers
from trivium.audit.explained import Explained
from trivium.audit.large_fit import pass_by
from trivium.audit.model_card import model_card
from trivium.audit.options import METRICS, AuditOptions
from trivium.audit.read_stage import locate, read_stage
from trivium.audit.run import STAGES, AuditResult, audit
from trivium.audit.saved import (
    Evidence,
    SavedClassifier,
    load_classifier,
    load_evidence,
    save_classifier,
)
from trivium.audit.state import AuditState, Listener, Section
from trivium.audit.tune_metric import tune_metric
from trivium.audit.tune_training import Sample
from trivium.closedform import ClosedFormClassifier, label_flags
from trivium.cost.families import FAMILIES
from trivium.parallel import Executor
from trivium.store import atomic_write, to_json
from trivium.store.model import check_model
from trivium.store.run_folder import check_run
from trivium.table import Label, demo_table, grade, shown_name
from trivium.table.encode_sentence import check_sentences

__all__ = ["audit_demo", "catalog", "explain_run", "fit_only"]


def _state(options: AuditOptions, listener: Listener, executor: Executor | None) -> AuditState:
    paths, _ = locate(options.data, options.label)
    state = AuditState(options, listener, source=shown_name(paths))
    state.executor = executor or state.executor
    state.report |= {"warnings": [], "seed": options.seed}
    state.journal = lambda name, compute: compute()
    return state


@one_thread()
def fit_only(
    options: AuditOptions,
    out: Path,
    listener: Listener,
    *,
    force: bool = False,
    executor: Executor | None = None,
) -> Section:
    """Fit the closed form on a table and save it; return its leave-one-out scores.

    The executor changes no bit of the result. Of a table that is too large to be held the encoder
    is learnt from a sample; the closed form and its leave-one-out are of all rows.

    Raises:
        MissingExtraError: The sentence encoder asked for is not installed.
        DataError: The table is refused; nothing was written.
        OutputError: The model's folder exists (without `force`) or cannot be written.
        ResourceError: The disk is full or memory ran out.
    """
    check_model(out, overwrite=force)
    check_sentences(options.text_encoder, texts=False)
    state = _state(options, listener, executor)
    listener.begin("read")
    read_stage(state)
    listener.begin("encode")
    encode_table(state)
    if state.large is None:
        state.classifier = classifier = ClosedFormClassifier().fit(state.X, state.codes)
        found = CardFigures.of(state, label_flags(state.X, state.codes, classifier=classifier))
    else:
        classifier = pass_by(state).classifier
        found = CardFigures.of_large(state.large)
    card = model_card(state, found)
    save_classifier(out, state.encoder, classifier, state.label, card=card, overwrite=force)
    return {
        "model": str(out),
        "label": state.label.name,
        "rows": state.report["data"]["rows_used"],
        "features": state.X.shape[1],
        "loo_accuracy": found.hit,
        "loo_log_loss": found.loss,
        "warnings": state.report["warnings"],
    }


@one_thread()
def explain_run(run: Path, rows: list[int], top: int) -> list[Section]:
    """Explain rows (1-based, of the data) of a finished run.

    Raises:
        DataError: A row that the run did not use.
    """
    evidence, saved = load_evidence(run), load_classifier(run)
    position = {int(kept) + 1: i for i, kept in enumerate(evidence.kept)}
    for row in rows:
        if row not in position:
            raise DataError(
                f"explain: row {row} must be a labeled row of the run",
                where=f"{counted(len(position), 'row')}, the last is {max(position)}",
                remedy="Rows are counted from 1, without the header.",
            )
    classifier = ClosedFormClassifier().fit(evidence.X, evidence.codes)
    wanted = np.array([position[row] for row in rows])
    items = [
        item
        for explained in explain_rows(classifier, evidence.X, wanted)
        for item in _listed(evidence, explained, top)
    ]
    if saved.tuned is not None and trained_layers(saved.tuning):
        retraced = _retraced(evidence, saved, classifier)
        apart = _listed(evidence, retraced.explain(wanted), top)
        for item, tuned in zip(items, apart, strict=True):
            item["tuned"] = tuned
    return items


def _retraced(
    evidence: Evidence, saved: SavedClassifier, classifier: ClosedFormClassifier
) -> Retraced:
    """Train again what the run tuned."""
    tuning, tuned = saved.tuning, saved.tuned
    assert tuning is not None
    assert tuned is not None
    costs = None
    if tuned.costs is not None:
        costs = Costs(evidence.classes, tuple(tuple(row) for row in tuned.costs.tolist()))
    name = None if costs is not None else tuning["metric"]
    options = AuditOptions(metric=name, positive=tuning["positive"], costs=costs)
    label = Label(evidence.label, evidence.codes, evidence.classes, evidence.kept)
    metric = tune_metric(options, label)
    assert metric is not None
    groups = np.arange(len(evidence.codes))
    sample = Sample(evidence.X, evidence.codes, groups, classifier.loo_proba_)
    return Retraced.of(tuned, tuning, metric, sample)


def _listed(evidence: Evidence, explained: Explained, top: int) -> list[Section]:
    """One record a row, with the training rows for and against."""
    tops = {"support": explained.tops(1, top), "oppose": explained.tops(-1, top)}
    items = []
    for query, at in enumerate(explained.rows.tolist()):
        values = explained.contributions[query]
        sides = {
            side: [
                {
                    "row": int(evidence.kept[row]) + 1,
                    "label": evidence.classes[evidence.codes[row]],
                    "contribution": value,
                    "itself": row == at,
                }
                for row, value in found[query]
            ]
            for side, found in tops.items()
        }
        items.append(
            {
                "row": int(evidence.kept[at]) + 1,
                "label": evidence.classes[evidence.codes[at]],
                "predicted": evidence.classes[explained.predicted[query]],
                "rival": evidence.classes[explained.rival[query]],
                "score": float(explained.score[query]),
                "intercept": float(explained.intercept[query]),
                "total_support": float(values[values > 0].sum()),
                "total_oppose": float(values[values < 0].sum()),
                "error": explained.error,
                **sides,
            }
        )
    return items


def _make_demo_folder(out: Path, csv: str, *, force: bool) -> None:
    """Make the folder of a demo; a file `demo.csv` of another content needs `force`."""
    path = out / "demo.csv"
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = path.exists() and path.read_bytes() != csv.encode()
    except OSError as error:
        raise OutputError(
            f"demo: could not write; {error.strerror}",
            where=str(out),
            remedy="Choose another --out.",
        ) from error
    if taken and not force:
        raise OutputError(
            "demo: the table must be new or the same; another is there",
            where=str(path),
            remedy="Choose another --out, or pass --force to replace it.",
            code="E-EXISTS",
        )


def audit_demo(
    rows: int,
    out: Path,
    seed: int,
    *,
    force: bool = False,
    listener: Listener | None = None,
    command: list[str] | None = None,
    executor: Executor | None = None,
) -> AuditResult:
    """Generate a table with planted truth, audit it, and grade the audit in its report."""
    if out.is_dir():
        check_run(out / "run", force=force)
    demo = demo_table(rows, seed)
    _make_demo_folder(out, demo.csv, force=force)
    atomic_write(out / "demo.csv", demo.csv)
    atomic_write(out / "truth.json", to_json(demo.truth))
    options = AuditOptions(data=out / "demo.csv", label=demo.label, seed=seed)

    def graded(report: Section) -> Section:
        return {"truth": grade(report, demo.truth)}

    return audit(
        options,
        out / "run",
        force=force,
        listener=listener,
        command=command,
        grade=graded,
        executor=executor,
    )


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0] if thing.__doc__ else ""


# What `trivium list` names each family, its room and its base there.
_FAMILIES = {
    "kernels": ("kernel", "Kernel"),
    "feature maps": ("kernel", "FeatureMap"),
    "gradient estimators": ("expectation", "GradientEstimator"),
    "position encodings": ("position", "Position"),
    "attention layers": ("attention", "AttentionLayer"),
    "features of linear attention": ("attention", "AttentionFeatures"),
    "optimizers whose steps are traced": ("pathkernel", "Recurrence"),
}


def catalog() -> dict[str, dict[str, str]]:
    """Every member of every family, types of Transformer, stages and metrics, a line each."""
    found: dict[str, dict[str, str]] = {}
    for title, (room, name) in _FAMILIES.items():
        base = getattr(import_module(f"trivium.{room}"), name)
        family = [member for member in members(f"trivium.{room}", base) if member is not base]
        found[title] = {member.__name__: _first_line(member) for member in family}
    found["types of Transformer"] = dict.fromkeys(sorted(FAMILIES), "counted by trivium cost")
    found["stages of audit"] = {name: why for name, (_, why) in STAGES.items()}
    found["metrics"] = dict.fromkeys(METRICS, "metric of audit, to tune")
    return found
