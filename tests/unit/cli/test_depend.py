"""`trivium depend`: targets of every kind, pairs, gates, the figure, and what it refuses."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trivium.audit import DEPEND_QUANTITIES
from trivium.cli import main
from trivium.cli.dependence import _padded

FAST = ["--permutations", "99"]
ROWS = 80


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A number, a function of it, a category made from it, dates, noise, a constant."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    days = np.datetime64("2024-01-01") + rng.permutation(ROWS)
    words = np.array(["red sun rose over hills", "slow rain fell upon fields"])
    towns = ["oslo", "rome", "bonn", "kyiv", "lima", "riga", "bern", "doha", "baku"]
    lines = ["x,bend,grade,day,noise,same,word"]
    for i in range(ROWS):
        noise = rng.normal()
        lines.append(
            f"{x[i]:.4f},{x[i] ** 2 + 0.1 * noise:.4f},{'hi' if x[i] > 0 else 'lo'},{days[i]},"
            f"{noise:.4f},one,{words[int(x[i] > 0)]} {towns[i % 9]} {towns[i % 5]}"
        )
    path = tmp_path_factory.mktemp("data") / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def found(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert call("depend", *arguments, *FAST, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert isinstance(report, dict)
    return report


@pytest.mark.parametrize(
    ("target", "kind", "hits"),
    [
        ("x", "number", {"bend", "grade", "word"}),
        ("grade", "category", {"x", "word"}),
        ("word", "text", {"x", "grade"}),
        ("day", "date", set()),
    ],
)
def test_targets_of_every_kind(
    target: str, kind: str, hits: set[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A text and the class that it tells are leaks of each other.
    keep = {"grade": ["--keep", "word"], "word": ["--keep", "grade"]}.get(target, [])
    report = found(capsys, data, "--target", target, *keep)
    assert report["data"]["target"]["column"] == target
    assert report["data"]["target"]["kind"] == kind
    seen = {row["column"]: row["q_value"] for row in report["depend"]}
    assert target not in seen
    assert {name for name, q in seen.items() if q <= 0.05} >= hits
    assert seen["noise"] > 0.05
    assert report["data"]["unused"][0] == {"column": "same", "why": "constant"}


def test_a_number_of_few_values_is_classes_unless_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    stars = rng.integers(1, 6, size=60)
    lines = [f"{s},{s + rng.normal():.3f}" for s in stars]
    path = tmp_path / "s.csv"
    path.write_text("stars,x\n" + "\n".join(lines) + "\n")
    target = found(capsys, path, "--target", "stars")["data"]["target"]
    assert target == {"column": "stars", "kind": "category", "classes": ["1", "2", "3", "4", "5"]}
    said = found(capsys, path, "--target", "stars", "--number", "stars")["data"]["target"]
    assert said == {"column": "stars", "kind": "number", "classes": []}


def test_missing_targets_are_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = [f"{v:.3f}" for v in np.random.default_rng(2).normal(size=30)]
    values[4] = values[9] = "NA"
    path = tmp_path / "m.csv"
    path.write_text("y,x\n" + "\n".join(f"{v},{i % 11}" for i, v in enumerate(values)) + "\n")
    report = found(capsys, path, "--target", "y")
    assert report["data"]["rows_used"] == 28
    missing = [w for w in report["warnings"] if w["code"] == "W-MISSING-LABEL"]
    assert missing[0]["where"] == "column y, row 5"
    assert "2 of 30 rows" in missing[0]["message"]


def test_a_copy_of_a_number_is_a_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(3).normal(size=(30, 2))
    path = tmp_path / "c.csv"
    lines = [f"{a:.4f},{a:.5f},{b:.4f}" for a, b in values.round(4)]
    path.write_text("y,copy,x\n" + "\n".join(lines) + "\n")
    report = found(capsys, path, "--target", "y")
    assert [row["column"] for row in report["depend"]] == ["x"]
    assert report["warnings"][0]["code"] == "W-LEAK"
    kept = found(capsys, path, "--target", "y", "--keep", "copy")["depend"]
    assert kept[0]["column"] == "copy"


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("q<.05", 4),
        ("q>.05", 0),
        ("cka>0.1", 4),
        ("found>=9", 0),
        ("leaks>0", 0),
        ("order<1e-9", 0),
    ],
)
def test_fail_if(rule: str, code: int, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["depend", data, "--target", "x", "--drop", "word", *FAST]
    assert call(*command, "--fail-if", rule) == code
    assert ("gate tripped" in capsys.readouterr().err) is (code == 4)


def test_an_unknown_rule_lists_the_quantities(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("depend", data, "--target", "x", "--fail-if", "accuracy<1") == 2
    err = capsys.readouterr().err
    assert err.startswith("error[E-ARGUMENT]: --fail-if must be")
    assert all(name in err for name in DEPEND_QUANTITIES)


REFUSED = {
    "no target": ([], 2, "--target must name"),
    "target of another case": (["--target", "Bend"], 3, "Did you mean 'bend'?"),
    "constant target": (["--target", "same"], 3, "at least 2 classes"),
    "keep without target": (["--pairs", "--keep", "x"], 2, "--keep must come with --target"),
    "keep of no column": (["--target", "x", "--keep", "z"], 3, "--keep must name a column"),
    "rate of 1": (["--target", "x", "--fdr", "1"], 2, "fdr"),
    "rate no number": (["--target", "x", "--fdr", "much"], 2, "'much' is not a valid float"),
    "correction": (["--target", "x", "--correction", "bonferroni"], 2, "'bh'"),
    "permutations": (["--target", "x", "--permutations", "18"], 2, "at least 19; got 18"),
    "seed": (["--target", "x", "--seed", "-1"], 2, "got -1"),
    "figure": (["--target", "x", "--plot", "f.gif"], 2, "must end in .svg, .png or .pdf"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, code, part = REFUSED[case]
    assert call("depend", data, *arguments) == code
    err = capsys.readouterr().err
    assert part in err
    assert err.startswith("error[E-")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--target", "x"], ["--pairs"]])
def test_one_column_is_not_enough(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.csv"
    path.write_text("x,same\n" + "\n".join(f"{i * i % 23},k" for i in range(40)) + "\n")
    assert call("depend", path, *arguments) == 3
    err = capsys.readouterr().err
    assert err.startswith("error[E-NO-COLUMNS]")
    assert "constant" in err


def test_figures_are_written_whole_and_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    command = ["depend", data, "--target", "x", "--drop", "word", *FAST, "--plot"]
    svg, again, png = tmp_path / "a.svg", tmp_path / "b.svg", tmp_path / "c.png"
    assert call(*command, svg) == 0
    assert f"Figure: {svg}" in capsys.readouterr().out
    assert call(*command, again) == call(*command, png) == 0
    assert svg.read_bytes() == again.read_bytes()
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert call(*command, svg) == 3
    assert "E-EXISTS" in capsys.readouterr().err
    assert call(*command, svg, "--force") == 0
    assert call(*command, tmp_path / "no" / "f.svg") == 3


def test_a_figure_without_matplotlib_names_the_extra(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert call("depend", data, "--target", "x", "--plot", tmp_path / "f.svg") == 2
    err = capsys.readouterr().err
    assert err.startswith("error[E-EXTRA]")
    assert "pip install 'trivium[plot]'" in err


def test_names_take_their_places_on_the_terminal() -> None:
    assert _padded("ab") == "ab" + " " * 22
    assert _padded("列" * 3) == "列列列" + " " * 18
    assert _padded("x" * 30) == "x" * 23 + "…"
    assert _padded("列" * 20) == "列" * 11 + "… "
    assert _padded("a\nb\x1b") == "a b\ufffd" + " " * 20
