"""Predictions of many files and of a table that is not held: the same rows, in order."""

import csv
import datetime as dt
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trivium._core.errors import DataError, TriviumWarning
from trivium.audit import AuditOptions, fit_only, predict_files
from trivium.audit.learnt_encoder import Learnt, LearntEncoder
from trivium.audit.state import Silent
from trivium.cli import main
from trivium.parallel import Executor, open_executor
from trivium.parallel.task import BlockTask, Outcome, WorkerLost
from trivium.table import Column, Kind, ReadOptions, TableEncoder, read_table

N = 600
HOLD = 1_000  # cells: far fewer than those of the files
Rows = list[list[Any]]


def columns(n: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n).round(3)
    color = rng.choice(["red", "green", "blue"], n, p=[0.6, 0.3, 0.1])
    day = [
        dt.date(2024, 1, 1) + dt.timedelta(days=int(i)) for i in np.sort(rng.integers(0, 700, n))
    ]
    words = rng.choice(["bar", "pool", "desk", "gym", "lift", "sauna"], size=(n, 5))
    y = np.where(a + 1.5 * (color == "red") > 0.8, "high", "low")
    return {
        "a": [f"{value}" for value in a],
        "color": color.tolist(),
        "day": [f"{one:%m/%d/%Y}" for one in day],
        "note": [" ".join(said) for said in words],
        "y": y.tolist(),
    }


def write_csv(path: Path, rows: dict[str, Any]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows)
        writer.writerows(zip(*rows.values(), strict=True))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    table = write_csv(folder / "t.csv", columns(N, 0))
    fit_only(AuditOptions(data=table, label="y"), folder / "model", Silent())
    return folder / "model"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files: CSV, Parquet of several row groups, CSV without the label."""
    folder = tmp_path_factory.mktemp("parts")
    whole = columns(N, 1)
    cut = [{k: v[i : i + 200] for k, v in whole.items()} for i in range(0, N, 200)]
    write_csv(folder / "0.csv", cut[0])
    pq.write_table(pa.table(cut[1]), folder / "1.parquet", row_group_size=70)
    write_csv(folder / "2.csv", cut[2])
    return folder


def predicted(model: Path, data: Sequence[Path], **how: Any) -> Rows:
    header, rows = predict_files(model, data, ReadOptions(), **how)
    assert header == ["row", "y", "p(high)", "p(low)"]
    return list(rows)


def test_files_are_one_table(model: Path, parts: Path) -> None:
    files = sorted(parts.iterdir())
    together = predicted(model, [parts])
    assert [row[0] for row in together] == list(range(1, N + 1))
    apart = [row for one in files for row in predicted(model, [one])]
    assert [row[1] for row in together] == [row[1] for row in apart]
    np.testing.assert_allclose(
        [row[2:] for row in together], [row[2:] for row in apart], rtol=0, atol=1e-12
    )
    hits = [row[1] == y for row, y in zip(together, columns(N, 1)["y"], strict=True)]
    assert np.mean(hits) > 0.9


def test_a_table_that_is_not_held_has_the_same_rows(model: Path, parts: Path) -> None:
    held, blocks = predicted(model, [parts]), predicted(model, [parts], hold=HOLD)
    assert [row[:2] for row in held] == [row[:2] for row in blocks]
    np.testing.assert_allclose(
        [row[2:] for row in held], [row[2:] for row in blocks], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_an_executor_changes_no_bit(name: str, model: Path, parts: Path) -> None:
    seen: list[tuple[int, int]] = []
    with open_executor(name, n_workers=2) as executor:
        found = predicted(
            model, [parts], hold=HOLD, executor=executor, progress=lambda *at: seen.append(at)
        )
    assert found == predicted(model, [parts], hold=HOLD)
    assert seen[-1] == (3, 3)


def test_a_lazy_reader_of_rows_may_stop(model: Path, parts: Path) -> None:
    _, rows = predict_files(model, [parts], ReadOptions(), hold=HOLD)
    assert next(rows)[0] == 1
    rows.close()  # type: ignore[attr-defined]


def test_odd_cells_of_all_blocks_are_said_once(model: Path, parts: Path, tmp_path: Path) -> None:
    rows = columns(N, 2)
    for at in (50, 250, 450):
        rows["a"][at] = "soon"
    paths = []
    for i in range(3):
        part = {k: v[200 * i : 200 * (i + 1)] for k, v in rows.items()}
        paths.append(write_csv(tmp_path / f"{i}.csv", part))
    with pytest.warns(TriviumWarning) as told:
        predicted(model, paths, hold=HOLD)
    said = [str(one.message) for one in told]
    assert len(said) == 1
    assert "0.csv, line 52): 3 cells with no number" in said[0]


def test_a_missing_column_is_refused_before_any_row(model: Path, tmp_path: Path) -> None:
    rows = columns(N, 3)
    del rows["color"]
    paths = [write_csv(tmp_path / f"{i}.csv", rows) for i in range(2)]
    with pytest.raises(DataError, match="missing 'color'"):
        predict_files(model, paths, ReadOptions(), hold=HOLD)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["predict", *(str(argument) for argument in arguments)])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_the_command_writes_whole_or_not_at_all(
    model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    assert call(model, parts, "--out", out, "--hold", HOLD) == 0
    assert f"{N} predictions in" in capsys.readouterr().out
    expected = predicted(model, [parts], hold=HOLD)
    with out.open(newline="") as file:
        written = list(csv.reader(file))[1:]
    assert [[int(row[0]), row[1], *map(float, row[2:])] for row in written] == expected
    before = out.read_bytes()
    assert call(model, parts, "--hold", HOLD) == 0
    assert capsys.readouterr().out == before.decode()
    good = write_csv(tmp_path / "0.csv", columns(N, 4))
    bad = tmp_path / "1.csv"
    bad.write_text(good.read_text() + "1,2\n")
    assert call(model, good, bad, "--out", out, "--force", "--hold", HOLD) == 3
    assert "1.csv" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.csv", "1.csv", "out.csv"]


def test_the_output_is_none_of_the_files(
    model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (parts / "2.csv").read_bytes()
    assert call(model, parts, "--out", parts / "2.csv", "--force") == 3
    assert "must not be the data that was read" in capsys.readouterr().err
    assert (parts / "2.csv").read_bytes() == before


class Moments(Learnt):
    """The moments of a date column, as a stage might have learnt from them."""

    way, kind = "moments", Kind.datetime
    names = ("seconds",)

    def how(self) -> str:
        return "seconds"

    def features(self, column: Column) -> np.ndarray:
        assert column.values is not None
        return column.values[:, None]

    def state(self) -> Any:
        raise AssertionError

    @classmethod
    def from_state(cls, *_: Any) -> Any:
        raise AssertionError


def test_what_was_learnt_reads_dates_as_its_encoder_does(tmp_path: Path) -> None:
    """One odd day in the first place must not turn the dates round for one of the two."""
    rows = columns(N, 5)
    base = TableEncoder().fit(read_table(write_csv(tmp_path / "t.csv", rows)).drop(["y"]))
    encoder = LearntEncoder(base, (Moments("day", np.zeros(1), 1.0, ()),))
    assert encoder.types["day"].date_order == "mdy"
    some = [at for at, day in enumerate(rows["day"]) if int(day[3:5]) <= 12][:20]
    few = {name: [cells[at] for at in some] for name, cells in rows.items()}
    right = encoder.transform(
        read_table(
            write_csv(
                tmp_path / "iso.csv",
                few | {"day": [f"{day[6:]}-{day[:2]}-{day[3:5]}" for day in few["day"]]},
            )
        )
    )
    odd = {name: [*cells, cells[0]] for name, cells in few.items()}
    odd["day"][-1] = "28/01/2024"
    table = read_table(write_csv(tmp_path / "odd.csv", odd))
    assert table.column("day").date_order == "dmy"
    with pytest.warns(TriviumWarning, match="'28/01/2024'"):
        found = encoder.transform(table)
    np.testing.assert_array_equal(found[:-1], right)


def test_an_order_of_dates_is_that_of_all_blocks(tmp_path: Path) -> None:
    """Dates in ISO taught no order: one file in four tells how those of the others are meant."""
    rows = columns(N, 6)
    iso = [f"{day[6:]}-{day[:2]}-{day[3:5]}" for day in rows["day"]]
    odd = np.random.default_rng(6).random(N) < 0.1  # else the day would be left out as a leak
    rows["y"] = [
        "low" if (day[5:7] > "06") != no else "high" for day, no in zip(iso, odd, strict=True)
    ]
    fit_only(
        AuditOptions(data=write_csv(tmp_path / "t.csv", rows | {"day": iso}), label="y"),
        tmp_path / "model",
        Silent(),
    )
    early = [at for at, day in enumerate(iso) if int(day[8:]) <= 12]
    late = [at for at, day in enumerate(iso) if int(day[8:]) > 12]
    slashed = [f"{day[8:]}/{day[5:7]}/{day[:4]}" for day in iso]
    for data, days in (("new", slashed), ("same", iso)):
        (tmp_path / data).mkdir()
        for i, (cells, some) in enumerate(
            ((iso, early[:9]), (days, early[9:20]), (days, late[:9]), (days, early[20:30]))
        ):
            part = {
                name: [cells[at] for at in some] for name, cells in (rows | {"day": cells}).items()
            }
            write_csv(tmp_path / data / f"{i}.csv", part)
    right = predicted(tmp_path / "model", [tmp_path / "same"])
    assert predicted(tmp_path / "model", [tmp_path / "new"]) == right
    seen: list[tuple[int, int]] = []
    found = predicted(
        tmp_path / "model", [tmp_path / "new"], hold=1, progress=lambda *at: seen.append(at)
    )
    assert [row[:2] for row in found] == [row[:2] for row in right]
    np.testing.assert_allclose(
        [row[2:] for row in found], [row[2:] for row in right], rtol=0, atol=1e-12
    )
    assert seen[-1] == (4, 4)
    (tmp_path / "new" / "2.csv").unlink()
    either = sum(slashed[at][:2] != slashed[at][3:5] for at in early[9:30])
    with pytest.warns(TriviumWarning, match=f" {either} cells with either day/month or month/day"):
        predicted(tmp_path / "model", [tmp_path / "new"], hold=1)


class FirstComesLast(Executor):
    """Its first worker is slow, and dies: block 0 ends after all that may run meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[int] = []

    def _run(
        self, task: BlockTask, blocks: Sequence[Any], queue: deque[int], shared: Any
    ) -> Generator[tuple[int, Outcome | WorkerLost]]:
        assert queue.popleft() == 0
        self.before = []
        while queue:
            self.before.append(number := queue.popleft())
            yield number, task(blocks[number], shared)
        yield 0, WorkerLost("it died")
        while queue:
            number = queue.popleft()
            yield number, task(blocks[number], shared)


def test_what_waits_for_a_late_block_is_bounded(model: Path, tmp_path: Path) -> None:
    whole, late = columns(N, 1), FirstComesLast()
    files = [
        write_csv(tmp_path / f"{i:02}.csv", {k: v[i * 50 : i * 50 + 50] for k, v in whole.items()})
        for i in range(12)
    ]
    told: list[tuple[int, int]] = []
    rows = predicted(
        model,
        files,
        hold=100,
        executor=late,
        progress=lambda done, total: told.append((done, total)),
    )
    assert rows == predicted(model, files)
    assert told[-1] == (12, 12)
    assert late.before == [1, 2, 3]
