"""The fast road from text to numbers gives what exact text gives, or leaves it to that."""

import json
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trivium._core.errors import DataError
from trivium.table import ReadOptions, open_parts
from trivium.table.numeric_text import TextColumns, exact_columns, fast_columns

_LOOSE = settings(
    deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_ANY = ReadOptions(min_rows=0)

_CELL = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.sampled_from(
        [
            "",
            "NA",
            " 1",
            "1 ",
            "+1",
            ".5",
            "5.",
            "1e400",
            "1e-400",
            "0x1f",
            "1_0",
            "nan",
            "NAN",
            "Inf",
            "-infinity",
            "1,5",
            "１",
            "1e5",
            "-0",
            "007",
            "1d",
            "1f",
            "\t2",
            "x",
            "\xa01",
        ]
    ),
    st.text(st.sampled_from("0123456789.eE+-"), min_size=1, max_size=8),
)


def check(path: Path, columns: list[str], label: str) -> None:
    """Compare both roads on every block."""
    try:
        parts = open_parts(path, _ANY, block_bytes=40)
    except DataError:
        return
    for block in parts.blocks:
        fast = fast_columns(block, columns, label)
        if fast is None:
            continue
        exact: TextColumns = exact_columns(block, columns, label)  # raises where fast may not read
        assert fast.label is not None
        assert exact.label is not None
        np.testing.assert_array_equal(fast.values.view(np.int64), exact.values.view(np.int64))
        assert fast.label.to_pylist() == exact.label.to_pylist()


@_LOOSE
@given(st.lists(st.tuples(_CELL, _CELL, st.sampled_from(["a", "b ", "", "NA", "é"])), min_size=1))
@example([("1", "2", "a")])
def test_delimited(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    path = tmp_path / "table.csv"
    text = "x\ty\tz\n" + "".join("\t".join(row) + "\n" for row in rows)
    path.write_bytes(text.encode())
    check(path, ["y", "x"], "z")


_JSON = st.one_of(
    st.floats().map(json.dumps),
    st.integers().map(str),
    st.sampled_from(
        [
            "1e400",
            "null",
            "true",
            '"1.5"',
            '"x"',
            "1E5",
            "-0",
            "-0.0",
            "[1]",
            "{}",
            "1.0",
            "NaN",
            "-Infinity",
            "01",
            "+1",
            ".5",
            '"NA"',
            '""',
            "1} {",
            '1,"x":2',
            '{"x":1}',
            '"\\u0031"',
        ]
    ),
)


@_LOOSE
@given(
    st.lists(
        st.tuples(_JSON, _JSON, st.sampled_from(['"a"', "1", "1.0", "-0", "null", "2", '"é"'])),
        min_size=1,
    ),
    st.sampled_from(["", " ", "\n", '{"x":1}\n', '{"x":1}{"x":1}\n', '{"x":\n1}\n', "[]\n"]),
)
@example([("1", "2.5", "1")], "")
def test_json_lines(tmp_path: Path, rows: list[tuple[str, str, str]], odd: str) -> None:
    path = tmp_path / "table.jsonl"
    lines = [f'{{"x":{x},"y":{y},"z":{z}}}\n' for x, y, z in rows]
    lines.insert(len(lines) // 2, odd)
    path.write_text("".join(lines))
    check(path, ["y", "x"], "z")


def test_the_fast_road_is_taken(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).standard_normal((50, 2)).tolist()
    csv, lines = tmp_path / "t.csv", tmp_path / "t.jsonl"
    csv.write_text("x,y,z\n" + "".join(f"{x!r},{y!r},a\n" for x, y in numbers))
    lines.write_text("".join(json.dumps({"x": x, "y": y, "z": 1}) + "\n" for x, y in numbers))
    for path, label in ((csv, "a"), (lines, "1")):
        (block,) = open_parts(path).blocks
        found = fast_columns(block, ["x", "y"], "z")
        assert found is not None
        assert found.values.T.tolist() == numbers
        assert set(found.label.to_pylist()) == {label}
