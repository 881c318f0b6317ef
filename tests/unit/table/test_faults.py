"""The reading rows of the fault table of spec 0: one test id a row, refusal or notice and place."""

import gzip
import json
import re
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trivium._core.errors import DataError
from trivium.table import ReadOptions, inspect_columns, read_table, split_label

ROWS = "".join(f"{i * 7 % 11}.5,{'ab'[i % 2]}\n" for i in range(30))


def csv_of(cells, name="x"):
    """A table of one interesting column beside a label."""
    lines = [f"{name},y", *(f"{cell},{'ab'[i % 2]}" for i, cell in enumerate(cells))]
    return ("\n".join(lines) + "\n").encode()


def parquet_of(**columns):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def write(tmp_path, data, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


REFUSED = {
    # id: (bytes, file name, options, code, pattern in the message)
    "empty file": (b"", "data.csv", {}, "E-EMPTY", "empty"),
    "only blank lines": (b"\n\n", "data.csv", {}, "E-EMPTY", "no header"),
    "header only": (b"x,y\n", "data.csv", {}, "E-EMPTY", "no rows"),
    "one row": (b"x,y\n1,a\n", "data.csv", {}, "E-FEW-ROWS", "at least 2 rows; got 1"),
    "duplicate column names": (
        b"x,y,x\n1,a,2\n2,b,3\n",
        "data.csv",
        {},
        "E-DUPLICATE-NAME",
        r"'x' 2 times .*line 1, columns 1, 3.*--rename-duplicates",
    ),
    "row too long": (b"x,y\n1,a\n2,b,c\n", "data.csv", {}, "E-ROW-WIDTH", "long.*2.*got 3.*line 3"),
    "row too long after a cell of two lines": (
        b'x,y\n"1\n1",a\n\n2,b,c\n',
        "data.csv",
        {},
        "E-ROW-WIDTH",
        "line 5",
    ),
    "row too short": (b"x,y\n1,a\n2\n", "data.csv", {}, "E-ROW-WIDTH", "short.*got 1.*line 3"),
    "latin-1 bytes": (
        b"x,y\n1,a\n2,\xe9t\xe9\n",
        "data.csv",
        {},
        "E-ENCODING",
        "0xe9.*line 3.*--encoding latin-1",
    ),
    "GBK bytes": (
        "城市,y\n1,a\n北京,帝企鹅\n".encode("gbk"),
        "data.csv",
        {},
        "E-ENCODING",
        "0xb3.*line 1.*--encoding gb18030",
    ),
    "UTF-16 without a mark": (
        "x,y\n1,a\n2,b\n".encode("utf-16-le"),
        "data.csv",
        {},
        "E-ENCODING",
        "--encoding utf-16-le",
    ),
    "unclosed quote": (
        b'x,y\n1,a\n2,"b\n3,c\n',
        "data.csv",
        {},
        "E-OPEN-QUOTE",
        "never closed.*line 3",
    ),
    "unclosed quote in a long row": (
        b'x,y,z\n1,a,b\n"2\n2","b\n3,c\n',
        "data.csv",
        {},
        "E-OPEN-QUOTE",
        "line 4",
    ),
    "text after a closing quote": (b'x,y\n1,a\n2,"b"c\n', "data.csv", {}, "E-QUOTE", "line 3"),
    "JSONL bad line": (b'{"x":1}\n{"x":\n', "data.jsonl", {}, "E-JSON", "line 2"),
    "JSONL not an object": (b'{"x":1}\n[1]\n', "data.jsonl", {}, "E-JSON", "object.*line 2"),
    "JSONL duplicate key": (
        b'{"x":1}\n{"x":1,"x":2}\n',
        "data.jsonl",
        {},
        "E-JSON",
        "key 'x' twice.*line 2",
    ),
    "JSONL nested": (
        b'{"x":1}\n{"x":[1]}\n',
        "data.jsonl",
        {},
        "E-NESTED",
        "column 'x'.*line 2.*--drop",
    ),
    "JSONL nested beyond reason": (
        b'{"x":1}\n{"x":' + b"[" * 100_000 + b"\n",
        "data.jsonl",
        {},
        "E-JSON",
        "line 2",
    ),
    "JSONL lone surrogate": (b'{"x":"a"}\n{"x":"\\ud800"}\n', "d.jsonl", {}, "E-JSON", "line 2"),
    "nested Parquet column": (
        parquet_of(x=[1, 2], tags=[[1], [2]]),
        "data.parquet",
        {},
        "E-NESTED",
        "'tags'.*--drop",
    ),
    "truncated Parquet": (
        parquet_of(x=[1, 2], y=["a", "b"])[:-20],
        "data.parquet",
        {},
        "E-DAMAGED",
        "truncated or damaged",
    ),
    "Parquet of no mark": (b"hello world", "data.parquet", {}, "E-DAMAGED", "Parquet"),
    "truncated gzip": (
        gzip.compress(b"x,y\n" + ROWS.encode())[:-12],
        "data.csv.gz",
        {},
        "E-TRUNCATED",
        "truncated",
    ),
    "damaged gzip": (
        gzip.compress(b"x,y\n" + ROWS.encode())[:-8] + b"\0" * 8,
        "data.csv.gz",
        {},
        "E-DAMAGED",
        "damaged",
    ),
    "gzip bomb of many lines": (
        gzip.compress(b"x,y\n" + b"1,a\n" * 1_000_000),
        "data.csv.gz",
        {"max_bytes": 1_000_000},
        "E-TOO-LONG",
        "1,000,000 bytes when unpacked.*--max-bytes",
    ),
    "gzip bomb of one line": (
        gzip.compress(b"0" * 20_000_000),
        "data.csv.gz",
        {"max_bytes": 1_000_000},
        "E-TOO-LONG",
        "--max-bytes",
    ),
    "Parquet bomb": (
        parquet_of(x=pa.array([0] * 2_000_000)),
        "data.parquet",
        {"max_bytes": 1_000_000},
        "E-TOO-LONG",
        "2,000,000 rows",
    ),
    "one cell of 100 MB": (
        b'x,y\n1,a\n2,"' + b"b" * 100_000_000 + b'"\n',
        "data.csv",
        {},
        "E-LONG-LINE",
        "line 3",
    ),
    "one cell of 20 MB": (
        b"x,y\n1,a\n2," + b"b" * 20_000_000 + b"\n",
        "data.csv",
        {},
        "E-LONG-CELL",
        "16,777,216.*line 3",
    ),
    "a picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "data.csv", {}, "E-FORMAT", "a picture"),
    "a PDF document": (b"%PDF-1.7\n%\xe2\xe3", "data.csv", {}, "E-FORMAT", "PDF"),
    "an Excel workbook": (b"PK\x03\x04" + b"\0" * 60, "data.xlsx", {}, "E-FORMAT", "Excel"),
    "a pickle": (b"\x80\x04\x95" + b"\0" * 60, "data.csv", {}, "E-FORMAT", "never opened"),
    "dropped column that is not there": (
        b"x,y\n1,a\n2,b\n",
        "data.csv",
        {"drop": ("X",)},
        "E-COLUMN",
        "--drop.*Did you mean 'x'",
    ),
    "said to be a number and is none": (
        b"x,y\n1,a\nb,b\n",
        "data.csv",
        {"number": ("x",)},
        "E-NOT-NUMBER",
        "'b'.*row 2",
    ),
    "all columns dropped": (b"x\n1\n2\n", "data.csv", {"drop": ("x",)}, "E-EMPTY", "no columns"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused(case, tmp_path):
    data, name, options, code, pattern = REFUSED[case]
    path = write(tmp_path, data, name)
    with pytest.raises(DataError) as caught:
        read_table(path, ReadOptions(**options))
    assert caught.value.code == code
    assert caught.value.exit_code == 3
    assert re.search(pattern, str(caught.value), re.DOTALL), str(caught.value)
    assert path.name in str(caught.value) or "row" in str(caught.value)


@pytest.mark.parametrize("name", ["nothing.csv", "."])
def test_no_file_refused(name, tmp_path):
    with pytest.raises(DataError, match="file"):
        read_table(tmp_path / name)


LABELS_REFUSED = {
    "label column absent": ("kind,y\na,b\nb,a\n", "color", "E-LABEL", "columns are 'kind', 'y'"),
    "label differs by case": ("Sex,y\na,b\nb,a\n", "sex", "E-LABEL", "Did you mean 'Sex'"),
    "label differs by space": (" Sex,y\na,b\nb,a\n", "Sex", "E-LABEL", "Did you mean ' Sex'"),
    "one class": ("x,y\n1,a\n2,a\n", "y", "E-ONE-CLASS", "only 'a'"),
    "one class beside missing": ("x,y\n1,a\n2,NA\n", "y", "E-ONE-CLASS", "1 of 2 rows .*'NA'"),
    "no label at all": ("x,y\n1,\n2,\n", "y", "E-ONE-CLASS", "got none"),
    "one label a row": (
        "x,y\n1,a\n2,b\n3,c\n4,d\n",
        "y",
        "E-REGRESSION",
        "looks like regression",
    ),
    "two rows with two labels": ("x,y\n1,a\n2,b\n", "y", "E-TOO-FEW-ROWS", "all 2 rows"),
    "numbers with decimals": (
        "x,y\n" + "".join(f"{i},{i % 40 / 8}\n" for i in range(200)),
        "y",
        "E-REGRESSION",
        "40 different numbers with decimals",
    ),
    "nearly one number a row": (
        "x,y\n" + "".join(f"{i},{i % 70}\n" for i in range(100)),
        "y",
        "E-REGRESSION",
        "70 different numbers in 100 rows",
    ),
}


@pytest.mark.parametrize("case", LABELS_REFUSED, ids=str)
def test_label_refused(case, tmp_path):
    text, label, code, pattern = LABELS_REFUSED[case]
    table = read_table(write(tmp_path, text.encode()))
    with pytest.raises(DataError) as caught:
        split_label(table, label)
    assert caught.value.code == code
    assert re.search(pattern, str(caught.value)), str(caught.value)


MIXED = [str(i * 7 % 911) for i in range(5_000)] + ["abc", "7"]
DATES = [f"2024-{m:02d}-{d:02d}" for m in range(1, 5) for d in range(1, 9)]

WARNED = {
    # id: (bytes, options, kind of x or None, code, pattern in place and message)
    "blank column name": (csv_of("1232", name=""), {}, None, "W-BLANK-NAME", "column 1.*column_1"),
    "NUL in text": (csv_of(["a\0b", "c", "a\0b", "c"]), {}, "category", "W-NUL", "line 2.*2 lines"),
    "007 ids": (
        csv_of([f"{i:03d}" for i in range(9)]),
        {},
        "identifier",
        "W-LEADING-ZERO",
        "'000'.*--number 'x'",
    ),
    "NA as a category": (
        csv_of(["DE", "NA", "FR", "DE", "NA", "null", "None", "FR"] * 9),
        {},
        "category",
        "W-MISSING-TOKEN",
        "kept.*'NA' in 18 rows, 'null' in 9 rows, 'None' in 9 rows",
    ),
    "NA among numbers": (csv_of(["1", "NA", "2"]), {}, "integer", "W-MISSING-TOKEN", "'NA' in 1"),
    "integer beyond 64 bits": (
        csv_of(["1", "2", "18446744073709551616"]),
        {},
        "text",
        "W-OVERFLOW",
        "row 3.*18446744073709551616",
    ),
    "integer beyond 53 bits": (
        csv_of(["1", "2", "9007199254740993"]),
        {},
        "integer",
        "W-ROUNDED",
        "row 3.*9007199254740993",
    ),
    "inf": (csv_of(["1", "-inf", "2"]), {}, "number", "W-NOT-FINITE", "row 2.*'-inf' in row 2"),
    "1e400": (csv_of(["1", "2", "1e400"]), {}, "number", "W-NOT-FINITE", "row 3.*'1e400'"),
    "1e-400": (csv_of(["1", "1e-400", "2"]), {}, "number", "W-UNDERFLOW", "row 2.*'1e-400'"),
    "type changes at row 5,001": (csv_of(MIXED), {}, "text", "W-MIXED", "row 5001.*1 cell .*'abc'"),
    "semicolon separator": (b"x;y\n1,5;a\n2,5;b\n1,5;a\n", {}, "text", "W-DELIMITER", "semicolons"),
    "decimal comma": (
        b'x,y\n"1,5",a\n2,b\n"3,5",a\n',
        {},
        "text",
        "W-DECIMAL",
        "row 1.*'1,5'.*--decimal ','",
    ),
    "decimal point where a comma was said": (
        csv_of(["1.5", "2", "3.5"]),
        {"decimal": ","},
        "text",
        "W-DECIMAL",
        "decimal point",
    ),
    "blank lines": (b"\nx,y\n1,a\n\n  \n2,b\n", {}, None, "W-BLANK-LINES", "3 blank lines"),
    "impossible date": (
        csv_of([*DATES, "2024-02-30"]),
        {},
        "text",
        "W-BAD-DATE",
        "row 33.*'2024-02-30' in row 33",
    ),
    "mixed time zones": (
        csv_of(["2024-01-01T00:00Z", "2024-01-01T02:00+02:00", "2024-01-02"]),
        {},
        "datetime",
        "W-MIXED-ZONES",
        r"\+00:00, \+02:00, none",
    ),
    "day or month first": (
        csv_of(["03/04/2024", "05/06/2024", "01/02/2024"]),
        {},
        "text",
        "W-AMBIGUOUS-DATE",
        "'03/04/2024'.*--date-order",
    ),
    "duplicate names renamed": (
        b"x,y,x\n1,a,1\n2,b,2\n",
        {"rename_duplicates": True},
        "integer",
        "W-RENAMED",
        "column 3.*'x_2'",
    ),
}


@pytest.mark.parametrize("case", WARNED, ids=str)
def test_warned(case, tmp_path):
    data, options, kind, code, pattern = WARNED[case]
    table = read_table(write(tmp_path, data), ReadOptions(**options))
    found = [f"{note.where}: {note.message}" for note in table.all_notices if note.code == code]
    assert len(found) == 1, table.all_notices
    assert re.search(pattern, found[0]), found[0]
    if kind is not None:
        assert table.column("x").kind == kind


INSPECTED = {
    # id: (file, code of the first notice, pattern)
    "missing label": ("x,y\n" + ROWS + "1,\n2,NA\n", "W-MISSING-LABEL", "row 31.*2 of 32.*'NA'"),
    "class of one row": ("x,y\n" + ROWS + "1,c\n", "W-SMALL-CLASS", "1 class has.*'c'"),
    "labels differ by case": ("x,y\n" + ROWS + "1,A\n2,A\n", "W-LABEL-SPELLING", "'A', 'a'"),
    "many whole numbers": (
        "x,y\n" + "".join(f"{i % 7},{i % 30}\n" for i in range(300)),
        "W-REGRESSION",
        "30 classes",
    ),
    "column equal to the label": (
        "x,y\n" + "".join(f"{c},{c}\n" for c in "ab" * 20),
        "W-LEAK",
        "'x' is equal to the label 'y'",
    ),
    "column renaming the label": (
        "x,y\n" + "".join(f"{ord(c)},{c}\n" for c in "ab" * 20),
        "W-LEAK",
        "equal to the label but for its names",
    ),
    "column determining the label": (
        "x,y\n" + "".join(f"v{i % 6},{'ab'[i % 2]}\n" for i in range(60)),
        "W-LEAK",
        "determines.*each of its 6 values",
    ),
    "all-distinct ids": (
        "x,w,y\n" + "".join(f"u{i}-{i * i},{i * 7 % 5}.5,{'ab'[i % 3 % 2]}\n" for i in range(40)),
        "W-IDENTIFIER",
        "'x'.*all values differ",
    ),
    "duplicate rows with conflicting labels": (
        "x,y\n" + ROWS,
        "W-CONFLICTING-LABELS",
        "groups of equal rows",
    ),
}


@pytest.mark.parametrize("case", INSPECTED, ids=str)
def test_inspected(case, tmp_path):
    text, code, pattern = INSPECTED[case]
    table = read_table(write(tmp_path, text.encode()))
    label = split_label(table, "y")
    notices = (*label.notices, *inspect_columns(table, label))
    found = [f"{note.where}: {note.message}" for note in notices if note.code == code]
    assert len(found) == 1, notices
    assert re.search(pattern, found[0]), found[0]


def test_leak_is_named_first(tmp_path):
    rows = "".join(f"k,u{i},{c},{c}\n" for i, c in enumerate("ab" * 20))
    table = read_table(write(tmp_path, ("const,id,copy,y\n" + rows).encode()))
    codes = [note.code for note in inspect_columns(table, split_label(table, "y"))]
    assert codes[0] == "W-LEAK"
    assert set(codes) == {"W-LEAK", "W-DUPLICATE-ROWS", "W-CONSTANT", "W-IDENTIFIER"}


def test_constant_and_empty_columns_are_named(tmp_path):
    table = read_table(write(tmp_path, b"k,e,x,y\n5,,1,a\n5,NA,2,b\n5,,3,a\n5,,5,b\n"))
    notes = inspect_columns(table, split_label(table, "y"))
    assert [n.message for n in notes if n.code == "W-CONSTANT"] == [
        "'k' is constant: all cells are '5'; left out",
        "'e' is empty; left out",
    ]


ACCEPTED = {
    # id: (bytes, file name, options, expected texts of x)
    "BOM": (b"\xef\xbb\xbfx,y\n1,a\n2,b\n", "data.csv", {}, ["1", "2"]),
    "UTF-16 with BOM": ("x,y\né,a\nö,b\n".encode("utf-16"), "data.csv", {}, ["é", "ö"]),
    "latin-1 when said": (
        b"x,y\n\xe9,a\n\xf6,b\n",
        "data.csv",
        {"encoding": "latin-1"},
        ["é", "ö"],
    ),
    "newline inside quotes": (b'x,y\n"1\r\n2",a\n3,b\n', "data.csv", {}, ["1\r\n2", "3"]),
    "old line ends": (b"x,y\r1,a\r2,b\r", "data.csv", {}, ["1", "2"]),
    "tabs": (b"x\ty\n1\ta\n2\tb\n", "data.tsv", {}, ["1", "2"]),
    "gzip": (gzip.compress(b"x,y\n1,a\n2,b\n"), "data.csv.gz", {}, ["1", "2"]),
    "JSONL missing key and null": (
        b'{"x":1,"y":"a"}\n{"y":"b"}\n\n{"x":null,"y":"b"}\n{"x":1e400,"y":"c"}\n',
        "data.jsonl",
        {},
        ["1", None, None, "1e400"],
    ),
    "JSONL nested but dropped": (
        b'{"x":1,"t":[1]}\n{"x":true,"t":{"a":1}}\n',
        "data.jsonl",
        {"drop": ("t",)},
        ["1", "true"],
    ),
    "Parquet dictionary": (
        parquet_of(x=pa.array(["u", "v", None]).dictionary_encode()),
        "data.parquet",
        {},
        ["u", "v", None],
    ),
    "Parquet decimal": (
        parquet_of(x=[Decimal("1.50"), Decimal("2.25")]),
        "data.parquet",
        {},
        ["1.50", "2.25"],
    ),
    "Parquet bool": (
        parquet_of(x=[True, None, False]),
        "data.parquet",
        {},
        ["true", None, "false"],
    ),
    "Parquet null type": (parquet_of(x=pa.nulls(2)), "data.parquet", {}, [None, None]),
    "Parquet gzipped": (gzip.compress(parquet_of(x=[1, 2])), "data.parquet.gz", {}, ["1", "2"]),
    "Parquet nested but dropped": (
        parquet_of(x=[1, 2], t=[[1], [2]]),
        "data.parquet",
        {"drop": ("t",)},
        ["1", "2"],
    ),
    "Parquet without an ending": (parquet_of(x=[1, 2]), "data", {}, ["1", "2"]),
    "JSONL without an ending": (b'{"x":1}\n{"x":2}\n', "data", {}, ["1", "2"]),
}


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepted(case, tmp_path):
    data, name, options, expected = ACCEPTED[case]
    table = read_table(write(tmp_path, data, name), ReadOptions(**options))
    assert table.column("x").source.to_pylist() == expected
    assert not [note for note in table.notices if note.code != "W-BLANK-LINES"]


def test_thousand_classes_and_long_labels_of_any_script(tmp_path):
    names = ["标签" * 2_000, "метка", "علامة", "🐧", "x" * 10_240]
    many = [f"class {i}" for i in range(1_000)] + names
    lines = [json.dumps({"x": i % 7, "y": many[i % len(many)]}) for i in range(2 * len(many))]
    table = read_table(write(tmp_path, "\n".join(lines).encode(), "data.jsonl"))
    label = split_label(table, "y")
    assert label.classes == tuple(sorted(many))
    assert label.counts.tolist() == [2] * len(many)
    assert label.notices == ()


def test_escape_codes_in_names_are_kept(tmp_path):
    table = read_table(write(tmp_path, b"\x1b[31mx,y\n1,a\n2,b\n"))
    assert table.names == ("\x1b[31mx", "y")


def test_many_columns(tmp_path):
    width = 2_000
    lines = [",".join(f"c{i}" for i in range(width))]
    lines += [",".join(f"{(i * 7 + r * 13) % 50}.5" for i in range(width)) for r in range(5)]
    table = read_table(write(tmp_path, "\n".join(lines).encode()))
    assert len(table.columns) == width
    assert {column.kind.value for column in table.columns} == {"number"}
