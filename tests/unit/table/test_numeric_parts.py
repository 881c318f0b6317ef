"""Moments, the closed form and HSIC from files: as from memory, on any executor, resumed."""

import json
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError
from trivium._core.packed import pack
from trivium.closedform import ClosedFormClassifier
from trivium.dependence import HSICMoments
from trivium.moment import Moments, RowSample
from trivium.parallel import JoblibExecutor
from trivium.table import NumericParts, NumericReader, ReadOptions, open_parts
from trivium.table.block_work import BlockHSIC, BlockMoments, BlockSample

N, D = 700, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D)).astype(np.float32)
Y = np.array(["red", "green", "blue"])[(X @ RNG.standard_normal((D, 3)) * 3).argmax(1)]
NAMES = ["a", "b", "c"]


def write(folder, kind, n_files=2, group=60):
    """Write the rows in several files; return the parts."""
    for i, rows in enumerate(np.array_split(np.arange(N), n_files)):
        path = folder / f"{i}.{kind}"
        if kind == "parquet":
            table = pa.table([*X[rows].T.copy(), Y[rows]], names=[*NAMES, "color"])
            pq.write_table(table, path, row_group_size=group)
        elif kind == "csv":
            lines = (",".join([*map(repr, X[j].tolist()), Y[j]]) for j in rows)
            path.write_text(",".join([*NAMES, "color"]) + "\n" + "\n".join(lines))
        else:
            records = (dict(zip(NAMES, X[j].tolist(), strict=True), color=Y[j]) for j in rows)
            path.write_text("\n".join(map(json.dumps, records)))
    return open_parts(folder, block_bytes=2_000)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_moments_are_those_of_the_rows(tmp_path, kind):
    numbers = NumericParts(write(tmp_path, kind), label="color")
    found, expected = numbers.moments(classwise=True), Moments(D, classwise=True).update(X, Y)
    assert numbers.columns == tuple(NAMES)
    assert found.counts.tolist() == expected.counts.tolist()
    assert found.classes.tolist() == expected.classes.tolist()
    torch.testing.assert_close(found.means, expected.means, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.class_scatter, expected.class_scatter, rtol=1e-5, atol=1e-4)
    exact = Moments(D, dtype="float64").update(X, Y)
    if kind != "parquet":
        torch.testing.assert_close(found.means, exact.means, rtol=1e-12, atol=1e-13)
    unlabelled = NumericParts(numbers.parts, columns=["c", "a"]).moments()
    assert unlabelled.classes is None
    torch.testing.assert_close(unlabelled.mean, exact.mean[[2, 0]], rtol=1e-5, atol=1e-6)


def work(numbers):
    """Return the bits of everything that one pass can give."""
    fitted = numbers.fit(ClosedFormClassifier())
    hsic = numbers.hsic("a", ["b", "c"], n_features=8)
    states = (numbers.moments().state(), hsic.state())
    tensors = [value.numpy().tobytes() for state in states for value in state[0].values()]
    return tensors, fitted.coef_.tobytes(), fitted.loo_proba_.tobytes()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_same_bits_on_every_executor_and_resumed(tmp_path, kind):
    folder, journal = tmp_path / "data", tmp_path / "journal"
    folder.mkdir()
    parts = write(folder, kind)
    assert len(parts.streams()) > 6
    expected = work(NumericParts(parts, label="color"))
    with JoblibExecutor(3, "threading") as executor:
        assert work(NumericParts(parts, label="color", executor=executor)) == expected

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    for _ in range(3):
        killed = NumericParts(parts, label="color", journal=journal, progress=stop)
        with pytest.raises(KeyboardInterrupt):
            work(killed)
    seen = []
    again = NumericParts(
        parts, label="color", journal=journal, progress=lambda *counts: seen.append(counts)
    )
    assert work(again) == expected
    assert seen[0] == (4, len(parts.streams()))  # the finished ones were there already
    seen.clear()
    assert work(again) == expected
    assert all(done == total for done, total in seen)


def test_work_blocks_and_results_travel_between_processes(tmp_path):
    parts = write(tmp_path, "parquet")
    nothing = NumericParts(parts).hsic("a", "b", n_features=8)
    reader = NumericReader(tuple(NAMES), "color")
    for work in (
        BlockMoments(reader),
        BlockSample(BlockMoments(reader), RowSample(100, 0, N)),
        BlockHSIC(NumericReader(("a", "b")), 1, nothing),
    ):
        for block in parts.streams()[:2]:
            there, what = travel((block, work))
            assert len(ForkingPickler.dumps(block)) < 2_000
            assert bits(travel(what(there))) == bits(work(block))


def travel(thing):
    return ForkingPickler.loads(ForkingPickler.dumps(thing))


def bits(found):
    tensors, _ = pack(found.state())
    return [value.numpy().tobytes() for value in tensors.values()]


def test_the_fit_is_near_the_fit_of_the_rows_and_blind_to_the_cut(tmp_path):
    parts = write(tmp_path, "csv")
    fitted = NumericParts(parts, label="color").fit(ClosedFormClassifier())
    other = open_parts(tmp_path, block_bytes=9_000)
    coarse = NumericParts(other, label="color").fit(ClosedFormClassifier())
    whole = ClosedFormClassifier().fit(X.astype(float), Y)
    assert fitted.loo_rows_ == N
    np.testing.assert_allclose(fitted.coef_, whole.coef_, rtol=1e-6)
    np.testing.assert_allclose(coarse.coef_, fitted.coef_, rtol=1e-8)
    np.testing.assert_allclose(fitted.loo_proba_, whole.loo_proba_, atol=1e-6)


def test_hsic_is_that_of_the_rows(tmp_path):
    parts = write(tmp_path, "csv")
    found = NumericParts(parts, columns=["a"]).hsic("a", ["b", "c"], n_features=16)
    same = HSICMoments(found.features_x, found.features_y)
    same.update(X[:, :1].astype(float), X[:, 1:].astype(float))
    assert found.count == N
    assert found.statistic() == pytest.approx(same.statistic(), rel=1e-9)
    assert found.test().p_value == pytest.approx(same.test().p_value, rel=1e-6)


def test_parquet_types_are_kept_or_widened(tmp_path):
    path = tmp_path / "t.parquet"
    columns = {
        "f4": pa.array([1.5, 2.5], pa.float32()),
        "i2": pa.array([-3, 300], pa.int16()),
        "flag": pa.array([True, False]),
        "i8": pa.array([2**40, 1]),
        "money": pa.array([1, 2]).cast(pa.decimal128(19, 0)),
        "text": ["1.25", " 2"],
        "level": pa.array(["x", "x"]).dictionary_encode(),
        "whole": pa.array([7, 8], pa.int32()),
    }
    pq.write_table(pa.table(columns), path)
    (block,) = open_parts(path).blocks
    short = next(NumericReader(("f4", "i2", "flag"), "whole")(block))
    assert short.x.dtype == torch.float32
    assert short.x.tolist() == [[1.5, -3, 1], [2.5, 300, 0]]
    assert np.asarray(short.y).tolist() == ["7", "8"]
    wide = next(NumericReader(("i8", "money", "text"), "level")(block))
    assert wide.x.dtype == torch.float64
    assert wide.x.tolist() == [[2**40, 1, 1.25], [1, 2, 2]]
    assert np.asarray(wide.y).tolist() == ["x", "x"]


def rows_of(path, columns, label, missing="refuse", **options):
    parts = open_parts(path, ReadOptions(**options), block_bytes=12)
    reader = NumericReader(columns, label, missing)
    found = [rows for block in parts.streams() for rows in reader(block)]
    x = [row for rows in found for row in rows.x.tolist()]
    y = [label for rows in found for label in np.asarray(rows.y).tolist()]
    return x, y, [int(i) for rows in found for i in rows.numbers]


@pytest.mark.parametrize("kind", ["csv", "quoted", "jsonl", "parquet"])
def test_missing_cells_are_refused_by_place_or_dropped(tmp_path, kind):
    x, y = [1.0, None, 3.0, np.inf, 5.0, 6.0], ["a", "b", None, "d", "NA", "f"]
    path, place = tmp_path / f"t.{kind}", "line"
    if kind == "parquet":
        pq.write_table(pa.table({"x": x, "y": y}), path, row_group_size=1)
        place = "row"
    elif kind == "jsonl":
        texts = ["null" if v is None else "1e999" if v == np.inf else str(v) for v in x]
        lines = [f'{{"x":{t},"y":{json.dumps(v)}}}' for t, v in zip(texts, y, strict=True)]
        path.write_text("\n".join(lines))
    else:
        quote = '"' if kind == "quoted" else ""
        path = tmp_path / "t.csv"
        cells = [("" if v is None else str(v), w or "") for v, w in zip(x, y, strict=True)]
        path.write_text("x,y\n" + "".join(f"{v},{quote}{w}{quote}\n" for v, w in cells))
    assert rows_of(path, ("x",), "y", "drop") == ([[1.0], [6.0]], ["a", "f"], [0, 5])
    header = kind in {"csv", "quoted"}
    with pytest.raises(DataError, match="column 'x' is missing or not finite") as refused:
        rows_of(path, ("x",), "y")
    assert refused.value.where.endswith(f"{place} {2 + header}")
    with pytest.raises(DataError, match="column 'y' is missing") as refused:
        rows_of(_without(path, tmp_path, kind), ("x",), "y")
    assert refused.value.code == "E-MISSING"


def _without(path, folder, kind):
    """Write two rows, the second without a label."""
    other = folder / f"u{path.suffix}"
    if kind == "parquet":
        pq.write_table(pa.table({"x": [1.0, 2.0], "y": ["a", None]}), other)
    elif kind == "jsonl":
        other.write_text('{"x":1,"y":"a"}\n{"x":2}\n')
    else:
        other.write_text("x,y\n1,a\n2,\n")
    return other


def test_cells_that_are_no_numbers_are_refused_by_place(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,a\n\n2,b\nz,c\n")
    for missing in ("refuse", "drop"):
        with pytest.raises(DataError, match="column 'x' must hold numbers; got 'z'") as refused:
            rows_of(path, ("x",), "y", missing)
        assert refused.value.where.endswith("t.csv, line 5")
    other = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": ["1", "2", "z"], "y": [1, 2, 3]}), other, row_group_size=2)
    with pytest.raises(DataError, match="must hold numbers; got 'z'") as refused:
        rows_of(other, ("x",), "y")
    assert refused.value.where.endswith("t.parquet, row 3")


def test_decimal_commas(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x;y\n1,5;a\n2,25;b\n")
    assert rows_of(path, ("x",), "y", decimal=",")[0] == [[1.5], [2.25]]


def test_refusals(tmp_path):
    parts = write(tmp_path, "csv")
    with pytest.raises(ArgumentError, match="missing"):
        NumericReader(("a",), missing="guess")
    with pytest.raises(DataError, match="a column must be one of the 4"):
        NumericParts(parts, columns=["z"])
    with pytest.raises(ArgumentError, match="'a' twice"):
        NumericParts(parts, columns=["a", "a"])
    with pytest.raises(ArgumentError, match="at least one; got none"):
        NumericParts(parts, columns=[])
    with pytest.raises(ArgumentError, match="label must name a column"):
        NumericParts(parts, columns=["a"]).fit(ClosedFormClassifier())
    with pytest.raises(ArgumentError, match="'a' twice"):
        NumericParts(parts, columns=["a"]).hsic("a", "a")
    with pytest.raises(DataError, match="must hold numbers; got"):
        NumericParts(parts).moments()
