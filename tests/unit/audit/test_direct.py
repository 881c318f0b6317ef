"""A large table of Parquet numbers: the run and its predictions are those of their text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trivium._core.errors import TriviumWarning
from trivium.audit import AuditOptions, audit
from trivium.audit.predict_verb import predict_files
from trivium.table import ReadOptions, read_block

N = 300


def write(folder: Path) -> Path:
    """Three files: numbers of every type, some of another type in the next file.

    The apples are in a row that the sample does not have.
    """
    folder.mkdir()
    for part in range(3):
        rng = np.random.default_rng(part)
        z = rng.normal(size=N)
        some = rng.random(N) < 0.05
        odd = np.where(rng.random(N) < 0.01, np.inf, z + rng.normal(size=N))
        mixed = np.round(10 * z + rng.normal(size=N))
        columns: dict[str, Any] = {
            "short": pa.array((z + rng.normal(size=N)).astype("f4"), mask=some),
            "half": pa.array((z + rng.normal(size=N)).astype("f2")),
            "odd": pa.array(odd),
            "gone": pa.array(np.where(some, np.nan, rng.normal(size=N))),
            "whole": pa.array(mixed.astype("i8"), mask=rng.random(N) < 0.05),
            "large": pa.array((np.abs(z) * 2.0**60 // 2**58 * 2**58 + 2**54).astype("u8")),
            "price": pa.array(rng.integers(0, 900, N)).cast(pa.decimal128(21, 2)),
            "few": pa.array(rng.integers(0, 4, N).astype("i2")),
            "rare": pa.array(np.where(np.arange(N) == 7 * (part == 2), -0.0, 0.0)),
            "yes": pa.array(z + rng.normal(size=N) > 0),
            "mixed": [
                pa.array(mixed),
                pa.array(mixed.astype("i4")),
                pa.array(["7", "7 apples", *mixed.astype("i4").astype(str)[2:]]),
            ][part],
            "y": pa.array(np.where(some, np.nan, np.where(z + 0.5 * rng.normal(size=N) > 0, 2, 1))),
        }
        pq.write_table(pa.table(columns), folder / f"{part}.parquet", row_group_size=200)
    return folder


def files_of(run: Path) -> dict[str, bytes]:
    """Return what a run wrote, but for the report and its page, which have times."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name not in {"report.json", "report.html"}
    }


def run_of(data: Path, out: Path, without_clock: Callable[[Any], Any]) -> tuple:
    """Audit a table and predict it: the report, the files, the predictions, what was said."""
    hold = 200 * 12
    read = ReadOptions(category=("few",))
    how = AuditOptions(data=data, label="y", folds=2, permutations=19, hold=hold, read=read)
    found = audit(how, out)
    header, rows = predict_files(out, [data], read, hold=hold)
    with pytest.warns(TriviumWarning) as said:
        predicted = list(rows)
    messages = [str(each.message) for each in said]
    return without_clock(found.report), files_of(out), header, predicted, messages


def test_the_run_is_that_of_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_clock: Callable[[Any], Any]
) -> None:
    data = write(tmp_path / "data")
    direct = run_of(data, tmp_path / "direct", without_clock)
    asked: list[bool] = []

    def text(block: Any, *, numbers: bool) -> Any:
        asked.append(numbers)
        return read_block(block)

    for module in ("large_read", "large_rows"):
        monkeypatch.setattr(f"trivium.audit.{module}.read_block", text)
    by_text = run_of(data, tmp_path / "text", without_clock)
    assert len(asked) >= 4 * 3
    assert all(asked)
    report, files, *predictions = direct
    assert report["sample"]["rows"] < report["sample"]["of"]
    assert {"fixes.csv", "rows.csv"} < set(files)
    assert any("1 cell with no integer" in said for said in predictions[-1])
    assert report == by_text[0]
    assert files == by_text[1]
    assert predictions == list(by_text[2:])
