"""Files of all sorts that a reader may stumble over, each from its seed alone.

Half of them are well made from a table that is known, so that what must be read is known too; the
other half is mutated by bytes, lines or encodings.
"""

import bz2
import datetime as dt
import decimal
import gzip
import io
import itertools
import json
import lzma
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather, orc

NUMBERS = [
    *("0", "-0", "+1", "1.", ".5", "1e5", "1E+05", "0.10", " 1 ", "\t2", "1e400", "-1e400"),
    *("1e-400", "007", "-007", "00", "0.0", "1_000", "0x10", "1,5", "1.000,5", "1 2", "１２"),
    *("--1", "1e", "e1", "inf", "-Infinity", "nan", "NaN", "INF", ".", "-", "1" * 400),
    *("0." + "3" * 60, "9223372036854775807", "9223372036854775808"),
    *("18446744073709551615", "9007199254740993"),
    *("18446744073709551616", "-9223372036854775808", "-9223372036854775809", "5e-324"),
    "1.7976931348623157e308",
]  # fmt: skip
DATES = [
    *("2024-02-29", "2023-02-29", "0001-01-01", "0000-01-01", "9999-12-31", "1582-10-10"),
    *("2024-1-1", "1970-01-01T00:00:00Z", "2024-12-31T23:59:60Z", "2024-12-31T24:00:00"),
    *("24-01-01", "2024-13-01", "03/04/2024", "13/04/2024", "04/13/2024", "05/05/2024"),
    *("31.12.1999", "Mar 5, 2024", "2024-01-01T12:00+14:00"),
    *("2024-01-01 12:00 -14:00", "10000-01-01"),
    *("2024-01-01T12:00+25:00", "2024-01-01T00:00:00.123456789Z", "1677-09-21", "2262-04-12"),
    *("2024/02/03", "1-Jan-2024"),
]  # fmt: skip
WORDS = [
    *("", "a", "b", "NA", "null", "None", "nan", "?", "N/A", "true", "False", "é", "İ", "ß"),
    *("\u2028", " x ", "x\ty", 'say "hi"', "a,b", "a;b|c", "line\nbreak", "cr\rhere"),
    *("crlf\r\nhere", "=1+1", "<b>", "\0", "\x1a", "\ufeff", "\u200b", "😀", "\x85", "\x1c"),
    *("\x0c", "w" * 5000, "'", "\\", "\\N", "日本語", '"', '""'),
    *("a b c d e f", " ", "\n", "e\u0301", "\x7f"),
    *("#x", "{", "[1]"),
]  # fmt: skip
PLAIN = ["red", "green", "blue", "x y", "Zürich", "no"]
FLAVORS = ("int", "float", "date", "slash", "word", "plain", "wild", "id", "empty", "same", "code")
ENCODINGS = ("utf-8-sig", "utf-16", "utf-32", "utf-16-le", "latin-1", "cp1252", "gb18030")
TOKENS = [
    *(b'"', b'""', b",", b";", b"\t", b"\r", b"\n", b"\r\n", b"\0", b"\\", b"\xef\xbb\xbf"),
    *(b"\xff\xfe", b"\x1f\x8b", b"PAR1", b"PK\x03\x04", b"\xed\xa0\x80", b"NaN", b"1e400"),
    *(b"9" * 40, b"{", b"}", b"[", b"]", b":", b"null", b'{"x":', b'"\\ud800"', b"[" * 3000),
    *(b'{"a":' * 2000, b"\x85", b"," * 999),
]  # fmt: skip


@dataclass
class Case:
    """A file: its name, its bytes, and where it is well made the table that it says."""

    name: str
    data: bytes
    names: list[str] | None = None
    columns: list[list[Any]] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    """The same rows as several files; not of a file that is mutated."""


def cell(rng: random.Random, flavor: str, row: int) -> str:
    """Return one cell of a column of this flavor."""
    if flavor == "wild":
        return rng.choice(rng.choice([NUMBERS, DATES, WORDS]))
    if rng.random() < 0.04:
        return rng.choice(["", "NA", rng.choice(NUMBERS), rng.choice(DATES), rng.choice(WORDS)])
    day = dt.date.fromordinal(rng.randrange(1, 3652059))
    float_ = rng.choice([rng.gauss(0, 1), rng.uniform(-1e9, 1e9), 10 ** rng.uniform(-320, 308)])
    second = rng.choice([1, 5, 12, 12, 28 if row % 7 == 0 else 3])
    return {
        "int": str(rng.randrange(-50, 50)),
        "float": repr(float_),
        "date": day.isoformat() + rng.choice(["", "", "T01:02", " 23:59:59.5Z", "T00:00:00+05:30"]),
        "slash": f"{rng.randrange(1, 13):02d}/{second:02d}/2024",
        "word": rng.choice(WORDS),
        "plain": rng.choice(PLAIN),
        "id": str(row + 1),
        "empty": "",
        "same": "k",
        "code": f"{rng.randrange(100):03d}",
    }[flavor]  # fmt: skip


def table(rng: random.Random) -> tuple[list[str], list[list[str]]]:
    """Return names and columns of text."""
    n_columns = rng.choice([1, 1, 2, 3, 4, 6, 300 if rng.random() < 0.05 else 5])
    n_rows = rng.choice([0, 1, 2, 3, 7, 20, 60, 300 if n_columns < 10 else 9])
    pool = [
        "x",
        "y",
        "date",
        "id",
        "Ä",
        "a b",
        "c,d",
        'q"q',
        "l\nm",
        "NA",
        "1",
        "=x",
        "\u202e",
        "x.y",
    ]
    names = rng.sample(pool, min(n_columns, len(pool)))
    names += [f"c{i}" for i in range(len(names), n_columns)]
    if rng.random() < 0.03:
        names[-1] = rng.choice(["", names[0], " "])
    flavors = [rng.choice(FLAVORS) for _ in names]
    return names, [[cell(rng, flavor, row) for row in range(n_rows)] for flavor in flavors]


# ---- text ---------------------------------------------------------------------------------


def delimited(rng: random.Random) -> Case:
    """A CSV, quoted where it must be and now and then where it need not."""
    names, columns = table(rng)
    delimiter = rng.choice([",", ",", ";", "\t", "|"])
    end = rng.choice(["\n", "\n", "\r\n", "\r", None])  # None: mixed
    often = rng.choice([0, 0, 0.3, 1])

    def written(text: str) -> str:
        must = any(mark in text for mark in (delimiter, '"', "\r", "\n"))
        must = must or (len(names) == 1 and not text.strip())
        if must or rng.random() < often:
            return '"' + text.replace('"', '""') + '"'
        return text

    def lines(rows: list[tuple[str, ...]]) -> str:
        found = ""
        for row in [tuple(names), *rows]:
            found += delimiter.join(map(written, row)) + (end or rng.choice(["\n", "\r\n", "\r"]))
            if blanks and rng.random() < 0.2:
                found += rng.choice(["\n", "\r\n", "\n" if len(names) == 1 else "  \n"])
        return found

    blanks = rng.random() < 0.2
    rows = list(zip(*columns, strict=True))
    text = lines(rows)
    if rng.random() < 0.3 and not text.endswith('"\n'):
        text = text.rstrip("\r\n") if text.strip("\r\n")[-1:] not in ("", delimiter) else text
    options = {"delimiter": delimiter, "rename_duplicates": True}
    encoding = "utf-8" if rng.random() < 0.75 else rng.choice(ENCODINGS)
    try:
        data = text.encode(encoding)
    except UnicodeError:
        encoding, data = "utf-8", text.encode()
    if encoding not in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        options["encoding"] = encoding
    cut = sorted(rng.randrange(len(rows) + 1) for _ in range(rng.choice([0, 1, 2])))
    edges = itertools.pairwise([0, *cut, len(rows)])
    parts = [lines(rows[a:b]).encode(encoding) for a, b in edges if b > a]
    name = "a.tsv" if delimiter == "\t" else rng.choice(["a.csv", "a.csv", "a.txt", "a"])
    known = any(name.strip() for name in names)  # else they are a blank line
    return Case(name, data, names if known else None, columns, options, parts)


def _json_text(rng: random.Random, text: str) -> tuple[str, Any]:
    """Return a JSON value that holds a text, and what must be read."""
    way = rng.random()
    if way < 0.1:
        return "null", None
    if way < 0.15:
        return rng.choice([("true", "true"), ("false", "false")])
    if text.strip("-0123456789.eE+") == "":
        try:
            json.loads(text)
        except ValueError:
            pass
        else:
            return text, text
    if text in ("NaN", "-Infinity"):
        return text, text
    return json.dumps(text, ensure_ascii=rng.random() < 0.5), text


def json_lines(rng: random.Random) -> Case:
    """JSON lines: keys come and go, numbers stand as they are written."""
    names, columns = table(rng)
    names = list(dict.fromkeys(name or "blank" for name in names))
    columns = columns[: len(names)]
    end = rng.choice(["\n", "\n", "\r\n"])
    rows: list[dict[str, Any]] = []
    lines = []
    lacks = rng.choice([0, 0, 0.1, 0.5])
    for texts in zip(*columns, strict=True):
        row, pairs = {}, []
        for name, text in zip(names, texts, strict=True):
            if rng.random() < lacks:
                continue
            value, row[name] = _json_text(rng, text)
            pairs.append(f"{json.dumps(name)}:{rng.choice(['', ' '])}{value}")
        if rng.random() < 0.1:
            rng.shuffle(pairs)
            row = {json.loads("{" + pair + "}").popitem()[0]: None for pair in pairs} | row
        rows.append(row)
        lines.append("{" + ", ".join(pairs) + "}")
    if rng.random() < 0.05 and lines:
        lines[rng.randrange(len(lines))] += rng.choice([" ", "{}", "\t", ",", "x", " \n\n"])
        rows = []
    header = list(dict.fromkeys(key for row in rows for key in row))
    read = [[row.get(key) for row in rows] for key in header]
    text = end.join(lines) + (end if rng.random() < 0.8 else "")
    encoding = rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"])
    cut = rng.randrange(len(lines) + 1)
    halves = [part for part in (lines[:cut], lines[cut:]) if part] if rows else []
    parts = [(end.join(part) + end).encode(encoding) for part in halves]
    known = header if rows and header else None
    return Case(rng.choice(["a.jsonl", "a.ndjson"]), text.encode(encoding), known, read, {}, parts)


# ---- Parquet --------------------------------------------------------------------------------

TYPES: list[tuple[pa.DataType, Any]] = [
    (pa.int8(), lambda r: r.randrange(-128, 128)),
    (pa.int64(), lambda r: r.choice([0, -1, 2**63 - 1, -(2**63), r.randrange(-9, 9)])),
    (pa.uint64(), lambda r: r.choice([0, 2**64 - 1, r.randrange(9)])),
    (pa.float32(), lambda r: r.choice([0.5, -0.0, float("nan"), float("inf"), 1e30, r.random()])),
    (pa.float64(), lambda r: r.choice([0.1, -0.0, float("nan"), -float("inf"), 5e-324])),
    (pa.float16(), lambda r: r.choice([0.5, 1.0, float("nan"), 65504.0])),
    (pa.bool_(), lambda r: r.random() < 0.5),
    (pa.string(), lambda r: r.choice(r.choice([WORDS, NUMBERS, DATES, PLAIN]))),
    (pa.large_string(), lambda r: r.choice(PLAIN)),
    (pa.string_view(), lambda r: r.choice(PLAIN)),
    (pa.binary(), lambda r: r.choice([b"", b"ab", b"\xff", b"\xc3\xa9"])),
    (pa.binary(2), lambda r: r.choice([b"ab", b"\xc3\xa9"])),
    (pa.dictionary(pa.int32(), pa.string()), lambda r: r.choice(PLAIN)),
    (pa.dictionary(pa.int8(), pa.int64()), lambda r: r.randrange(5)),
    (pa.decimal128(20, 3), lambda r: decimal.Decimal(r.randrange(-(10**12), 10**12)).scaleb(-3)),
    (pa.decimal256(60, 0), lambda r: decimal.Decimal(r.randrange(10**50))),
    (pa.date32(), lambda r: dt.date.fromordinal(r.randrange(1, 3652059))),
    (pa.timestamp("us"), lambda r: r.choice([-(2**61), 2**61, -62135596800000000, 7])),
    (pa.timestamp("ns", "Europe/Zurich"), lambda r: r.choice([-(2**62), 2**62, 17118468 * 10**11])),
    (pa.timestamp("ms", "+05:30"), lambda r: r.randrange(-(10**12), 10**13)),
    (pa.time64("us"), lambda r: r.randrange(86_400_000_000)),
    (pa.duration("s"), lambda r: r.randrange(-9, 10**6)),
    (pa.null(), lambda r: None),
    (pa.list_(pa.int64()), lambda r: [1, 2]),
    (pa.struct([("a", pa.int64())]), lambda r: {"a": 1}),
    (pa.map_(pa.string(), pa.int64()), lambda r: [("k", 1)]),
]  # fmt: skip
if hasattr(pa, "json_"):  # not in the oldest pyarrow
    TYPES += [(pa.uuid(), lambda r: r.randbytes(16)), (pa.json_(), lambda r: "{}")]


def parquet(rng: random.Random) -> Case:
    """A Parquet file of columns of all types."""
    n_columns = rng.choice([0, 1, 2, 3, 5, 200 if rng.random() < 0.05 else 4])
    n_rows = rng.choice([0, 1, 2, 5, 30, 200, 3000 if n_columns < 3 and rng.random() < 0.1 else 4])
    calm = rng.random() < 0.7
    names = rng.sample(["x", "y", "d", "id", "x.y", "Ä", "", "a b", "NA"], min(n_columns, 9))
    names += [f"c{i}" for i in range(len(names), n_columns)]
    if rng.random() < 0.05 and n_columns > 1:
        names[-1] = names[0]
    fields, arrays, columns = [], [], []
    for name in names:
        kind, make = rng.choice(TYPES[: 23 if calm else None])
        nulls = rng.choice([0, 0, 0.2, 1 if rng.random() < 0.2 else 0])
        values = [None if rng.random() < nulls else make(rng) for _ in range(n_rows)]
        storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
        array = pa.array(values, storage)
        if storage is not kind:
            array = pa.ExtensionArray.from_storage(kind, array)
        arrays.append(array)
        fields.append(pa.field(name, kind))
        columns.append(values)
    whole = pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def written(part: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        pq.write_table(
            part,
            sink,
            row_group_size=group,
            compression=compression,
            use_dictionary=dictionary,
            data_page_version=page,
            data_page_size=size,
            write_statistics=statistics,
            write_page_checksum=checksum,
            store_schema=schema,
        )
        return sink.getvalue().to_pybytes()

    group, compression = (
        rng.choice([1, 3, 50, 1000]),
        rng.choice(["none", "snappy", "zstd", "gzip"]),
    )
    dictionary, page, size = rng.random() < 0.5, rng.choice(["1.0", "2.0"]), rng.choice([1, 10**6])
    statistics, checksum, schema = rng.random() < 0.5, rng.random() < 0.5, rng.random() < 0.8
    try:
        data = written(whole)
    except (pa.ArrowException, OSError):
        return parquet(rng)
    cut = rng.randrange(n_rows + 1)
    parts = [written(part) for part in (whole.slice(0, cut), whole.slice(cut)) if part.num_rows]
    options = {"rename_duplicates": True}
    return Case(rng.choice(["a.parquet", "a.pq"]), data, names, columns, options, parts)


def foreign(rng: random.Random) -> Case:
    """A file of another sort, whatever its name says."""
    rows = pa.table({"x": [1, 2, 3], "y": ["a", "b", "c"]})
    sink = io.BytesIO()
    rng.choice(
        [
            lambda: feather.write_feather(rows, sink, version=2),
            lambda: feather.write_feather(rows, sink, version=1),
            lambda: orc.write_table(rows, sink),
            lambda: pa.ipc.new_stream(sink, rows.schema).write(rows),
            lambda: np.savez(sink, x=np.arange(3)),
            lambda: np.save(sink, np.arange(3)),
            lambda: sink.write(
                b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94\x8c\x01x\x94]\x94(K\x01K\x02es."
            ),
            lambda: sink.write(bz2.compress(b"x,y\n1,a\n2,b\n")),
            lambda: sink.write(lzma.compress(b"x,y\n1,a\n2,b\n")),
            lambda: sink.write(b"%PDF-1.7\n1,2\n"),
            lambda: sink.write(b'[{"x": 1},\n {"x": 2}]\n'),
            lambda: sink.write(b"<html>\n<table>,\n</table>,\n"),
        ]
    )()
    name = rng.choice(
        ["a", "a.csv", "a.parquet", "a.jsonl", "a.json", "a.npz", "a.feather", "a.txt"]
    )
    return Case(name, sink.getvalue())


# ---- harm -----------------------------------------------------------------------------------

WAYS = ("flip", "cut", "double", "noise", "end", "splice", "nul", "lines", "mark", "code", "long")


def harmed(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Change bytes, lines or the encoding, cut, splice."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(data) + 1)
        if data[:4] == b"PAR1" and rng.random() < 0.5:  # where a Parquet file says what it is
            at = rng.randrange(max(0, len(data) - 800), len(data) + 1)
        data = _harm(rng, rng.choice([*WAYS, "token", "token"]), data, at, other)
    return data


def _harm(rng: random.Random, way: str, data: bytes, at: int, other: bytes) -> bytes:
    if way == "lines":
        lines = data.split(b"\n")
        place = rng.randrange(len(lines))
        lines[place : place + 1] = [lines[place]] * rng.choice([0, 2, 3])
        return b"\n".join(lines)
    if way == "mark":
        text = data.decode("utf-8", "replace")
        return b"\xef\xbb\xbf" + text.encode("latin-1", "replace")
    if way == "code":
        return data.decode("latin-1").encode(rng.choice(ENCODINGS), "replace")
    more = rng.randrange(1, 60)
    before, after = data[:at], data[at:]
    flipped = bytes([after[0] ^ (1 << rng.randrange(8))]) if after else b""
    put = {
        "flip": flipped + after[1:],
        "cut": after[more:],
        "double": before[-more:] * rng.randrange(1, 4) + after,
        "noise": rng.randbytes(rng.choice([1, 2, more])) + after,
        "end": b"",
        "splice": other[rng.randrange(len(other) + 1) :],
        "nul": b"\0" * rng.choice([1, 3, 500]) + after,
        "long": rng.choice([b"x" * 70_000, b"1," * 5000, b'"' * 999]) + after,
        "token": rng.choice(TOKENS) + after,
    }
    return before + put[way]


MAKERS = (delimited,) * 6 + (json_lines,) * 4 + (parquet,) * 5 + (foreign,)


def case(seed: int) -> Case:
    """Return the case of a seed."""
    rng = random.Random(seed)
    made = rng.choice(MAKERS)(rng)
    if rng.random() < 0.5:
        other = rng.choice(MAKERS)(random.Random(seed + 1)).data
        options = made.options if rng.random() < 0.7 else {}
        made = Case(made.name, harmed(rng, made.data, other), None, None, options)
    if rng.random() < 0.15 and made.name != "a":
        data, parts = (
            gzip.compress(made.data, mtime=0),
            [gzip.compress(p, mtime=0) for p in made.parts],
        )
        if made.names is None and rng.random() < 0.5:
            data = harmed(rng, data, b"")
        made = Case(made.name + ".gz", data, made.names, made.columns, made.options, parts)
    return made
