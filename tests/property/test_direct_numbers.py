"""Numbers of Parquet that are read as they are, and those read by way of their text, are one."""

import csv
import datetime
import decimal
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trivium.audit.large_read import _same
from trivium.table import Column, Kind, ReadOptions, block_table, column_as, open_parts, read_block
from trivium.table.arrow import as_text, is_number, text_of, text_values

_SETTINGS = settings(
    deadline=None,
    max_examples=80,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_OPTIONS = (ReadOptions(), ReadOptions(missing=("1", "?")), ReadOptions(decimal=","))


def _integers(bits: int, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    edges = [v for e in (0, 1, 2**53 - 1, 2**53, 2**53 + 1) for v in (e, -e) if low <= v <= high]
    return st.one_of(st.sampled_from([*edges, low, high]), st.integers(low, high))


def _floats(width: int) -> st.SearchStrategy[float]:
    odd = st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), float("-inf")])
    return st.one_of(odd, st.floats(width=width), st.floats(-9, 9, width=width))


def _decimals(places: int) -> st.SearchStrategy[decimal.Decimal]:
    return st.integers(-(10**20), 10**20).map(lambda v: decimal.Decimal(v).scaleb(-places))


TYPES: dict[pa.DataType, st.SearchStrategy] = {
    **{getattr(pa, f"int{b}")(): _integers(b, signed=True) for b in (8, 16, 32, 64)},
    **{getattr(pa, f"uint{b}")(): _integers(b, signed=False) for b in (8, 16, 32, 64)},
    pa.float16(): _floats(16).map(np.float16),
    pa.float32(): _floats(32),
    pa.float64(): _floats(64),
    pa.decimal128(21, 0): _decimals(0),
    pa.decimal128(30, 9): _decimals(9),
    pa.decimal256(60, 20): _decimals(20),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(datetime.date(1900, 1, 1)),
    pa.timestamp("us"): st.datetimes(datetime.datetime(1900, 1, 1)),
    pa.string(): st.sampled_from(["1", "1.50", "x", "", "NA", "-0"]),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from(["1", "x", "2"]),
    pa.dictionary(pa.int32(), pa.int64()): st.integers(0, 3),
    pa.null(): st.none(),
}


@st.composite
def columns(draw: st.DrawFn, n: int | None = None) -> pa.Array:
    """Return a column of any type, with nulls, and often with few different values."""
    kind, values = draw(st.sampled_from(list(TYPES.items())))
    size = draw(st.integers(1, 12)) if n is None else n
    cells = st.lists(st.one_of(values, st.none()), min_size=size, max_size=size)
    if draw(st.booleans()):
        cells = st.lists(
            st.sampled_from([draw(values), draw(values)]), min_size=size, max_size=size
        )
    return pa.array(draw(cells), kind)


def bits(values: np.ndarray | None) -> list[int] | None:
    """Return the bits of numbers; every NaN has the same."""
    return (
        None if values is None else np.where(np.isnan(values), np.nan, values).view("i8").tolist()
    )


def facts(column: Column) -> tuple:
    """Return all that a column says."""
    texts = (column.texts(), column.strings.to_pylist(), column.source.to_pylist())
    codes, levels = column.codes()
    told = (column.kind, column.notes, column.date_order, len(column), column.n_distinct)
    return (*texts, codes.tolist(), levels, *told, bits(column.values), column.missing.tolist())


def same_column(cells: pa.Array, kind: Kind, options: ReadOptions) -> None:
    """Check that a column says the same as the column of its text, also at some of the rows."""
    direct = column_as(
        "x", cells if is_number(cells.type) else text_of("x", cells, ""), kind, options
    )
    by_text = column_as("x", text_of("x", cells, ""), kind, options)
    assert facts(direct) == facts(by_text)
    rows = np.arange(len(cells) - 1, -1, -2)
    assert facts(direct.take(rows)) == facts(by_text.take(rows))


@_SETTINGS
@given(columns(), st.sampled_from(list(Kind)), st.sampled_from(_OPTIONS))
@example(pa.array([0.1, None, -0.0], pa.float32()), Kind.number, ReadOptions())
@example(pa.array([2**53 + 1, 1], pa.uint64()), Kind.integer, ReadOptions())
@example(pa.array([1e300, float("inf"), 1.0]), Kind.number, ReadOptions())
@example(pa.array([1.0, 2.0]), Kind.integer, ReadOptions(missing=("1",)))
@example(pa.array([1.5, 2.0]), Kind.number, ReadOptions(decimal=","))
def test_a_column_says_what_its_text_says(
    cells: pa.Array, kind: Kind, options: ReadOptions
) -> None:
    same_column(cells, kind, options)


@pytest.mark.parametrize("dtype", ["i8", "u8", "f2", "f4", "f8"])
def test_many_numbers_of_any_bits(dtype: str) -> None:
    rng = np.random.default_rng(3)
    found = rng.integers(0, 256, 2000 * np.dtype(dtype).itemsize, dtype=np.uint8).view(dtype)
    tame = (rng.normal(size=2000) * 100).astype(dtype)
    for values in (found, tame):
        same_column(pa.array(values), Kind.number, ReadOptions())


def test_the_road_is_taken_where_it_may_be() -> None:
    read = partial(column_as, "x", kind=Kind.number)
    for kind in (pa.int64(), pa.float32(), pa.float64(), pa.decimal128(9, 2)):
        cells = pa.array([1, None, 3]).cast(pa.int8()).cast(kind, safe=False)
        assert read(cells).cells.type == kind
        assert pa.types.is_large_string(read(cells, options=_OPTIONS[1]).cells.type)
        assert pa.types.is_large_string(read(cells, options=_OPTIONS[2]).cells.type)
    assert pa.types.is_large_string(read(pa.array([2**53])).cells.type)
    assert pa.types.is_large_string(read(pa.array([float("inf"), 1.0])).cells.type)


def test_a_short_float_is_what_it_says_and_not_what_it_is() -> None:
    cells = pa.array([0.1, 16777216.0], pa.float32())
    values = text_values(cells)
    assert values is not None
    assert values.tolist() == [0.1, 16777216.0]
    assert cells.cast(pa.float64())[0].as_py() != 0.1


@settings(_SETTINGS, max_examples=20)
@given(st.data())
def test_blocks_of_files_whose_types_differ(tmp_path: Path, data: st.DataObject) -> None:
    """Also: few texts of a block are those of the whole, and what is constant is."""
    for part in range(2):
        n = data.draw(st.integers(1, 9))
        table = pa.table({name: data.draw(columns(n)) for name in "ab"})
        pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=4)
    kind = data.draw(st.sampled_from([Kind.number, Kind.integer, Kind.category]))
    for block in open_parts(tmp_path, block_bytes=80).blocks:
        by_text, direct = read_block(block), read_block(block, numbers=True)
        assert (direct.names, direct.n_rows) == (by_text.names, by_text.n_rows)
        table = block_table(block, dict.fromkeys("ab", kind))
        for name, texts, cells in zip("ab", by_text.cells, direct.cells, strict=True):
            assert as_text(cells).to_pylist() == texts.to_pylist()
            rows = pa.array(range(0, len(cells), 2))
            assert as_text(cells.take(rows)).to_pylist() == texts.take(rows).to_pylist()
            assert _same(cells) == _same(texts)
            assert facts(table.column(name)) == facts(column_as(name, texts, kind))


@settings(_SETTINGS, max_examples=40)
@given(columns())
def test_csv_of_the_same_cells_has_the_same_values(tmp_path: Path, cells: pa.Array) -> None:
    pq.write_table(pa.table({"x": cells, "n": range(len(cells))}), tmp_path / "t.parquet")
    rows = zip(text_of("x", cells, "").to_pylist(), range(len(cells)), strict=True)
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("x", "n"), *rows])
    one = ReadOptions(min_rows=1)
    blocks = [open_parts(tmp_path / name, one).blocks for name in ("t.parquet", "t.csv")]
    numbers, texts = (block_table(found[0], {"x": "number"}).column("x") for found in blocks)
    assert bits(numbers.values) == bits(texts.values)
    assert numbers.missing.tolist() == texts.missing.tolist()
