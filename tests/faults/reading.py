"""Reads hostile files in a process of its own and says what went wrong: `reading.py FIRST LAST`.

A file gives a table or a refusal by name. Read whole, in blocks of any size and as several files
it gives the same cells, kinds and values; and where the file is well made, or Python, Arrow or
pandas read the same shape from it, the same cells.
"""

import contextlib
import csv
import datetime as dt
import gzip
import io
import json
import math
import re
import resource
import sys
import tempfile
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

try:
    import polars as pl
except ImportError:
    pl = None
from hostile import Case, case

from trivium._core.errors import TriviumError
from trivium.table import (
    NumericReader,
    ReadOptions,
    Table,
    block_table,
    from_frame,
    gather,
    open_parts,
    read_block,
    read_files,
    read_table,
)

MEMORY = 4 << 30  # of address space, of which the allocator of Arrow reserves a part
GREW = 300_000  # KiB
SIZES = (1, 50, 700, 1 << 20)
NUMBERS = {"number", "integer"}


class FaultError(AssertionError):
    """What a reader must not do."""


def attempt(read: Callable[[], Any]) -> Any:
    """Return what was read, or the refusal."""
    try:
        return read()
    except TriviumError as error:
        if error.exit_code not in (3, 5) or "\n" in error.what or not error.where:
            raise FaultError(f"refused in another way: {error.as_dict()}") from error
        return error


def same(what: str, one: Any, other: Any) -> None:
    """Refuse two that differ."""
    if isinstance(one, np.ndarray):
        equal = one.shape == other.shape and np.array_equal(
            one, other, equal_nan=one.dtype.kind == "f"
        )
    else:
        equal = one == other
    if not equal:
        raise FaultError(f"{what} differ: {cut(one)} and {cut(other)}")


def cut(value: Any) -> str:
    return repr(value)[:300]


def same_tables(what: str, one: Table, other: Table, *, places: bool = True) -> None:
    """Refuse tables that differ in anything but their notices' order."""
    same(f"{what}: names", one.names, other.names)
    same(f"{what}: rows", one.n_rows, other.n_rows)
    for a, b in zip(one.columns, other.columns, strict=True):
        at = f"{what}: column {a.name!r}: "
        same(at + "cells", a.source.to_pylist(), b.source.to_pylist())
        same(at + "kinds", a.kind, b.kind)
        same(at + "missing", a.missing, b.missing)
        same(at + "values", a.values is None, b.values is None)
        if a.values is not None:
            same(at + "values", a.values, b.values)
        if places:
            same(at + "notes", a.notes, b.notes)
    if places and one.line_numbers is not None:
        same(f"{what}: lines", one.line_numbers, other.line_numbers)


def same_outcomes(what: str, one: Any, other: Any, *, places: bool = True) -> str | None:
    """Refuse a table here and a refusal there; return the codes where two refusals differ."""
    if isinstance(one, Table) and isinstance(other, Table):
        same_tables(what, one, other, places=places)
        return None
    if isinstance(one, TriviumError) and isinstance(other, TriviumError):
        return None if one.code == other.code else f"{what}: {one.code} and {other.code}"
    raise FaultError(f"{what}: {outcome(one)} and {outcome(other)}")


def outcome(found: Any) -> str:
    return f"a refusal ({found})" if isinstance(found, TriviumError) else "a table"


# ---- what is known ----------------------------------------------------------------------------


def says(  # noqa: PLR0911 - one for each type
    text: str | None, value: Any, kind: pa.DataType | None = None
) -> bool:
    """Whether a text says a value."""
    if text is None or value is None or value != value:  # noqa: PLR0124 - NaN is missing
        return text is None and (value is None or value != value)  # noqa: PLR0124
    if isinstance(value, bool):
        return text == str(value).lower()
    if isinstance(value, bytes | str):
        return text == (value.decode() if isinstance(value, bytes) else value)
    if isinstance(value, dt.date):
        return text == value.isoformat()
    if kind is not None and pa.types.is_temporal(kind):
        return _says_time(text, value, kind)
    if isinstance(value, int | Decimal):
        return Decimal(text) == value
    if kind is not None and kind.bit_width < 64:
        return bool(np.float32(text) == np.float32(value))
    return float(text) == value and math.copysign(1, float(text)) == math.copysign(1, value)


def _says_time(text: str, value: int, kind: pa.DataType) -> bool:
    if not pa.types.is_timestamp(kind):
        return not pa.types.is_duration(kind) or int(text) == value
    if "out of range" in text:
        return str(value) in text
    zone = np.timedelta64(0)
    text = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text)
    if kind.tz is not None and not text.endswith("Z"):
        offset = dt.datetime.strptime(text[-6:], "%z").utcoffset()
        text, zone = text[:-6], np.timedelta64(offset)
    moment = np.datetime64(text.removesuffix("Z").replace(" ", "T"), kind.unit) - zone
    return int(moment.astype(f"datetime64[{kind.unit}]").astype(np.int64)) == value


def unpacked(made: Case) -> bytes:
    """Return the bytes that a packed file holds, as far as it is whole."""
    with contextlib.suppress(OSError, EOFError, zlib.error):
        return gzip.decompress(made.data) if made.name.endswith(".gz") else made.data
    return b""


def as_written(table: Table, made: Case) -> None:
    """Refuse a table that is not the one that was written."""
    assert made.names is not None
    assert made.columns is not None
    if len(set(made.names)) == len(made.names) and all(name.strip() for name in made.names):
        same("names as written", table.names, tuple(made.names))
    same("columns as written", len(table.columns), len(made.columns))
    types: list[Any] = [None] * len(made.names)
    data = unpacked(made)
    if data[:4] == b"PAR1":
        types = pq.read_schema(io.BytesIO(data)).types
    for column, values, kind in zip(table.columns, made.columns, types, strict=True):
        found = column.source.to_pylist()
        same(f"rows of {column.name!r}", len(found), len(values))
        for row, (text, value) in enumerate(zip(found, values, strict=True)):
            if not says(text, value, kind):
                raise FaultError(f"column {column.name!r}, row {row}: {value!r} became {text!r}")


# ---- other readers ----------------------------------------------------------------------------


def others(made: Case, data: bytes) -> Iterator[tuple[str, list[str], list[list[Any]]]]:
    """Yield what other readers get from the bytes, as names and columns."""
    if data[:4] == b"PAR1":
        with contextlib.suppress(Exception):
            found = pq.read_table(io.BytesIO(data), use_threads=False)
            kinds = found.schema.types
            if not any(pa.types.is_temporal(kind) or pa.types.is_nested(kind) for kind in kinds):
                yield "Arrow", found.column_names, [c.to_pylist() for c in found.columns]
        return
    try:
        text = data.decode(made.options.get("encoding", "utf-8-sig"))
    except UnicodeError:
        return
    if "jsonl" in made.name or "ndjson" in made.name or (made.name == "a" and text[:1] == "{"):
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            lines = [line for line in io.StringIO(text, newline="") if line.strip()]
            rows = [
                json.loads(x, parse_int=str, parse_float=str, parse_constant=str) for x in lines
            ]
            names = list(dict.fromkeys(key for row in rows for key in row))
            yield "json", names, [[_scalar(row.get(name)) for row in rows] for name in names]
        return
    delimiter = made.options.get("delimiter")
    if delimiter is None:
        return
    with contextlib.suppress(csv.Error, StopIteration, ValueError):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        head = next(row for row in reader if any(map(str.strip, row)))
        rows = [r for r in reader if len(r) == len(head) or any(map(str.strip, r)) or len(r) > 1]
        yield "csv", head, [list(c) for c in zip(*rows, strict=True)]
    with contextlib.suppress(Exception):
        kinds = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(map(str, range(500)), pa.string()), strings_can_be_null=False
        )
        head, *_ = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        found = pa_csv.read_csv(
            io.BytesIO(text.encode()),
            pa_csv.ReadOptions(column_names=list(map(str, range(len(head))))),
            pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            kinds,
        )
        columns = [column.to_pylist() for column in found.columns]
        yield "Arrow", [c[0] for c in columns], [c[1:] for c in columns]
    with contextlib.suppress(Exception):
        frame = pd.read_csv(
            io.StringIO(text, newline=""),
            sep=delimiter,
            header=None,
            dtype=str,
            keep_default_na=False,
        )
        columns = [frame[name].tolist() for name in frame.columns]
        yield "pandas", [c[0] for c in columns], [c[1:] for c in columns]
    if pl is not None and "\r" not in text.replace("\r\n", "\n"):
        with contextlib.suppress(Exception):
            found = pl.read_csv(
                text.encode(), separator=delimiter, has_header=False, infer_schema=False
            ).fill_null("")
            columns = [column.to_list() for column in found.iter_columns()]
            yield "polars", [c[0] for c in columns], [c[1:] for c in columns]


def _scalar(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def as_others(table: Table, made: Case, data: bytes, tally: Counter[str]) -> None:
    """Refuse cells that another reader of the same shape has otherwise."""
    own = [column.source.to_pylist() for column in table.columns]
    kinds = pq.read_schema(io.BytesIO(data)).types if data[:4] == b"PAR1" else [None] * len(own)
    for reader, names, columns in others(made, data):
        shape = (len(names), len(columns[0]) if columns else 0)
        if shape != (len(own), table.n_rows):
            tally[f"{reader}: another shape"] += 1
            if reader in ("csv", "json"):
                raise FaultError(
                    f"{reader} reads another shape: {shape}, not {len(own), table.n_rows}"
                )
            continue
        tally[f"{reader}: compared"] += 1
        for name, ours, theirs, kind in zip(names, own, columns, kinds, strict=True):
            for row, (text, value) in enumerate(zip(ours, theirs, strict=True)):
                if not says(text, value, kind):
                    at = f"in {name!r}, row {row}"
                    raise FaultError(f"{reader} has {cut(value)} for {cut(text)} {at}")


# ---- one file -----------------------------------------------------------------------------------


def numbers_agree(table: Table, parts: Any) -> None:
    """Refuse numbers that the fast road reads otherwise."""
    names = tuple(c.name for c in table.columns if c.kind in NUMBERS)
    label = next((c.name for c in table.columns if c.kind == "category"), None)
    if not names:
        return
    read = NumericReader(names, label, "drop")
    rows = attempt(lambda: [rows for block in parts.streams() for rows in read(block)])
    if isinstance(rows, TriviumError):
        if rows.code == "E-NUL":
            return
        raise FaultError(f"numbers are refused: {rows}")
    values = np.column_stack([table.column(name).values for name in names])
    kept = np.isfinite(values).all(1)
    if label is not None:
        texts = table.column(label).source.to_pylist()
        kept &= [t is not None and t.strip() not in parts.options.tokens for t in texts]
    same("numbers: rows", [int(n) for r in rows for n in r.numbers], np.flatnonzero(kept).tolist())
    if not rows:
        return
    found = np.concatenate([r.x.numpy() for r in rows])
    short = [_is_short(parts, name) for name in names]
    exact = (
        np.where(short, np.float32(found), found),
        np.where(short, np.float32(values[kept]), values[kept]),
    )
    same("numbers: values", *exact)
    if label is not None:
        found = [str(r.y.levels[code]) for r in rows for code in r.y.codes]
        same("numbers: labels", found, [text for text, k in zip(texts, kept, strict=True) if k])


def _is_short(parts: Any, name: str) -> bool:
    """Whether a column is of floats shorter than 64 bits: their text is that of the short one."""
    part = parts.blocks[0].part
    if part.source.format != "parquet":
        return False
    data = part.source.path.read_bytes()
    data = gzip.decompress(data) if part.source.packed else data
    kind = pq.read_schema(io.BytesIO(data)).types[part.own.index(name)]
    return bool(pa.types.is_floating(kind) and kind.bit_width < 64)


def blocks_agree(table: Table, parts: Any) -> None:
    """Refuse blocks that, read as the kinds of the whole, have other values."""
    types = {column.name: column.type for column in table.columns}
    blocks = [block_table(block, types) for block in parts.blocks]
    for column in table.columns:
        pieces = [block.column(column.name) for block in blocks]
        cells = [text for piece in pieces for text in piece.source.to_pylist()]
        same(f"blocks: cells of {column.name!r}", column.source.to_pylist(), cells)
        if column.values is not None:
            values = np.concatenate([piece.values for piece in pieces])
            same(f"blocks: values of {column.name!r}", column.values, values)


def frames_agree(table: Table, data: bytes, options: ReadOptions) -> None:
    """Refuse frames of a Parquet file that are read otherwise, or that stumble."""
    if data[:4] != b"PAR1":
        return
    frame = pq.ParquetFile(io.BytesIO(data)).read(use_threads=False)
    same_outcomes(
        "file and frame", table, attempt(lambda: from_frame(frame, options)), places=False
    )
    try:
        other = frame.to_pandas()
    except (pa.ArrowException, ValueError, OverflowError):
        return
    attempt(lambda: from_frame(other, options))


def judged(made: Case, folder: Path, size: int, tally: Counter[str]) -> tuple[str, Table | None]:
    """Read a file in every way; return how it ended and the table, or raise."""
    if len(made.data) > 300_000:
        size = SIZES[-1]  # thousands of row groups, whose footer each block reads again
    path = folder / made.name
    path.write_bytes(made.data)
    options = ReadOptions(max_bytes=20_000_000, **made.options)
    whole = attempt(lambda: read_table(path, options))
    parts = attempt(lambda: open_parts(path, options, block_bytes=size))
    joined = parts
    if not isinstance(parts, TriviumError):
        joined = attempt(lambda: gather(parts, [read_block(b) for b in parts.blocks]))
    if note := same_outcomes("whole and in blocks", whole, joined):
        tally[note] += 1
    if isinstance(whole, TriviumError):
        few = made.columns is not None and (not made.columns or len(made.columns[0]) < 2)
        if made.names is not None and not few and whole.code not in ("E-NESTED", "E-TYPE"):
            raise FaultError(f"a good file is refused: {whole}")
        return whole.code, None
    numbers_agree(whole, parts)
    blocks_agree(whole, parts)
    frames_agree(whole, unpacked(made), options)
    if made.names is not None:
        as_written(whole, made)
    else:
        as_others(whole, made, unpacked(made), tally)
    if made.names is not None and len(made.parts) > 1:
        several = [folder / f"{number}-{made.name}" for number in range(len(made.parts))]
        for place, part in zip(several, made.parts, strict=True):
            place.write_bytes(part)
        found = attempt(lambda: read_files(several, options))
        if b"\0" in made.data and getattr(found, "code", "") == "E-ENCODING":
            return "a table", whole  # of a short file, many zeros
        same_outcomes("whole and as files", whole, found, places=False)
        tally["as files"] += 1
    return "a table", whole


def main(first: int, last: int) -> None:
    """Judge the cases of some seeds; a line before each that says which, a line for each fault."""
    warnings.simplefilter("ignore")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    tally: Counter[str] = Counter()
    for seed in range(first, last):
        print(json.dumps({"at": seed}), flush=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with tempfile.TemporaryDirectory() as place:
            made = Case("none", b"")
            try:
                made = case(seed)
                ended, _ = judged(made, Path(place), SIZES[seed % 4], tally)
                tally[ended] += 1
                grew = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
                # Arrow makes room for what the header of a damaged page says: up to 2 GiB.
                if grew > (GREW if ended != "E-DAMAGED" else 1 << 21):
                    raise FaultError(f"took {grew >> 10} MiB")
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                last_lines = "" if isinstance(error, FaultError) else traceback.format_exc()[-1500:]
                print(
                    json.dumps(
                        {
                            "fault": seed,
                            "name": made.name,
                            "size": len(made.data),
                            "what": f"{type(error).__name__}: {error}"[:1000],
                            "trace": last_lines,
                        }
                    ),
                    flush=True,
                )
    print(
        json.dumps({"tally": dict(tally), "cpu": sum(resource.getrusage(resource.RUSAGE_SELF)[:2])})
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
