"""Any bytes give a table or a named refusal, soon; a table written back reads as it was.

`TRIVIUM_FUZZ=N` runs N times as many mutations, `TRIVIUM_FUZZ_SEED=S` others.
"""

import csv
import gzip
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import hostile
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import reading

from trivium._core.errors import TriviumError
from trivium.table import ReadOptions, read_table

MORE = int(os.environ.get("TRIVIUM_FUZZ", "1"))
SEED = int(os.environ.get("TRIVIUM_FUZZ_SEED", "0"))
HERE = Path(__file__).parent
SECONDS = 20
CASES = 100
TOKENS = [
    *(b'"', b'""', b",", b";", b"\t", b"|", b"\r", b"\n", b"\r\n", b"\0", b"\\", b"\xef\xbb\xbf"),
    *(b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"PAR1", b"PK\x03\x04", b"\x80\x04\x95"),
    *(b"\xed\xa0\x80", b"NaN", b"inf", b"1e400", b"-0", b"007", b"NA", b"2024-02-30", b"24:61"),
    *(b"9" * 40, b"1" * 400, b"{", b"}", b"[", b"]", b":", b"null", b'{"x":', b'"\\ud800"'),
    *(b"\\u0000", b"true", b"[" * 3000, b"\x0c", b"\x1c", b"\x85"),
    *(text.encode() for text in ("\u2028", "\u202e", "\uff11\uff12", "\u00a0")),
]
ROWS = [(f"{i * 7 % 11}.5", f"2024-01-{i % 28 + 1:02d}", "ab"[i % 2], f"w{i} é") for i in range(30)]


def parquet():
    sink = pa.BufferOutputStream()
    names = ["x", "d", "y", "t"]
    pq.write_table(
        pa.table(dict(zip(names, map(list, zip(*ROWS, strict=True)), strict=True))), sink
    )
    return sink.getvalue().to_pybytes()


def lines(delimiter):
    return "\n".join(delimiter.join(row) for row in [("x", "d", "y", "t"), *ROWS]).encode() + b"\n"


SEEDS = {
    "a.csv": lines(","),
    "b.tsv": lines("\t"),
    "c.csv": b'x,y\n"1\n2",a\n"3 ""4""",b\n5,a\n',
    "d.jsonl": "".join(json.dumps({"x": a, "d": b}) + "\n" for a, b, *_ in ROWS).encode(),
    "e.parquet": parquet(),
    "f.csv.gz": gzip.compress(lines(","), mtime=0),
    "g.csv": lines(",").decode().encode("utf-16"),
    "h": lines(";"),
}  # fmt: skip


def mutated(data, rng):
    """Some bytes changed, cut, doubled or put in, also tokens that readers stumble over."""
    for _ in range(int(rng.integers(1, 6))):
        at, more = int(rng.integers(len(data) + 1)), int(rng.integers(1, 40))
        way = int(rng.integers(6))
        if way == 0 and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
        elif way == 1:
            data = data[:at] + data[at + more :]
        elif way == 2:
            data = data[:at] + data[max(0, at - more) : at] * int(rng.integers(1, 4)) + data[at:]
        elif way == 3:
            data = data[:at] + rng.bytes(more) + data[at:]
        elif way == 4:
            data = data[:at]
        else:
            data = data[:at] + TOKENS[int(rng.integers(len(TOKENS)))] + data[at:]
    return data


def reads(path):
    """The table, or None where it was refused by name; anything else is a fault."""
    start = time.process_time()
    try:
        found = read_table(path, ReadOptions(max_bytes=10_000_000))
    except TriviumError as error:
        if error.exit_code not in (3, 5) or "\n" in error.what:
            raise AssertionError(f"refused in another way: {error}") from error
        found = None
    assert time.process_time() - start < SECONDS
    return found


def same_again(table, path):
    """Write the cells to CSV as they are and read them: the same cells."""
    cells = [column.source.to_pylist() for column in table.columns]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(table.names)
        for row in zip(*cells, strict=True):
            writer.writerow(["" if cell is None else cell for cell in row])
    again = read_table(path, ReadOptions(max_bytes=100_000_000, delimiter=","))
    assert again.names == table.names
    for column, wanted in zip(again.columns, cells, strict=True):
        found = column.source.to_pylist()
        assert [cell or "" for cell in found] == [cell or "" for cell in wanted]


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_mutations(name, tmp_path):
    rng = np.random.default_rng([ord(name[0]), MORE, SEED])
    path, read = tmp_path / name, 0
    for number in range(60 * MORE):
        data = mutated(SEEDS[name], rng)
        path.write_bytes(data)
        try:
            table = reads(path)
            if table is not None:
                read += 1
                if number % 4 == 0:
                    same_again(table, tmp_path / "again.csv")
        except Exception as error:
            (tmp_path / f"found{path.suffix}").write_bytes(data)
            raise AssertionError(f"{type(error).__name__}: {error} for {data!r}") from error
    assert read > 0 or name in {"e.parquet", "f.csv.gz", "g.csv"}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "csv.gz", ""])
def test_noise(ending, tmp_path):
    rng = np.random.default_rng([MORE, len(ending), SEED])
    path = tmp_path / f"noise.{ending}"
    for _ in range(40 * MORE):
        tokens = [TOKENS[i] for i in rng.integers(len(TOKENS), size=int(rng.integers(40)))]
        path.write_bytes(b"".join(tokens) + rng.bytes(int(rng.integers(30))))
        reads(path)


def test_a_reader_that_stumbles_is_seen(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        path.read_text("utf-8")
    assert reads(path) is None


# ---- files made from a seed, read in every way, in a process of their own -------------------


def faults(first, last, folder):
    """Judge the cases of some seeds; a reader that dies or hangs is seen from outside."""
    found = []
    while first < last:
        out = folder / f"{first}.jsonl"
        with out.open("w") as file, (folder / "err").open("w") as err:
            child = subprocess.Popen(
                [sys.executable, str(HERE / "reading.py"), str(first), str(last)],
                stdout=file,
                stderr=err,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            hung = _watched(child, out)
        said = [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]
        found += [line for line in said if "fault" in line]
        if not hung and child.returncode == 0:
            break
        at = max((line["at"] for line in said if "at" in line), default=first)
        what = "hangs" if hung else f"ended with {child.returncode}"
        found.append({"fault": at, "what": what, "trace": (folder / "err").read_text()[-2000:]})
        first = at + 1
    return found


def _watched(child, out):
    """Wait for a child; end it when it says nothing for some seconds of processor time."""
    clock, size, since = (~child.pid << 3) | 2, -1, 0.0
    while child.poll() is None:
        time.sleep(0.02)
        try:
            used = time.clock_gettime(clock)
        except OSError:
            continue
        if out.stat().st_size != size:
            size, since = out.stat().st_size, used
        elif used - since > SECONDS:
            child.kill()
            child.wait()
            return True
    return False


def test_files_of_all_sorts(tmp_path):
    """Whole, in blocks and as several files the same; the same as written, as others read it."""
    first = SEED * 1_000_000
    assert faults(first, first + CASES * MORE, tmp_path) == []


def test_a_reader_that_hangs_or_dies_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SECONDS", 0.2)
    for doing, seen in (("while True: pass", True), ("import os; os.kill(os.getpid(), 9)", False)):
        out = tmp_path / "out"
        out.write_text("")
        child = subprocess.Popen([sys.executable, "-c", doing])
        assert _watched(child, out) is seen
        assert child.returncode == -9


# ---- files that were read wrongly once ------------------------------------------------------

CORPUS = json.loads((HERE / "corpus" / "expected.json").read_text())


def test_each_file_of_the_corpus_has_its_line():
    files = {path.name: path.stat().st_size for path in (HERE / "corpus").iterdir()}
    del files["expected.json"]
    assert set(files) == set(CORPUS)
    assert max(files.values()) <= 2048


@pytest.mark.parametrize("name", sorted(CORPUS))
def test_a_file_that_was_read_wrongly_once(name, tmp_path):
    data, wanted = (HERE / "corpus" / name).read_bytes(), CORPUS[name]
    made = hostile.Case(name, data, None, None, wanted.get("options", {}))
    for size in reading.SIZES:
        ended, table = reading.judged(made, tmp_path, size, Counter())
        assert ended == wanted.get("refused", "a table")
        for column in table.columns if table else ():
            kind, cells = wanted["columns"][column.name]
            assert (column.kind, column.source.to_pylist()) == (kind, cells)
