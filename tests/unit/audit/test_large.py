"""A table of which only a sample of the rows is held: exact over all rows, the same bits."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trivium._core.errors import ArgumentError, DataError
from trivium.audit import (
    AuditOptions,
    AuditResult,
    DependOptions,
    Screening,
    audit,
    depend_only,
    fit_only,
    large_fit,
    load_classifier,
    whatif,
)
from trivium.audit.large_read import _picked
from trivium.audit.saved import load_evidence
from trivium.audit.state import Silent
from trivium.closedform import ClosedFormClassifier, label_noise
from trivium.parallel import SerialExecutor, open_executor
from trivium.table import read_files

N, HOLD = 6000, 6000  # rows; cells held: 1,000 rows of 6 columns
Report = Callable[[Any], Any]


def rows_of(n: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, n))
    color = rng.choice(["red", "green", "blue"], n)
    z = a + 1.5 * (color == "red") - 0.8 * b + 0.4 * rng.normal(size=n)
    y = np.where(z > 1, "high", np.where(z < -1, "low", "mid"))
    y = np.where(rng.random(n) < 0.02, rng.permutation(y), y)
    y = np.where(rng.random(n) < 0.01, "", y)
    return {"a": a, "b": b, "c": c, "color": color, "k": ["x"] * n, "y": y}


def write_parts(folder: Path, columns: dict[str, Any], sizes: list[int]) -> Path:
    """Parts of a table: the first Parquet, the others CSV."""
    folder.mkdir()
    start = 0
    for part, size in enumerate(sizes):
        rows = {name: values[start : start + size] for name, values in columns.items()}
        start += size
        if part == 0:
            pq.write_table(pa.table(rows), folder / f"{part}.parquet", row_group_size=900)
            continue
        with (folder / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(rows)
            writer.writerows(zip(*rows.values(), strict=True))
    return folder


def options_of(data: Path, **how: Any) -> AuditOptions:
    given = {"label": "y", "folds": 3, "permutations": 19, "hold": HOLD}
    return AuditOptions(data=data, **(given | how))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("data") / "big", rows_of(N), [2500, 1500, 2000])


@pytest.fixture(scope="module")
def large(data: Path, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return audit(options_of(data), tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def whole(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """All rows in memory: their codes, and the row numbers of those with a label."""
    texts = np.array([text or "" for text in read_files([data]).column("y").texts()])
    rows = np.flatnonzero(texts != "")
    return np.searchsorted(["high", "low", "mid"], texts[rows]), rows


@pytest.fixture(scope="module")
def refitted(
    data: Path, large: AuditResult, whole: tuple[np.ndarray, np.ndarray]
) -> ClosedFormClassifier:
    """All rows in memory, by the same encoder and the same path."""
    found: list[Any] = []
    original = large_fit.pass_by
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "trivium.audit.verbs.pass_by", lambda state: found.append(original(state)) or found[0]
        )
        fit_only(options_of(data), large.folder.parent / "model", Silent())
    path = found[0].classifier
    X = found[0].reading.encoder.transform(read_files([data])).take(whole[1], axis=0)
    return path.refit(X, whole[0])


def test_what_is_held_and_what_is_counted(large: AuditResult) -> None:
    report = large.report
    assert report["sample"]["rows"] == 1000
    assert report["data"]["rows"] == N
    columns = rows_of(N)
    counts = {name: int((columns["y"] == name).sum()) for name in ("high", "low", "mid")}
    assert {c["name"]: c["rows"] for c in report["data"]["classes"]} == counts
    assert report["data"]["rows_used"] == sum(counts.values())
    assert report["plan"]["choice"][0]["instead_count"] == N * 6
    aside = next(w for w in report["warnings"] if w["code"] == "W-MISSING-LABEL")
    assert aside["message"].startswith(f"{(columns['y'] == '').sum()} of 6,000 rows")
    assert report["verdict"][0].startswith("Scale: 6,000 rows")
    json.dumps(report)


def test_the_closed_form_is_that_of_all_rows(
    large: AuditResult, refitted: ClosedFormClassifier, data: Path, whole: Any
) -> None:
    codes, rows = whole
    saved, table = load_classifier(large.folder), read_files([data])
    expected = refitted.predict_proba(saved.encoder.transform(table))
    np.testing.assert_allclose(saved.predict_proba(table), expected, atol=1e-9)
    proba = refitted.loo_proba_
    guess = proba.argmax(1)
    loo = large.report["scores"]["loo"]
    assert loo["accuracy"] == pytest.approx((guess == codes).mean(), abs=1e-12)
    own = proba[np.arange(len(codes)), codes]
    assert loo["log_loss"] == pytest.approx(-np.log(own).mean(), abs=1e-9)
    confusion = np.bincount(codes * 3 + guess, minlength=9).reshape(3, 3)
    assert large.report["scores"]["confusion"] == confusion.tolist()
    assert sum(b["rows"] for b in large.report["scores"]["calibration"]) == len(codes)
    at = {int(row): place for place, row in enumerate(rows)}
    for item in large.report["flags"]["items"]:
        place = at[item["row"] - 1]
        assert item["label"] == ("high", "low", "mid")[codes[place]]
        assert item["own_probability"] == pytest.approx(own[place], abs=1e-9)


def test_the_suspect_rows_are_those_of_all_rows(
    large: AuditResult, refitted: ClosedFormClassifier, whole: Any
) -> None:
    codes, rows = whole
    logits = refitted.loo_decision_function_
    held = np.isin(rows, load_evidence(large.folder).kept)
    assert held.sum() == len(load_evidence(large.folder).kept)
    wrong, _, other = label_noise(logits[held], codes[held]).judge(logits, codes)
    flags = large.report["flags"]
    assert flags["expected_wrong"] == pytest.approx(wrong.sum(), abs=1e-6)
    order = np.argsort(-wrong, kind="stable")[: flags["listed"]]
    assert flags["listed"] == min(np.ceil(2 * wrong.sum()), (wrong >= 0.05).sum())
    assert {item["row"] for item in flags["items"]} == set((rows[order] + 1).tolist())
    suggested = {int(rows[place]) + 1: ("high", "low", "mid")[other[place]] for place in order}
    assert {item["row"]: item["suggested"] for item in flags["items"]} == suggested
    probability = sorted((item["probability"] for item in flags["items"]), reverse=True)
    np.testing.assert_allclose(probability, wrong[order], atol=1e-8)
    with (large.folder / "fixes.csv").open(newline="") as file:
        fixes = list(csv.DictReader(file))
    columns = rows_of(N)
    for fix, item in zip(fixes, flags["items"], strict=True):
        assert fix["color"] == columns["color"][item["row"] - 1]
        assert item["row"] == int(fix["row"])
    with (large.folder / "rows.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [int(row["row"]) for row in listed] == [item["row"] for item in flags["items"]]


def test_two_processes_give_the_same_bits(
    data: Path, large: AuditResult, tmp_path: Path, without_clock: Report
) -> None:
    with open_executor("processes", n_workers=2) as executor:
        found = audit(options_of(data), tmp_path / "run", executor=executor)
    assert without_clock(found.report) == without_clock(large.report)
    for file in ("rows.csv", "fixes.csv", "model/tensors.safetensors"):
        assert (found.folder / file).read_bytes() == (large.folder / file).read_bytes()


def test_the_sample_does_not_depend_on_the_files(
    data: Path, large: AuditResult, tmp_path: Path
) -> None:
    again = write_parts(tmp_path / "again", rows_of(N), [1000, 4000, 1000])
    found = audit(options_of(again), tmp_path / "run").report
    for name in ("depend", "encode", "tune"):
        assert found[name] == large.report[name]
    rows = [item["row"] for item in large.report["flags"]["items"][:50]]
    assert [item["row"] for item in found["flags"]["items"][:50]] == rows


def test_blocks_that_ended_are_not_run_again(
    data: Path,
    large: AuditResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_clock: Report,
) -> None:
    judged: list[Any] = []
    original = large_fit.judge_block

    def stops(block: Any, judge: Any) -> Any:
        if len(judged) == 2:
            raise KeyboardInterrupt
        judged.append(block)
        return original(block, judge)

    monkeypatch.setattr(large_fit, "judge_block", stops)
    with pytest.raises(KeyboardInterrupt):
        audit(options_of(data), tmp_path / "run")
    added: list[Any] = []
    monkeypatch.setattr(large_fit, "add_block", lambda *given: added.append(given))
    monkeypatch.setattr(
        large_fit, "judge_block", lambda *given: judged.append(given[0]) or original(*given)
    )
    found = audit(options_of(data), tmp_path / "run")
    assert found.resumed
    assert not added
    n_blocks = large.report["sample"]["blocks"]
    assert len(judged) == n_blocks == len({block.first_row for block in judged})
    assert without_clock(found.report) == without_clock(large.report)


def test_rare_classes_and_odd_cells_of_all_rows(tmp_path: Path) -> None:
    columns = rows_of(N)
    columns["a"] = columns["a"].astype(str)
    columns["y"] = columns["y"].copy()
    out = np.setdiff1d(np.arange(N), _picked(N, 1000, 0))  # rows that are not held
    columns["y"][out[[100, -100]]] = "rare"
    columns["a"][out[-200:-197]] = "oops"
    columns["k"] = ["x"] * N
    columns["k"][out[7]] = "z"
    found = audit(options_of(write_parts(tmp_path / "big", columns, [2500, 3500])), tmp_path / "r")
    report = found.report
    assert {"name": "rare", "rows": 2} in report["data"]["classes"]
    odd = next(w for w in report["warnings"] if w["code"] == "W-UNREADABLE")
    assert odd["message"].startswith("3 cells with no number")
    assert odd["where"] == f"column a ({tmp_path / 'big' / '1.csv'}, line {out[-200] - 2500 + 2})"
    constant = [w["message"] for w in report["warnings"] if w["code"] == "W-CONSTANT"]
    assert any("not in all rows" in message for message in constant)


def test_whatif_changes_the_moments_of_all_rows(
    data: Path,
    large: AuditResult,
    refitted: ClosedFormClassifier,
    whole: Any,
    tmp_path: Path,
) -> None:
    codes, rows = whole[0].copy(), whole[1]
    held = load_evidence(large.folder).kept
    names = ("high", "low", "mid")
    item = large.report["flags"]["items"][0]
    kept = next(row for row in held.tolist() if row + 1 != item["row"])
    at = [int(np.flatnonzero(rows == row)[0]) for row in (item["row"] - 1, kept)]
    fixes = tmp_path / "fixes.csv"
    edits = [
        ("row", "label", "new_label"),
        (item["row"], item["label"], item["suggested"]),
        (kept + 1, names[codes[at[1]]], "drop"),
    ]
    fixes.write_text("".join(",".join(map(str, edit)) + "\n" for edit in edits))
    answer = whatif(large.folder, fixes)
    X = load_classifier(large.folder).encoder.transform(read_files([data])).take(rows, axis=0)
    codes[at[0]] = names.index(item["suggested"])
    stays = np.delete(np.arange(len(codes)), at[1])
    again = refitted.refit(X[stays], codes[stays])
    compared = np.flatnonzero(np.isin(rows[stays], held) & (rows[stays] != item["row"] - 1))
    assert answer["sample"]
    assert (answer["relabelled"], answer["dropped"]) == (1, 1)
    assert answer["rows_compared"] == len(compared)
    own = again.loo_proba_[compared, codes[stays][compared]]
    assert answer["after"]["log_loss"] == pytest.approx(-np.log(own).mean(), abs=1e-9)
    steps = large.report["flags"]["what_if"]
    assert steps[-1]["fixed"] == round(large.report["flags"]["expected_wrong"])


def test_what_is_refused(data: Path, tmp_path: Path, large: AuditResult) -> None:
    with pytest.raises(ArgumentError, match="hold must be a whole number"):
        AuditOptions(hold=0)
    with pytest.raises(DataError, match="one of the 6 columns"):
        audit(options_of(data, label="Y"), tmp_path / "run")
    with pytest.raises(DataError, match="looks like regression"):
        audit(options_of(data, label="a"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_columns_are_tested_on_a_sample(data: Path) -> None:
    how = Screening(permutations=19)
    options = DependOptions(data=data, target="y", how=how, hold=HOLD)
    found = depend_only(options, Silent(), SerialExecutor()).report
    assert found["data"]["rows"] == N
    assert found["data"]["rows_held"] == 1000
    assert {row["column"] for row in found["depend"]} == {"a", "b", "c", "color"}


_LIMITED = """
import re, resource, sys
from pathlib import Path
from trivium.audit import AuditOptions, audit
held = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + 250_000_000,) * 2)
data, out, hold = sys.argv[1:]
how = dict(label="y", folds=2, permutations=19, hold=int(hold))
report = audit(AuditOptions(data=Path(data), **how), Path(out)).report
print(report["data"]["rows"], report["scores"]["loo"]["accuracy"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA bounds all memory on Linux only")
def test_a_table_larger_than_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "big"
    folder.mkdir()
    for part in range(10):
        X = rng.normal(size=(20_000, 9))
        y = np.where(X[:, 0] + rng.normal(size=len(X)) > 0, "up", "down")
        columns = {f"x{i}": X[:, i] for i in range(9)} | {"y": y}
        pq.write_table(pa.table(columns), folder / f"{part}.parquet")

    def run(hold: int) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-c", _LIMITED, str(folder), str(tmp_path / str(hold)), str(hold)]
        # Arrow's own pools take a gigabyte of addresses at once.
        env = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"}
        return subprocess.run(call, env=env, capture_output=True, text=True, check=False)

    found = run(30_000)
    assert found.returncode == 0, found.stderr[-2000:]
    rows, accuracy = found.stdout.split()
    assert int(rows) == 200_000
    assert float(accuracy) == pytest.approx(0.75, abs=0.005)
    whole = run(10_000_000)
    assert whole.returncode != 0
    assert "memory" in whole.stderr.lower()
