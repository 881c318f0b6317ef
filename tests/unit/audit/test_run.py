"""Whole runs: files, the same bits twice, resuming, what-if, prediction, explanation."""

import csv
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trivium._core.errors import (
    ArgumentError,
    BusyError,
    DataError,
    ModelError,
    OutputError,
    TriviumWarning,
)
from trivium.audit import (
    AuditOptions,
    AuditResult,
    audit,
    explain_run,
    fit_only,
    load_classifier,
    predict_files,
    run,
    whatif,
)
from trivium.audit.saved import load_evidence
from trivium.audit.state import Silent
from trivium.closedform import ClosedFormClassifier
from trivium.store import RunFolder
from trivium.table import ReadOptions, demo_table

OPTIONS = {"permutations": 99, "folds": 3}
Report = Callable[[Any], Any]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "demo.csv"
    path.write_text(demo_table(240, seed=3).csv, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def options(table: Path) -> AuditOptions:
    return AuditOptions(data=table, label="recommends", **OPTIONS)


@pytest.fixture(scope="module")
def finished(options: AuditOptions, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return audit(options, tmp_path_factory.mktemp("runs") / "run")


def test_a_run_writes_every_file(finished: AuditResult) -> None:
    names = {path.name for path in finished.folder.iterdir() if not path.name.startswith(".")}
    assert names == {"report.json", "report.html", "rows.csv", "fixes.csv", "model", "evidence"}
    report = json.loads((finished.folder / "report.json").read_text())
    assert report == json.loads(json.dumps(finished.report))
    assert report["schema"] == 1
    assert [stage["name"] for stage in report["stages"]] == list(run.STAGES)
    assert report["explain"]["completeness_error"] <= report["explain"]["tolerance"]
    assert len(report["verdict"]) >= 4
    assert (finished.folder / "report.html").stat().st_size < 500_000


def test_rows_csv_agrees_with_the_classifier(finished: AuditResult) -> None:
    with (finished.folder / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    evidence = load_evidence(finished.folder)
    fitted = ClosedFormClassifier().fit(evidence.X, evidence.codes)
    own = fitted.loo_proba_[np.arange(len(rows)), evidence.codes]
    np.testing.assert_allclose([float(row["own_probability"]) for row in rows], own, rtol=1e-12)
    assert sorted(int(row["flag_rank"]) for row in rows) == list(range(1, len(rows) + 1))
    first = finished.report["flags"]["items"][0]
    assert next(int(row["row"]) for row in rows if row["flag_rank"] == "1") == first["row"]


def test_same_seed_same_bits(
    finished: AuditResult, options: AuditOptions, tmp_path: Path, without_clock: Report
) -> None:
    again = audit(options, tmp_path / "again")
    assert without_clock(again.report) == without_clock(finished.report)
    for name in ("rows.csv", "fixes.csv", "model/tensors.safetensors"):
        assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_another_seed_changes_folds(finished: AuditResult, table: Path, tmp_path: Path) -> None:
    other = audit(AuditOptions(data=table, label="recommends", seed=1, **OPTIONS), tmp_path / "o")
    scores = [r.report["scores"]["models"]["logistic"]["log_loss"] for r in (other, finished)]
    assert scores[0] != scores[1]


@pytest.mark.parametrize("stage", ["plan", "depend", "fit", "flag", "tune", "explain"])
def test_a_stopped_run_resumes_to_the_same_bits(
    stage: str,
    finished: AuditResult,
    options: AuditOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_clock: Report,
) -> None:
    def stop(state: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setitem(run.STAGES, stage, (stop, ""))
    with pytest.raises(KeyboardInterrupt):
        audit(options, tmp_path / "run")
    monkeypatch.undo()
    again = audit(options, tmp_path / "run")
    assert again.resumed
    assert without_clock(again.report) == without_clock(finished.report)


def test_default_folder_is_free_or_this_very_run(
    options: AuditOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "STAGES", {"read": run.STAGES["read"], "stop": (_interrupt, "")})
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            audit(options)
    assert [path.name for path in tmp_path.iterdir()] == ["trivium-demo"]
    (tmp_path / "trivium-demo" / ".run.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt):
        audit(options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trivium-demo", "trivium-demo-2"]


def _interrupt(state: Any) -> str:
    raise KeyboardInterrupt


def test_existing_folder_needs_force(finished: AuditResult, options: AuditOptions) -> None:
    with pytest.raises(OutputError):
        audit(options, finished.folder)
    assert audit(options, finished.folder, force=True).folder == finished.folder


def test_two_runs_into_one_folder(options: AuditOptions, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", "other"), pytest.raises(BusyError):
        audit(options, tmp_path / "run", force=True)


def test_refused_data_leave_no_folder(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataError, match="line 3"):
        audit(AuditOptions(data=bad, label="b"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_are_checked(table: Path) -> None:
    with pytest.raises(ArgumentError, match="metric must be one of"):
        AuditOptions(data=table, metric="speed")
    with pytest.raises(ArgumentError, match="folds"):
        AuditOptions(data=table, folds=1)
    with pytest.raises(ArgumentError, match="--label must name"):
        audit(AuditOptions(data=table))


def edited(result: AuditResult, path: Path, edits: dict[int, str]) -> Path:
    """A copy of fixes.csv with `new_label` filled in, by line."""
    with (result.folder / "fixes.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    for line, label in edits.items():
        rows[line][4] = label
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_whatif_equals_a_refit(finished: AuditResult, tmp_path: Path) -> None:
    items = finished.report["flags"]["items"]
    fixes = edited(finished, tmp_path / "f.csv", {1: items[0]["suggested"], 2: "drop"})
    answer = whatif(finished.folder, fixes)
    assert (answer["relabelled"], answer["dropped"]) == (1, 1)
    evidence = load_evidence(finished.folder)
    at = [int(np.flatnonzero(evidence.kept == item["row"] - 1)[0]) for item in items[:2]]
    codes = evidence.codes.copy()
    codes[at[0]] = evidence.classes.index(items[0]["suggested"])
    kept = np.delete(np.arange(len(codes)), at[1])
    fitted = ClosedFormClassifier().fit(evidence.X, evidence.codes)
    refit = fitted.refit(evidence.X[kept], codes[kept])
    place = np.flatnonzero(~np.isin(kept, at))
    hit = refit.loo_proba_.argmax(1)[place] == codes[kept][place]
    assert answer["after"]["accuracy"] == pytest.approx(hit.mean(), abs=1e-12)
    own = refit.loo_proba_[place, codes[kept][place]]
    assert answer["after"]["log_loss"] == pytest.approx(-np.log(own).mean(), abs=1e-9)


@pytest.mark.parametrize(
    ("line", "label", "message"),
    [(1, "maybe", "is not a class"), (0, "x", "must have the columns")],
)
def test_whatif_refuses(
    finished: AuditResult, tmp_path: Path, line: int, label: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        whatif(finished.folder, edited(finished, tmp_path / "f.csv", {line: label}))


def test_whatif_refuses_a_row_of_another_run(finished: AuditResult, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    for text, message in [
        ("row,label,new_label\n99999,no,yes\n1,no,\n", "not a labeled row"),
        ("row,label,new_label\n1,?,yes\n2,no,\n", "another label"),
        ("row,label,suggested,probability,new_label\n", "the fixes must list a row"),
    ]:
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            whatif(finished.folder, path)


def test_saved_model_predicts_the_same(finished: AuditResult, table: Path, tmp_path: Path) -> None:
    evidence = load_evidence(finished.folder)
    fitted = ClosedFormClassifier().fit(evidence.X, evidence.codes)
    header, found = predict_files(finished.folder, [table], ReadOptions())
    rows = list(found)
    assert header == ["row", "recommends", "p(no)", "p(yes)"]
    expected = fitted.predict_proba(evidence.X)
    np.testing.assert_allclose([row[2:] for row in rows], expected, atol=1e-12)
    text = table.read_text().splitlines()
    one = tmp_path / "one.csv"
    one.write_text("\n".join(text[:2]) + "\n")
    _, alone = predict_files(finished.folder / "model", [one], ReadOptions())
    np.testing.assert_allclose(next(alone)[2:], rows[0][2:], atol=1e-12)
    assert load_classifier(finished.folder).classes == ("no", "yes")


def test_predict_refuses_a_missing_column_by_name(
    finished: AuditResult, table: Path, tmp_path: Path
) -> None:
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    gone = rows[0].index("wait_minutes")
    path = tmp_path / "less.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([row[:gone] + row[gone + 1 :] for row in rows])
    with pytest.raises(DataError, match="wait_minutes"):
        predict_files(finished.folder, [path], ReadOptions())


def test_explanations_are_complete(finished: AuditResult) -> None:
    evidence = load_evidence(finished.folder)
    fitted = ClosedFormClassifier().fit(evidence.X, evidence.codes)
    scores = fitted.decision_function(evidence.X)
    for item in explain_run(finished.folder, [1, 7], top=10_000):
        row = int(np.flatnonzero(evidence.kept == item["row"] - 1)[0])
        parts = sum(r["contribution"] for side in ("support", "oppose") for r in item[side])
        assert item["intercept"] + parts == pytest.approx(item["score"], abs=1e-6)
        assert abs(scores[row]) == pytest.approx(item["score"], abs=1e-6)
    with pytest.raises(DataError, match="row 0 must be"):
        explain_run(finished.folder, [0], 5)


def test_a_model_is_not_a_run(finished: AuditResult, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must be a saved table-classifier"):
        load_classifier(finished.folder / "evidence")
    with pytest.raises(ModelError):
        load_evidence(tmp_path)


def test_fit_alone_saves_a_model_that_loads(options: AuditOptions, tmp_path: Path) -> None:
    summary = fit_only(options, tmp_path / "model", Silent())
    assert 0.5 < summary["loo_accuracy"] <= 1
    assert load_classifier(tmp_path / "model").label == "recommends"
    with pytest.raises(OutputError):
        fit_only(options, tmp_path / "model", Silent())


def test_a_leak_is_named_first_and_left_out(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "leak.csv"
    x = rng.standard_normal(80)
    lines = [f"{v:.4f},{'u' if v > 0 else 'd'},{int(v > 0)}" for v in x + rng.normal(size=80)]
    path.write_text("x,answer,copy\n" + "\n".join(lines) + "\n")
    found = audit(AuditOptions(data=path, label="answer", **OPTIONS), tmp_path / "a").report
    assert found["warnings"][0]["code"] == "W-LEAK"
    assert found["verdict"][0].startswith("Leakage: column copy")
    schema = {column["column"]: column for column in found["data"]["schema"]}
    assert not schema["copy"]["used"]
    kept = AuditOptions(data=path, label="answer", keep=("copy",), **OPTIONS)
    report = audit(kept, tmp_path / "b").report
    assert report["scores"]["models"]["closed_form"]["accuracy"]["mean"] > 0.95


def test_warnings_of_a_stage_stand_in_the_report(
    options: AuditOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setitem(run.STAGES, "encode", (lambda state: _warned(state, seen), ""))
    monkeypatch.setitem(run.STAGES, "fit", (_interrupt, ""))
    with pytest.raises(KeyboardInterrupt):
        audit(options, tmp_path / "run")
    found = [w for w in seen[0].report["warnings"] if w["where"] == "stage encode"]
    assert [(w["code"], w["message"]) for w in found] == [
        ("W-NOTE", "look here"),
        ("W-LIBRARY", "old name"),
    ]


def _warned(state: Any, seen: list[Any]) -> str:
    seen.append(state)
    warnings.warn("look here", TriviumWarning, stacklevel=1)
    warnings.warn("old name", DeprecationWarning, stacklevel=1)
    return "warned"


def test_a_large_table_explains_its_most_suspect_rows(
    options: AuditOptions, finished: AuditResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = finished.report["data"]["rows_used"]
    monkeypatch.setattr("trivium.audit.explained._CONTRIBUTIONS", 50 * n)
    found = audit(options, tmp_path / "run")
    with (found.folder / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    explained = [int(row["flag_rank"]) for row in rows if row["supporting"]]
    assert sorted(explained) == list(range(1, 51))
    for ours, whole in zip(
        found.report["explain"]["items"], finished.report["explain"]["items"], strict=True
    ):
        # Blocks of other sizes add up in another order.
        assert ours["row"] == whole["row"]
        assert ours["score"] == pytest.approx(whole["score"], abs=1e-9)
    assert "W-BUDGET" in {warning["code"] for warning in found.report["warnings"]}
