"""Dates by fitted waves: a period off the calendar is found, kept and saved; noise has none."""

import csv
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from trivium._core.errors import ModelError
from trivium.audit import AuditOptions, audit
from trivium.audit.learnt_encoder import LearntEncoder
from trivium.audit.saved import load_classifier
from trivium.table import Kind, ReadOptions, Table, read_table
from trivium.table.infer import column_as

PERIOD = 23.4


def write(path: Path, n: int, seed: int, strength: float) -> Path:
    rng = np.random.default_rng(seed)
    day = rng.integers(0, 900, n)
    p = 1 / (1 + np.exp(-strength * np.cos(2 * np.pi * day / PERIOD)))
    label = rng.random(n) < p
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["when", "size", "label"])
        for d, x, y in zip(day.tolist(), rng.normal(size=n), label, strict=True):
            when = date(2020, 3, 1) + timedelta(days=d)
            writer.writerow([when if x < 2 else "", f"{x:.2f}", "yes" if y else "no"])
    return path


def test_a_period_off_the_calendar_is_found_kept_and_saved(tmp_path):
    data = write(tmp_path / "waves.csv", 600, 0, 3.0)
    options = AuditOptions(data=data, label="label", permutations=199)
    report = audit(options, tmp_path / "run").report
    (found,) = report["encode"]["waves"]
    assert found["kept"] is True
    assert abs(found["periods"][0] - PERIOD) <= 0.1
    assert found["gain"] > 3 * found["standard_error"] > 0
    models = report["scores"]["models"]
    assert models["closed_form"]["accuracy"]["mean"] >= models["majority"]["accuracy"]["mean"] + 0.2
    table = read_table(write(tmp_path / "new.csv", 400, 1, 3.0), ReadOptions())
    saved = load_classifier(tmp_path / "run")
    assert isinstance(saved.encoder, LearntEncoder)
    codes, _ = saved.decide(table)
    truth = np.array(table.column("label").texts())
    assert (np.array(saved.classes)[codes] == truth).mean() >= 0.7
    assert saved.encoder.feature_names[-1].startswith("when: 23.")
    alone = table.take(np.arange(5))
    cells = alone.column("when").source
    read = [column_as("when", cells, kind, None) for kind in (Kind.datetime, Kind.category)]
    asked = [
        saved.encoder.transform(Table((column, alone.column("size")), alone.n_rows, "five"))
        for column in read
    ]
    assert np.array_equal(*asked)  # a column of another kind is read again
    tensors, manifest = saved.encoder.state()
    far = {n: np.full_like(a, np.inf) if n.endswith("center") else a for n, a in tensors.items()}
    with pytest.raises(ModelError, match="not finite"):
        LearntEncoder.from_state(far, manifest)
    broken = {n: -a if n.endswith("frequencies") else a for n, a in tensors.items()}
    with pytest.raises(ModelError, match="not positive"):
        LearntEncoder.from_state(broken, manifest)
    for dtype in (np.int64, np.complex128):
        other = {n: a.astype(dtype) if n.endswith("center") else a for n, a in tensors.items()}
        with pytest.raises(ModelError, match="not of real numbers"):
            LearntEncoder.from_state(other, manifest)
    manifest["learnt"][0]["column"] = "nowhere"
    with pytest.raises(ModelError, match="must be of its columns"):
        LearntEncoder.from_state(tensors, manifest)
    manifest["learnt"][0] |= {"column": "when", "scale": 10**400}  # JSON has such whole numbers
    with pytest.raises(ModelError, match="OverflowError"):
        LearntEncoder.from_state(tensors, manifest)
    manifest["learnt"][0]["way"] = "pickle"
    with pytest.raises(ModelError, match="must describe an encoder"):
        LearntEncoder.from_state(tensors, manifest)


def test_over_the_budget_nothing_is_searched(tmp_path):
    data = write(tmp_path / "waves.csv", 200, 0, 3.0)
    options = AuditOptions(data=data, label="label", permutations=199, budget=10**8)
    (found,) = audit(options, tmp_path / "run").report["encode"]["waves"]
    assert found["periods"] == []
    assert found["kept"] is False
    assert "over the budget" in found["why"]


def test_noise_has_no_waves(tmp_path):
    data = write(tmp_path / "noise.csv", 400, 3, 0.0)
    options = AuditOptions(data=data, label="label", permutations=199)
    (found,) = audit(options, tmp_path / "run").report["encode"]["waves"]
    assert found["kept"] is False
    assert found["periods"] == []
    assert "no frequency" in found["why"]
